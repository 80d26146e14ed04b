"""The protocol of the NCF papers: the rank of one item among a hundred. Only to replicate published tables."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.split import Questions, Split, counts_of, places
from pasand.types import Mask, Offsets, Rows


@dataclass(frozen=True)
class SampledNegatives:
    """Asks for the best of the positive and the negatives that a `*.test.negative` file gives for each user.

    He et al., WWW 2017. Negatives equal to the positive are dropped, ties of score count against the positive. In data
    that lack the file's positives, such as the train part of this very split, each user's last event (a random one
    where no order is known) is held out instead, among the same negatives: the second hold-out, for tuning.
    """

    folder: Path
    """Holds one file `*.test.negative` or `*.test.negative.gz`, or is that file."""
    seed: int = 0
    """Draws the second hold-out where no order is known."""

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError where the file is missing, broken or of other data."""
        file = self._file()
        user, positive, negatives = _rows(file, data)
        asked_for = np.full(data.n_users, -2, np.int64)
        asked_for[user] = positive
        hidden = data.item == asked_for[data.user]
        given = bool(hidden.any()) or not len(np.intersect1d(user, data.user))
        if not given:
            hidden = self._last(data, user)
            positive = np.full(data.n_users, -1, np.int32)
            positive[data.user[hidden]] = data.item[hidden]
            negatives, positive = negatives[positive[user] >= 0], positive[user]
            user, positive = user[positive >= 0], positive[positive >= 0]
        train = data.select(~hidden)
        candidates = np.column_stack([positive, np.where(negatives == positive[:, None], -1, negatives)])
        activity = counts_of(train)[user]
        now = int(data.time[-1]) + 1 if len(data) else 0
        held = "the given positive" if given else "a second hold-out, the last event of each user,"
        return [
            Split(
                name=f"sampled-negatives, {held} among the given negatives of {file.name}",
                leaks="ranking among a few sampled items flatters every recommender and can reverse their order "
                "(Krichene and Rendle, KDD 2020); train holds events later than the question",
                rules={
                    "relevant": "the positive of the user's line in the file, whatever its rating",
                    "seen": "every event of the user in train",
                    "warm": "users with at least one event in train",
                    "cold": "users without",
                    "asked": "each user of the file once; ties count against the positive",
                },
                train=train,
                test=data.select(hidden),
                lists=Questions(
                    log=train,
                    user=user,
                    upto=activity,
                    time=np.full(len(user), now, np.int64),
                    activity=activity,
                    start=np.arange(len(user) + 1),
                    item=positive,
                    value=np.ones(len(user), np.float32),
                    among=candidates.astype(np.int32),
                ),
            )
        ]

    def _file(self) -> Path:
        if self.folder.is_file():
            return self.folder
        found = sorted(self.folder.glob("*.test.negative*"))
        if not found:
            raise InputError(self.folder, cause="no *.test.negative file is there", cure="give the folder of the split")
        return found[0]

    def _last(self, data: Dataset, user: Rows) -> Mask:
        """Return which events are the last of those users that keep at least one other."""
        order: Offsets = places(data)
        if data.order == "none":
            shuffle = np.random.default_rng(self.seed).random(len(data))
            order[np.lexsort((shuffle, data.user))] = order[data.by_user.event]
        count = counts_of(data)[data.user]
        last: Mask = (count >= 2) & (order == count - 1) & np.isin(data.user, user)
        return last


def _rows(file: Path, data: Dataset) -> tuple[Rows, Rows, Rows]:
    """Return users (n,), their positives (n,) and negatives (n, C), padded with -1, as the file gives them."""
    pairs, negatives = [], []
    for number, line in enumerate(_lines(file), 1):
        head, *rest = line.rstrip("\n").split("\t")
        pair = re.fullmatch(r"\(([^,]+),([^,]+)\)", head)
        if pair is None:
            cause = "the line does not begin with (user,item)"
            raise InputError(file, row=number, value=head[:50], cause=cause, cure="give a *.test.negative file")
        pairs.append((pair[1], pair[2]))
        negatives.append(rest)
    user = data.users.rows(pair[0] for pair in pairs)
    positive = data.items.rows(pair[1] for pair in pairs)
    if not pairs or (user < 0).any() or (positive < 0).any():
        row = int(np.argmax((user < 0) | (positive < 0))) if pairs else 0
        value = ",".join(pairs[row]) if pairs else None
        cause = "this user or item is not in the data" if pairs else "the file is empty"
        raise InputError(file, row=row + 1, value=value, cause=cause, cure="load the data from the same folder")
    out = np.full((len(pairs), max(map(len, negatives))), -1, np.int32)
    flat = data.items.rows(item for line in negatives for item in line)
    out[np.arange(out.shape[1])[None, :] < np.array([len(line) for line in negatives])[:, None]] = flat
    return user, positive, out


def _lines(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        yield from lines
