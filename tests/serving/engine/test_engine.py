from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pasand.serving.engine.engine import Engine
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError
from pasand.serving.states.contract import Event, RecentEvents, StateUnavailable
from pasand.serving.states.sqlite import connect

NOW = 2_000_000_000


class Breakable:
    """A state that can become unavailable, and that keeps the names of the methods called."""

    def __init__(self, path: Path) -> None:
        self._state, self.unavailable = connect(str(path)), False
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        if self.unavailable:
            raise StateUnavailable("unplugged")
        self.called.append(name)
        method: Callable[..., object] = getattr(self._state, name)
        return method


@pytest.fixture
def engine(bundle_folder: Path, tmp_path: Path) -> Engine:
    state = Breakable(tmp_path / "state.sqlite")
    return Engine([Variant.read("main", str(bundle_folder))], state, lambda: NOW)  # type: ignore[arg-type]


def items(engine: Engine, request: RecommendRequest) -> list[str]:
    (response,) = engine.recommend([request])
    assert isinstance(response, RecommendResponse)
    return [one.item_id for one in response.items]


def test_a_batch_gives_the_same_items_as_each_request_alone(engine: Engine) -> None:
    engine.state.append([Event("a", "user 00003", "Sholay", NOW - 5), Event("b", "new", "PK", NOW - 9, 1.0)])
    requests = [RecommendRequest(user_id=f"user {n:05}") for n in range(1, 30)]
    requests += [
        RecommendRequest(user_id="new"),
        RecommendRequest(),
        RecommendRequest(history=["Sholay", "PK"]),
        RecommendRequest(k=3),
        RecommendRequest(k=3, deny=["PK"]),
        RecommendRequest(user_id="new", k=50),
    ]
    requests += [
        RecommendRequest(filters={"language": "Tamil"}),
        RecommendRequest(user_id="user 00001", filters={"language": "Tamil"}),
    ]
    batch = engine.recommend(requests)
    for request, one in zip(requests, batch, strict=True):
        (alone,) = engine.recommend([request])
        assert isinstance(one, RecommendResponse)
        assert isinstance(alone, RecommendResponse)
        assert one.items == alone.items


def test_requests_become_the_queries_of_evaluation(engine: Engine) -> None:
    variant = engine.variants[0]
    data = variant.bundle.data
    rows = np.array([0, 7, 30], np.int32)
    requests = [RecommendRequest(user_id=user) for user in data.users.ids(rows)]
    queries, _ = variant.queries(requests, [RecentEvents([], False)] * 3, NOW)
    expected = data.queries(rows, k=10, time=np.full(3, NOW))
    for name in ("users", "history", "history_time", "history_value", "time"):
        np.testing.assert_array_equal(getattr(queries, name), getattr(expected, name))
    for name, values in expected.features.items():
        np.testing.assert_array_equal(queries.features[name], values)


def test_events_follow_the_history_of_the_bundle(engine: Engine) -> None:
    variant, user = engine.variants[0], "user 00001"
    recent = RecentEvents([Event("a", user, "PK", NOW - 9, 2.0), Event("b", user, "no film", NOW - 8)], False)
    queries, notes = variant.queries([RecommendRequest(user_id=user, history=["Sholay"])], [recent], NOW)
    rows = variant.bundle.data.items.rows(["PK", "Sholay"])
    assert queries.history[0, -2:].tolist() == rows.tolist()
    assert queries.history_time[0, -2:].tolist() == [NOW - 9, NOW]
    assert queries.history_value[0, -2] == 2
    assert np.isnan(queries.history_value[0, -1])
    own = variant.bundle.data.queries(queries.users, k=1).history[0]
    assert queries.history[0, -2 - len(own) : -2].tolist() == own.tolist()
    assert notes == [["not in the catalogue, and ignored: no film"]]
    forgotten, _ = variant.queries([RecommendRequest(user_id=user)], [RecentEvents([], True)], NOW)
    assert forgotten.users.tolist() == [-1]
    assert not (forgotten.history >= 0).any()


