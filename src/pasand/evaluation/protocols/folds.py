"""Folds: the random (or published) divisions of the rating prediction literature."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.protocols.temporal import at_the_cut
from pasand.evaluation.split import Split, hidden_positives, rated_among
from pasand.types import Offsets


@dataclass(frozen=True)
class Folds:
    """Tests on each fold in turn and trains on the others, regardless of time."""

    n: int = 5
    """Number of random folds, at least 2; the files decide where there are any."""
    folder: Path | None = None
    """Where to look for u1.test, u2.test ... (also .gz, also under splits/); None, or none found: random folds."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"n must be at least 2, got {self.n}")

    def split(self, data: Dataset) -> list[Split]:
        """Return one split a fold; raises InputError with fewer events than folds or where a file does not fit."""
        files = fold_files(self.folder) if self.folder is not None else []
        if not files and len(data) < self.n:
            cause = f"{len(data)} event{'s' * (len(data) != 1)} cannot make {self.n} folds"
            raise InputError(data.name, cause=cause, cure="give more events")
        parts = [_events_of(data, file) for file in files] or self._random(data)
        kind = "published folds" if files else f"random folds, seed {self.seed}"
        return [self._split(data, event, f"{kind}, {i} of {len(parts)}") for i, event in enumerate(parts, 1)]

    def inside(self) -> Folds:
        """Return the protocol for the train part of one of these folds: random folds, as the files do not fit it."""
        return replace(self, folder=None)

    def _random(self, data: Dataset) -> list[Offsets]:
        order = np.random.default_rng(self.seed).permutation(len(data))
        return [np.sort(part) for part in np.array_split(order, self.n)]

    def _split(self, data: Dataset, event: Offsets, kind: str) -> Split:
        hidden = np.zeros(len(data), np.bool_)
        hidden[event] = True
        train = data.select(~hidden)
        now = int(data.time[-1]) + 1
        rated = rated_among(data, hidden)
        return Split(
            name=f"folds, {kind}",
            leaks="folds mix past and future: models learn from events later than those they are asked for",
            rules={
                "relevant": "every liked item among the user's events of the fold that is in no other fold of the user",
                "seen": "every event of the user in the other folds",
                "warm": "users with at least one event in the other folds",
                "cold": "users without",
                "asked": "each user once a fold; folds are averaged within a user, then over users",
                "ratings": "all ratings of the fold, pooled over folds",
            },
            train=train,
            test=data.select(hidden),
            lists=at_the_cut(data, train, hidden_positives(data, hidden), time=now, ratings=False),
            ratings=None if rated is None else at_the_cut(data, train, rated, time=now, ratings=True),
        )


def fold_files(folder: Path) -> list[Path]:
    """Return the files u1.test, u2.test ... (or u1.test.gz ...) of a folder or of its `splits`, in order of number."""
    for place in (folder, folder / "splits"):
        found: dict[int, Path] = {}
        for file in sorted(place.glob("u*.test*")) if place.is_dir() else ():
            number = re.fullmatch(r"u(\d+)\.test(\.gz)?", file.name)
            if number:
                found.setdefault(int(number[1]), file)
        if found:
            return [found[number] for number in sorted(found)]
    return []


def _events_of(data: Dataset, file: Path) -> Offsets:
    """Return which events a fold's file lists: user, item, rating and time, separated by tabs."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        pairs = [line.split("\t", 2)[:2] for line in lines]
    keys = data.user.astype(np.int64) * max(data.n_items, 1) + data.item
    user, item = data.users.rows(p[0] for p in pairs), data.items.rows(p[-1] for p in pairs)
    wanted = user.astype(np.int64) * max(data.n_items, 1) + item
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    lost = (user < 0) | (item < 0) | (keys[order[place]] != wanted)
    if lost.any():
        row = int(np.argmax(lost))
        cause = "this user and item are no event of the data"
        value = "\t".join(pairs[row])
        raise InputError(file, row=row + 1, value=value, cause=cause, cure="use the folds of the same data set")
    return np.unique(order[place])
