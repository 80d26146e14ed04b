"""Known responses: equal to counting all events before a time, in whatever parts they are added."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand.reranking.exploration.known_responses import KnownResponses

EVENTS = st.lists(st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 9)), max_size=6), max_size=4)


@given(EVENTS, st.integers(0, 10))
def test_counts_are_those_of_the_events_before_a_time(parts: list[list[tuple[int, int]]], time: int) -> None:
    known = KnownResponses(np.array([0, 7, 0, 2], np.int64))
    for part in parts:
        known.add(*np.array(part, np.int64).reshape(-1, 2).T.astype(np.int32))
    items = np.array([3, -1, 0, 4, 1, 3], np.int32)
    events = [event for part in parts for event in part if 0 <= event[0] < 4]
    expected = [
        0 if not 0 <= i < 4 else [0, 7, 0, 2][i] + sum(item == i and at < time for item, at in events) for i in items
    ]
    assert known.before(items, time).tolist() == expected
    known.compact()
    assert known.before(items, 10).tolist() == known.before(items, 0).tolist()
    assert known.base.sum() == 9 + len(events)
