"""Training data of a refresh: the bundle's own and the state's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.bundle import Bundle
from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.errors import InputError
from pasand.serving.refresh.training_data import apply_to_catalogue, gather
from pasand.serving.states import open_state
from pasand.serving.states.contract import Change, Event
from tests.logs import log

EVENTS = [("b", "x", 10, 5.0), ("a", "y", 20, 2.0), ("b", "y", 30, 4.0)]


def bundled(folder: Path, data: Any = None, **about: int) -> Bundle:
    data = log(EVENTS) if data is None else data
    text = default_recipe.of_model("popularity", {})
    bundle.write(folder, recipe.build(text).fit(data, seed=0), data, seed=0, about=about)
    return bundle.read(folder)


def event(name: str, user: str, item: str, time: int, value: float | None = None) -> Event:
    return Event(name, user, item, time, value)


def event_tuples(data: Any) -> list[tuple[str, str, int]]:
    return list(zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True))


def test_events_count_once(tmp_path: Path) -> None:
    state = open_state(str(tmp_path / "state"))
    state.append([event("1", "a", "x", 40, 3), event("2", "new", "y", 35), event("3", "a", "unknown", 50)])
    first = gather(bundled(tmp_path / "one"), state)
    assert event_tuples(first.data) == [
        ("b", "x", 10),
        ("a", "y", 20),
        ("b", "y", 30),
        ("new", "y", 35),
        ("a", "x", 40),
    ]
    np.testing.assert_array_equal(first.data.value, np.array([5, 2, 4, np.nan, 3], np.float32))
    assert (first.n_new, first.n_unknown, first.last_event) == (2, 1, 3)
    state.append([event("4", "b", "x", 60)])
    second = gather(bundled(tmp_path / "two", first.data, state_upto=first.last_event), state)
    assert event_tuples(second.data) == [*event_tuples(first.data), ("b", "x", 60)]
    assert (second.n_new, second.n_unknown, second.last_event) == (1, 0, 4)
    third = gather(bundled(tmp_path / "three", second.data, state_upto=4), state)
    assert third.data.fingerprint == second.data.fingerprint
    state.close()


def test_events_of_an_item_added_later_are_included(tmp_path: Path) -> None:
    state = open_state(str(tmp_path / "state"))
    state.append([event("1", "a", "late", 40), event("2", "a", "x", 41), event("3", "b", "never", 42)])
    first = gather(bundled(tmp_path / "one"), state)
    assert first.n_unknown == 2
    state.put_item("late", {})
    second = gather(bundled(tmp_path / "two", first.data, state_upto=3), state)
    assert event_tuples(second.data) == [*EVENTS_OF_LOG, ("a", "late", 40), ("a", "x", 41)]
    state.close()


EVENTS_OF_LOG = [(user, item, time) for user, item, time, _ in EVENTS]


def test_of_forgotten_users_only_later_events_are_included(tmp_path: Path) -> None:
    state = open_state(str(tmp_path / "state"))
    state.append([event("1", "b", "x", 40), event("2", "a", "x", 41)])
    first = gather(bundled(tmp_path / "one"), state)
    state.forget("b")
    gone = gather(bundled(tmp_path / "two", first.data, state_upto=2), state)
    assert event_tuples(gone.data) == [("a", "y", 20), ("a", "x", 41)]
    assert gone.data.users.series.to_list() == ["a"]
    assert gone.forgotten == ["b"]
    state.append([event("3", "b", "y", 50)])
    back = gather(bundled(tmp_path / "three", gone.data, state_upto=2), state)
    assert event_tuples(back.data) == [("a", "y", 20), ("a", "x", 41), ("b", "y", 50)]
    once_more = gather(bundled(tmp_path / "four", back.data, state_upto=3), state)
    assert event_tuples(once_more.data) == event_tuples(back.data)
    state.close()


def test_another_services_state_is_refused(tmp_path: Path) -> None:
    state = open_state(str(tmp_path / "state"))
    with pytest.raises(InputError, match="another service"):
        gather(bundled(tmp_path / "one", state_upto=7), state)
    state.close()


def test_items_are_added_changed_and_removed(tmp_path: Path) -> None:
    text = np.array(["Old", "Older"], np.dtypes.StringDType())
    data = replace(
        log(EVENTS),
        item_features={
            "title": Feature(kind="text", values=text),
            "language": Feature(kind="categorical", values=np.array([0, 1], np.int32), names=("hi", "ta")),
            "genres": Feature(kind="bag", values=np.array([[0], [-1]], np.int32), names=("drama",)),
            "year": Feature(kind="number", values=np.array([1990, np.nan], np.float32)),
            "from": Feature(kind="time", values=np.array([5, TIME_UNKNOWN], np.int64)),
            "vector": Feature(kind="vector", values=np.zeros((2, 2), np.float32)),
        },
    )
    grown = apply_to_catalogue(
        data,
        [
            Change(1, "x", {"language": "bn", "genres": ["war", "drama"], "year": 2001}, False),
            Change(2, "new", {"title": "New", "genres": "song", "from": "1970-01-02", "vector": [1, 2]}, False),
            Change(3, "y", None, True),
            Change(4, "unheard", None, True),
            Change(5, "bad", {"year": "soon", "vector": [1, 2, 3], "language": "hi"}, False),
        ],
    )
    assert grown.items.series.to_list() == ["x", "y", "new", "bad"]
    features = grown.item_features
    assert features["title"].values.tolist() == ["Old", "Older", "New", ""]
    assert [features["language"].show(row) for row in range(4)] == ["bn", "ta", "", "hi"]
    assert [features["genres"].show(row) for row in range(4)] == ["war, drama", "", "song", ""]
    np.testing.assert_array_equal(features["year"].values, np.array([2001, np.nan, np.nan, np.nan], np.float32))
    assert features["from"].values.tolist() == [5, TIME_UNKNOWN, 86_400, TIME_UNKNOWN]
    np.testing.assert_array_equal(features["vector"].values, [[0, 0], [0, 0], [1, 2], [np.nan, np.nan]])
    assert data.item_features["language"].values.tolist() == [0, 1]
    state = open_state(str(tmp_path / "state"))
    state.put_item("new", {"language": "hi"})
    state.remove_item("y")
    gathered = gather(bundled(tmp_path / "one", data), state)
    assert gathered.data.items.series.to_list() == ["x", "y", "new"]
    assert gathered.available.tolist() == [True, False, True]
    assert gathered.last_change == 2
    state.close()


def test_users_whose_deletion_only_the_service_knows_are_left_out(tmp_path: Path) -> None:
    state = open_state(str(tmp_path / "state"))
    state.append([event("1", "b", "y", 40)])
    data = gather(bundled(tmp_path / "one"), state, {"b"}).data
    assert event_tuples(data) == [("a", "y", 20), ("b", "y", 40)]
    state.close()