def test_without_the_state_the_cached_events_are_used(engine: Engine) -> None:
    engine.state.append([Event("a", "new", "Sholay", NOW - 5)])
    known = items(engine, RecommendRequest(user_id="new"))
    assert known != items(engine, RecommendRequest())
    engine.state.unavailable = True  # type: ignore[attr-defined]
    (response, other) = engine.recommend([RecommendRequest(user_id="new"), RecommendRequest(user_id="other")])
    assert isinstance(response, RecommendResponse)
    assert isinstance(other, RecommendResponse)
    assert [one.item_id for one in response.items] == known
    assert response.degraded
    assert other.degraded
    assert len(other.items) == 10
    engine.state.unavailable = False  # type: ignore[attr-defined]
    (again,) = engine.recommend([RecommendRequest(user_id="new")])
    assert isinstance(again, RecommendResponse)
    assert not again.degraded


def test_the_state_is_read_once_for_a_batch(engine: Engine) -> None:
    requests = [RecommendRequest(user_id=f"user {n:05}", k=k) for n in range(1, 9) for k in (1, 2, 5)]
    requests += [RecommendRequest(user_id="new", filters={"language": "Tamil"}), RecommendRequest(k=3)]
    engine.recommend(requests)
    assert engine.state.called.count("recent_events") == 1  # type: ignore[attr-defined]


def test_events_that_cannot_be_read_affect_their_own_request_only(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = items(engine, RecommendRequest(user_id="user 00003"))
    read = engine.state.recent_events

    def fail(users: Sequence[str], *more: int) -> object:
        if "damaged" in users:
            raise ValueError("not an event")
        return read(users, *more)

    monkeypatch.setattr(engine.state, "recent_events", fail, raising=False)
    requests = [RecommendRequest(user_id=user, k=k) for user in ("user 00003", "damaged", "new") for k in (10, 3)]
    results = engine.recommend(requests)
    assert [type(one) for one in results] == [RecommendResponse] * 2 + [ValueError] * 2 + [RecommendResponse] * 2
    assert isinstance(results[0], RecommendResponse)
    assert [one.item_id for one in results[0].items] == expected


def test_an_invalid_request_does_not_affect_its_batch(engine: Engine) -> None:
    requests = [
        RecommendRequest(user_id="a"),
        RecommendRequest(user_id="b", features={"shoe size": 4}),
        RecommendRequest(user_id="c"),
    ]
    kinds = [type(one) for one in engine.recommend(requests)]
    assert kinds == [RecommendResponse, RequestError, RecommendResponse]


def test_variants_get_their_shares(bundle_folder: Path, tmp_path: Path) -> None:
    shares = [("one", 0.2), ("two", 0.8)]
    variants = [Variant.read(name, str(bundle_folder), share) for name, share in shares]
    engine = Engine(variants, connect(str(tmp_path / "s.sqlite")), lambda: NOW)
    drawn = [engine.variant_of(f"u{n}").name for n in range(3000)]
    assert drawn == [engine.variant_of(f"u{n}").name for n in range(3000)]
    assert 480 < drawn.count("one") < 720
    assert engine.variant_named(None).name == "one"
    with pytest.raises(RequestError, match="no variant 'three'"):
        engine.variant_named("three")


def test_a_bundle_of_another_state_is_rejected(engine: Engine, bundle_folder: Path) -> None:
    new = engine.load("main", str(bundle_folder))
    new.bundle.manifest["state_upto"] = 2
    with pytest.raises(RequestError, match="trained on 2 events of its state, but this state has had 0"):
        engine.swap(new)
    engine.state.append([Event(name, "new", "PK", NOW - 5) for name in "ab"])
    engine.swap(new)


def test_a_bundle_without_recommendations_is_rejected(
    engine: Engine, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recommend_nothing(
        self: Variant, requests: Sequence[RecommendRequest], *more: object
    ) -> list[tuple[bool, list[object], list[str]]]:
        return [(False, [], []) for _ in requests]

    new, old = engine.load("main", str(bundle_folder)), engine.variants[0]
    monkeypatch.setattr(Variant, "recommend", recommend_nothing)
    with pytest.raises(RequestError, match="recommends nothing"):
        engine.swap(new)
    monkeypatch.undo()
    assert engine.variants == [old]
    assert engine.swap(new) is old
    assert engine.variants == [new]
