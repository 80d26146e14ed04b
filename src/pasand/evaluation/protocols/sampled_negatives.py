"""The sampled protocol of the NCF papers, which ranks one positive among a hundred; only to replicate their tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.evaluation.split import Split, TestQueries, event_counts, event_positions
from pasand.sources.ncf import Negatives, read_negatives
from pasand.types import Mask, Offsets, Rows


@dataclass(frozen=True)
class SampledNegatives:
    """Ranks the positive of each user among the negatives that a `*.test.negative` file gives.

    He et al., WWW 2017. Negatives equal to the positive are dropped, ties of score count against the positive. The data
    are the training events of the same folder. If they contain a test positive, it is removed from train.
    """

    folder: Path | None = None
    """Folder of the file `*.test.negative` or `*.test.negative.gz`; required."""
    second_holdout: bool = False
    """Whether to hold out another event per user, with the same negatives, for tuning: the last, or a random one."""
    seed: int = 0
    """Seed of the second holdout if the events have no order."""

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError for a file that is missing, malformed or of other users."""
        if self.folder is None:
            cause = "sampled-negatives needs the folder of its *.test.negative file"
            raise InputError("protocol", cause=cause, cure="give the folder of the split as the source")
        data, user, positive, negatives = _to_rows(data, read_negatives(self.folder), self.folder)
        data = replace(data, positive_from=-np.inf, impressions=None)
        positive_of_user = np.full(data.n_users, -2, np.int64)
        positive_of_user[user] = positive
        hidden = data.item == positive_of_user[data.user]
        if self.second_holdout:
            hidden = self._last(data, user)
            positive = np.full(data.n_users, -1, np.int32)
            positive[data.user[hidden]] = data.item[hidden]
            negatives, positive = negatives[positive[user] >= 0], positive[user]
            user, positive = user[positive >= 0], positive[positive >= 0]
        train = data.select(~hidden)
        candidates = np.column_stack([positive, np.where(negatives == positive[:, None], -1, negatives)])
        now = int(data.time[-1]) + 1 if len(data) else 0
        target = (
            "the given positive"
            if not self.second_holdout
            else f"a second holdout, {'a random' if data.order == 'none' else 'the last'} event of each user,"
        )
        return [
            Split(
                name=f"sampled-negatives, {target} among the given negatives of {self.folder.name}",
                leakage="ranking among a few sampled items overestimates every recommender and can reverse their order "
                "(Krichene and Rendle, KDD 2020); train holds events later than the test query, and the "
                "given negatives may be items that were released later",
                rules={
                    "positive": "every event, whatever its rating, as in the published tables",
                    "relevant": "the item of the held-out event"
                    if self.second_holdout
                    else "the positive of the user's line",
                    "seen": "every event of the user in train",
                    "test queries": "one per user of the file; ties count against the positive",
                },
                train=train,
                test=data.select(hidden),
                test_queries=TestQueries(
                    log=train,
                    user=user,
                    upto=event_counts(train)[user],
                    time=np.full(len(user), now, np.int64),
                    start=np.arange(len(user) + 1),
                    item=positive,
                    value=np.ones(len(user), np.float32),
                    candidates=candidates.astype(np.int32),
                ),
            )
        ]

    def validation_protocol(self) -> SampledNegatives:
        """Return the protocol for the train part: the same with the second holdout."""
        return replace(self, second_holdout=True)

    def _last(self, data: Dataset, user: Rows) -> Mask:
        """Return whether an event is the last of one of these users; False where the user has no other event; (E,)."""
        order: Offsets = event_positions(data)
        if data.order == "none":
            shuffle = np.random.default_rng(self.seed).random(len(data))
            order[np.lexsort((shuffle, data.user))] = order[data.by_user.event]
        count = event_counts(data)[data.user]
        last: Mask = (count >= 2) & (order == count - 1) & np.isin(data.user, user)
        return last


def _to_rows(data: Dataset, given: Negatives, folder: Path) -> tuple[Dataset, Rows, Rows, Rows]:
    """Return the data with all items of the file in the catalogue, users (n,), positives (n,) and negatives (n, C)."""
    data = _with_items(data, [*given.positives, *(item for line in given.negatives for item in line)])
    user = data.users.rows(given.users)
    if not len(user) or (user < 0).any():
        row = int(np.argmax(user < 0)) if len(user) else 0
        cause = "this user is not in the data" if len(user) else "the file names no user"
        value = given.users[row] if len(user) else None
        raise InputError(folder, row=row + 1, value=value, cause=cause, cure="load the data from the same folder")
    negatives = np.full((len(user), max(map(len, given.negatives))), -1, np.int32)
    listed = np.arange(negatives.shape[1]) < np.array([len(line) for line in given.negatives])[:, None]
    negatives[listed] = data.items.rows([item for line in given.negatives for item in line])
    return data, user, data.items.rows(given.positives), negatives


def _with_items(data: Dataset, ids: list[str]) -> Dataset:
    """Return the data with these items added to the catalogue, without events and with unknown features."""
    if (data.items.rows(ids) >= 0).all():
        return data
    items = Vocabulary([*data.items.series.to_list(), *ids])
    old = data.items.rows(items.series.to_list())
    return replace(
        data,
        items=items,
        item=items.rows(data.items.series.to_list())[data.item],
        item_features={name: f.select(old) for name, f in data.item_features.items()},
        impressions=None,
        first_seen=None,
    )
