"""Data to which later events come, and which users leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.updates import NewEvents, append_events, remove_users
from tests.logs import log

EVENTS = [("b", "x", 10, 5.0), ("a", "y", 20, 2.0), ("b", "y", 30, 4.0), ("c", "x", 30, 3.0)]


def later(*events: tuple[str, str, int, float]) -> NewEvents:
    users, items, times, values = ([event[at] for event in events] for at in range(4))
    return NewEvents(
        user=[str(user) for user in users],
        item=[str(item) for item in items],
        time=np.array(times, np.int64),
        value=np.array(values, np.float32),
        columns={"watched_seconds": np.full(len(events), 7, np.float32)},
    )


def told(data: Dataset) -> list[tuple[str, str, int]]:
    ids = zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True)
    return list(ids)


def test_later_events_find_their_places() -> None:
    language = Feature(kind="categorical", values=np.array([0, 1, 0], np.int32), names=("hi", "ta"))
    watched = np.arange(4, dtype=np.float32)
    data = replace(
        log(EVENTS), user_features={"language": language}, columns={"watched_seconds": watched, "place": watched}
    )
    more = append_events(data, later(("new", "x", 30, np.nan), ("a", "x", 5, 1.0), ("again", "y", 99, 3.0)))
    assert told(more) == [
        ("a", "x", 5),
        ("b", "x", 10),
        ("a", "y", 20),
        ("b", "y", 30),
        ("c", "x", 30),
        ("new", "x", 30),
        ("again", "y", 99),
    ]
    assert more.users.ids([3, 4]) == ["again", "new"]
    assert more.user_features["language"].values.tolist() == [0, 1, 0, -1, -1]
    np.testing.assert_array_equal(more.value, np.array([1, 5, 2, 4, 3, np.nan, 3], np.float32))
    np.testing.assert_array_equal(more.columns["watched_seconds"], [7, 0, 1, 2, 3, 7, 7])
    np.testing.assert_array_equal(more.columns["place"], [np.nan, 0, 1, 2, 3, np.nan, np.nan])
    assert more.items == data.items


def test_an_item_must_be_known() -> None:
    with pytest.raises(ValueError, match="'z'"):
        append_events(log(EVENTS), later(("a", "z", 1, 1.0)))


def test_logs_without_times_or_values() -> None:
    data = replace(log(EVENTS), time=np.zeros(4, np.int64), order="sequence", value=None, values="none")
    more = append_events(data, later(("a", "x", 5, 1.0)))
    assert told(more) == [(user, item, 0) for user, item, *_ in [*EVENTS, ("a", "x")]]
    assert more.value is None


def test_users_leave_without_a_trace() -> None:
    age = Feature(kind="number", values=np.array([1, 2, 3], np.float32))
    data = replace(log(EVENTS), user_features={"age": age})
    less = remove_users(data, ["b", "nobody"])
    assert told(less) == [("a", "y", 20), ("c", "x", 30)]
    assert less.users.series.to_list() == ["a", "c"]
    assert less.user_features["age"].values.tolist() == [1, 3]
    assert less.items == data.items
    assert remove_users(data, ["nobody"]) is data
    assert len(remove_users(data, ["a", "b", "c"])) == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy"), st.integers(0, 50)), max_size=20))
def test_what_joins_and_leaves_again_leaves_nothing(events: list[tuple[str, str, int]]) -> None:
    data = log(EVENTS)
    more = append_events(data, later(*[(f"{user}2", item, time, 1.0) for user, item, time in events]))
    assert len(more) == len(data) + len(events)
    assert (np.diff(more.time) >= 0).all()
    assert remove_users(more, [f"{user}2" for user in "abcd"]).fingerprint == data.fingerprint
