"""The cross-validation protocol of the rating prediction literature, with random or published folds."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.protocols.temporal import one_query_per_user
from pasand.evaluation.split import WHOLE_CATALOGUE, Split, hidden_positives, hidden_ratings
from pasand.types import Offsets


@dataclass(frozen=True)
class Folds:
    """Tests on each fold in turn and trains on all others, regardless of time."""

    n: int = 5
    """Number of random folds, at least 2; ignored if the folds are read from files."""
    folder: Path | None = None
    """Folder of u1.test, u2.test ... (also .gz, also under splits/); random folds if it is None or has no such file."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"n must be at least 2, got {self.n}")

    def split(self, data: Dataset) -> list[Split]:
        """Return one split per fold; raises InputError for fewer events than folds, or for files of other data."""
        files = fold_files(self.folder) if self.folder is not None else []
        if not files and len(data) < self.n:
            cause = f"{len(data)} event{'s' * (len(data) != 1)} cannot make {self.n} folds"
            raise InputError(data.name, cause=cause, cure="give more events")
        parts = [_events_of(data, file) for file in files] or self._random(data)
        kind = "published folds" if files else f"random folds, seed {self.seed}"
        return [self._split(data, event, f"{kind}, {i} of {len(parts)}") for i, event in enumerate(parts, 1)]

    def validation_protocol(self) -> Folds:
        """Return the protocol for the train part of a fold: random folds, as the published ones do not cover it."""
        return replace(self, folder=None)

    def _random(self, data: Dataset) -> list[Offsets]:
        order = np.random.default_rng(self.seed).permutation(len(data))
        return [np.sort(part) for part in np.array_split(order, self.n)]

    def _split(self, data: Dataset, event: Offsets, kind: str) -> Split:
        hidden = np.zeros(len(data), np.bool_)
        hidden[event] = True
        train = data.select(~hidden)
        now = int(data.time[-1]) + 1
        rated = hidden_ratings(data, hidden)
        return Split(
            name=f"folds, {kind}",
            leakage=f"folds ignore time, so train holds events later than the test events, and {WHOLE_CATALOGUE}",
            rules={
                "relevant": "every liked item of the user in the fold that is in no other fold of the user",
                "seen": "every event of the user in the other folds",
                "test queries": "one per user and fold; averaged within a user, then over users",
                "ratings": "all ratings of the fold, pooled over folds",
            },
            train=train,
            test=data.select(hidden),
            test_queries=one_query_per_user(data, train, hidden_positives(data, hidden), time=now, ratings=False),
            rating_queries=None if rated is None else one_query_per_user(data, train, rated, time=now, ratings=True),
        )


def fold_files(folder: Path) -> list[Path]:
    """Return the files u1.test, u2.test ... (or .gz) of a folder or of its subfolder `splits`, in order of number."""
    for path in (folder, folder / "splits"):
        files: dict[int, Path] = {}
        for file in sorted(path.glob("u*.test*")) if path.is_dir() else ():
            number = re.fullmatch(r"u(\d+)\.test(\.gz)?", file.name)
            if number:
                files.setdefault(int(number[1]), file)
        if files:
            return [files[number] for number in sorted(files)]
    return []


def _events_of(data: Dataset, file: Path) -> Offsets:
    """Return the events listed in the file of a fold, whose lines are user, item, rating and time, tab-separated."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        pairs = [line.split("\t", 2)[:2] for line in lines]
    keys = data.user.astype(np.int64) * max(data.n_items, 1) + data.item
    user, item = data.users.rows(p[0] for p in pairs), data.items.rows(p[-1] for p in pairs)
    wanted = user.astype(np.int64) * max(data.n_items, 1) + item
    order = np.argsort(keys, kind="stable")
    position = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    missing = (user < 0) | (item < 0) | (keys[order[position]] != wanted)
    if missing.any():
        row = int(np.argmax(missing))
        cause = "the data have no event of this user and item"
        value = "\t".join(pairs[row])
        raise InputError(file, row=row + 1, value=value, cause=cause, cure="use the folds of the same data set")
    return np.unique(order[position])
