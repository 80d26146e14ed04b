"""Updates of a dataset: new events are merged by time, and users are removed."""

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


def new_events(*events: tuple[str, str, int, float]) -> NewEvents:
    users, items, times, values = ([event[column] for event in events] for column in range(4))
    return NewEvents(
        user=[str(user) for user in users],
        item=[str(item) for item in items],
        time=np.array(times, np.int64),
        value=np.array(values, np.float32),
        columns={"watched_seconds": np.full(len(events), 7, np.float32)},
    )


def triples(data: Dataset) -> list[tuple[str, str, int]]:
    ids = zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True)
    return list(ids)


def test_new_events_are_merged_in_order_of_time() -> None:
    language = Feature(kind="categorical", values=np.array([0, 1, 0], np.int32), names=("hi", "ta"))
    watched = np.arange(4, dtype=np.float32)
    data = replace(
        log(EVENTS), user_features={"language": language}, columns={"watched_seconds": watched, "position": watched}
    )
    grown = append_events(data, new_events(("new", "x", 30, np.nan), ("a", "x", 5, 1.0), ("again", "y", 99, 3.0)))
    assert triples(grown) == [
        ("a", "x", 5),
        ("b", "x", 10),
        ("a", "y", 20),
        ("b", "y", 30),
        ("c", "x", 30),
        ("new", "x", 30),
        ("again", "y", 99),
    ]
    assert grown.users.ids([3, 4]) == ["again", "new"]
    assert grown.user_features["language"].values.tolist() == [0, 1, 0, -1, -1]
    np.testing.assert_array_equal(grown.value, np.array([1, 5, 2, 4, 3, np.nan, 3], np.float32))
    np.testing.assert_array_equal(grown.columns["watched_seconds"], [7, 0, 1, 2, 3, 7, 7])
    np.testing.assert_array_equal(grown.columns["position"], [np.nan, 0, 1, 2, 3, np.nan, np.nan])
    assert grown.items == data.items


def test_an_item_must_be_known() -> None:
    with pytest.raises(ValueError, match="'z'"):
        append_events(log(EVENTS), new_events(("a", "z", 1, 1.0)))


def test_logs_without_times_or_values() -> None:
    data = replace(log(EVENTS), time=np.zeros(4, np.int64), order="sequence", value=None, values="none")
    grown = append_events(data, new_events(("a", "x", 5, 1.0)))
    assert triples(grown) == [(user, item, 0) for user, item, *_ in [*EVENTS, ("a", "x")]]
    assert grown.value is None


def test_users_are_removed_completely() -> None:
    age = Feature(kind="number", values=np.array([1, 2, 3], np.float32))
    data = replace(log(EVENTS), user_features={"age": age})
    reduced = remove_users(data, ["b", "unknown"])
    assert triples(reduced) == [("a", "y", 20), ("c", "x", 30)]
    assert reduced.users.series.to_list() == ["a", "c"]
    assert reduced.user_features["age"].values.tolist() == [1, 3]
    assert reduced.items == data.items
    assert remove_users(data, ["unknown"]) is data
    assert len(remove_users(data, ["a", "b", "c"])) == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy"), st.integers(0, 50)), max_size=20))
def test_removing_added_users_restores_the_data(events: list[tuple[str, str, int]]) -> None:
    data = log(EVENTS)
    grown = append_events(data, new_events(*[(f"{user}2", item, time, 1.0) for user, item, time in events]))
    assert len(grown) == len(data) + len(events)
    assert (np.diff(grown.time) >= 0).all()
    assert remove_users(grown, [f"{user}2" for user in "abcd"]).fingerprint == data.fingerprint
