"""A log, a split and lists small enough to compute every measure by hand."""

from __future__ import annotations

import numpy as np

from pasand.audit.lists import Lists
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.evaluation.split import Split, TestQueries
from pasand.types import Array

DAY = 86_400
NOW = 1000 * DAY
SECOND = 1 / np.log2(3)
"""Exposure of the second position; that of the first is 1."""


def data(events: list[tuple[int, int]], n_users: int = 2) -> Dataset:
    """Return a log of (user, item) events a day apart, the last one a day before `NOW`, over four items."""
    user, item = (np.array(column, np.int32) for column in zip(*events, strict=True))
    return Dataset(
        name="small",
        users=Vocabulary([f"u{u}" for u in range(n_users)]),
        items=Vocabulary([f"i{i}" for i in range(4)]),
        user=user,
        item=item,
        time=NOW - DAY * np.arange(len(events), 0, -1, dtype=np.int64),
        item_features={
            "region": Feature(kind="categorical", values=np.array([0, 0, 1, 1], np.int32), names=("a", "b")),
            "price": Feature(kind="number", values=np.array([10, 20, 30, 40], np.float32)),
            "language": Feature(kind="bag", values=np.array([[0, -1], [0, 1], [1, -1], [-1, -1]]), names=("x", "y")),
            "seller_since": Feature(kind="time", values=NOW - DAY * np.array([10, 40, 100, 400])),
        },
    )


def lists(items: Array, chosen: list[int], log: Dataset) -> Lists:
    """Return the lists of one query per user at `NOW`, with one chosen item each and all events as history."""
    n = len(items)
    test = TestQueries(
        log=log,
        user=np.arange(n, dtype=np.int32),
        upto=np.diff(log.by_user.start),
        time=np.full(n, NOW),
        start=np.arange(n + 1),
        item=np.array(chosen, np.int32),
        value=np.ones(n, np.float32),
    )
    split = Split(name="small", leakage=None, train=log, test=log, test_queries=test)
    rows = np.arange(n, dtype=np.int32)
    return Lists(split=split, k=items.shape[1], users=rows, query_user=rows.astype(np.int64), items=items, metrics={})


def two_users() -> Lists:
    """Return lists [0, 2] and [2, 3] of users who chose items 2 and 1, with histories {0, 1} and {1}."""
    return lists(np.array([[0, 2], [2, 3]], np.int32), [2, 1], data([(0, 0), (0, 1), (1, 1)]))
