from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pasand.serving.engine.engine import Engine
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError
from pasand.serving.states.contract import Event, RecentEvents, StateUnavailable
from pasand.serving.states.sqlite import opened

NOW = 2_000_000_000


class Breakable:
    """A state that can go away."""

    def __init__(self, place: Path) -> None:
        self._state, self.gone = opened(str(place)), False

    def __getattr__(self, name: str) -> Callable[..., object]:
        if self.gone:
            raise StateUnavailable("unplugged")
        found: Callable[..., object] = getattr(self._state, name)
        return found


@pytest.fixture
def engine(bundle_folder: Path, tmp_path: Path) -> Engine:
    state = Breakable(tmp_path / "state.sqlite")
    return Engine([Variant.read("main", str(bundle_folder))], state, lambda: NOW)  # type: ignore[arg-type]


def items(engine: Engine, ask: RecommendRequest) -> list[str]:
    (answer,) = engine.answer([ask])
    assert isinstance(answer, RecommendResponse)
    return [one.item for one in answer.items]


def test_a_batch_answers_as_each_request_alone(engine: Engine) -> None:
    engine.state.append([Event("a", "user 00003", "Sholay", NOW - 5), Event("b", "new", "PK", NOW - 9, 1.0)])
    asks = [RecommendRequest(user=f"user {n:05}") for n in range(1, 30)]
    asks += [
        RecommendRequest(user="new"),
        RecommendRequest(),
        RecommendRequest(history=["Sholay", "PK"]),
        RecommendRequest(k=3),
        RecommendRequest(k=3, deny=["PK"]),
        RecommendRequest(user="new", k=50),
    ]
    asks += [
        RecommendRequest(filters={"language": "Tamil"}),
        RecommendRequest(user="user 00001", filters={"language": "Tamil"}),
    ]
    together = engine.answer(asks)
    for ask, one in zip(asks, together, strict=True):
        (alone,) = engine.answer([ask])
        assert isinstance(one, RecommendResponse)
        assert isinstance(alone, RecommendResponse)
        assert one.items == alone.items


def test_requests_are_queries_as_evaluation_asks_them(engine: Engine) -> None:
    variant = engine.variants[0]
    data = variant.bundle.data
    rows = np.array([0, 7, 30], np.int32)
    asks = [RecommendRequest(user=user) for user in data.users.ids(rows)]
    asked, _ = variant.queries(asks, [RecentEvents([], False)] * 3, NOW)
    expected = data.queries(rows, k=10, time=np.full(3, NOW))
    for name in ("users", "history", "history_time", "history_value", "time"):
        np.testing.assert_array_equal(getattr(asked, name), getattr(expected, name))
    for name, values in expected.features.items():
        np.testing.assert_array_equal(asked.features[name], values)


def test_events_follow_the_history_of_the_bundle(engine: Engine) -> None:
    variant, user = engine.variants[0], "user 00001"
    past = RecentEvents([Event("a", user, "PK", NOW - 9, 2.0), Event("b", user, "no film", NOW - 8)], False)
    one, notes = variant.queries([RecommendRequest(user=user, history=["Sholay"])], [past], NOW)
    rows = variant.bundle.data.items.rows(["PK", "Sholay"])
    assert one.history[0, -2:].tolist() == rows.tolist()
    assert one.history_time[0, -2:].tolist() == [NOW - 9, NOW]
    assert one.history_value[0, -2] == 2
    assert np.isnan(one.history_value[0, -1])
    own = variant.bundle.data.queries(one.users, k=1).history[0]
    assert one.history[0, -2 - len(own) : -2].tolist() == own.tolist()
    assert notes == [["not in the catalogue, and left aside: no film"]]
    forgotten, _ = variant.queries([RecommendRequest(user=user)], [RecentEvents([], True)], NOW)
    assert forgotten.users.tolist() == [-1]
    assert not (forgotten.history >= 0).any()


def test_without_the_state_the_last_that_was_known_is_used(engine: Engine) -> None:
    engine.state.append([Event("a", "new", "Sholay", NOW - 5)])
    known = items(engine, RecommendRequest(user="new"))
    assert known != items(engine, RecommendRequest())
    engine.state.gone = True  # type: ignore[attr-defined]
    (answer, stranger) = engine.answer([RecommendRequest(user="new"), RecommendRequest(user="other")])
    assert isinstance(answer, RecommendResponse)
    assert isinstance(stranger, RecommendResponse)
    assert [one.item for one in answer.items] == known
    assert answer.degraded
    assert stranger.degraded
    assert len(stranger.items) == 10
    engine.state.gone = False  # type: ignore[attr-defined]
    (again,) = engine.answer([RecommendRequest(user="new")])
    assert isinstance(again, RecommendResponse)
    assert not again.degraded


def test_one_refused_request_does_not_harm_its_batch(engine: Engine) -> None:
    asks = [
        RecommendRequest(user="a"),
        RecommendRequest(user="b", features={"shoe size": 4}),
        RecommendRequest(user="c"),
    ]
    kinds = [type(one) for one in engine.answer(asks)]
    assert kinds == [RecommendResponse, RequestError, RecommendResponse]


def test_shares_are_kept(bundle_folder: Path, tmp_path: Path) -> None:
    places = [("one", 0.2), ("two", 0.8)]
    variants = [Variant.read(name, str(bundle_folder), share) for name, share in places]
    engine = Engine(variants, opened(str(tmp_path / "s.sqlite")), lambda: NOW)
    drawn = [engine.variant_of(f"u{n}").name for n in range(3000)]
    assert drawn == [engine.variant_of(f"u{n}").name for n in range(3000)]
    assert 480 < drawn.count("one") < 720
    assert engine.named(None).name == "one"
    with pytest.raises(RequestError, match="no variant 'three'"):
        engine.named("three")


def test_a_bundle_of_another_state_is_not_taken_into_use(engine: Engine, bundle_folder: Path) -> None:
    fresh = engine.load("main", str(bundle_folder))
    fresh.bundle.manifest["state_upto"] = 2
    with pytest.raises(RequestError, match="has learnt 2 events of its state, and this one has had 0"):
        engine.swap(fresh)
    engine.state.append([Event(name, "new", "PK", NOW - 5) for name in "ab"])
    engine.swap(fresh)


def test_a_bundle_without_answers_is_not_taken_into_use(
    engine: Engine, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(
        self: Variant, asks: Sequence[RecommendRequest], *more: object
    ) -> list[tuple[bool, list[object], list[str]]]:
        return [(False, [], []) for _ in asks]

    fresh, old = engine.load("main", str(bundle_folder)), engine.variants[0]
    monkeypatch.setattr(Variant, "answer", silent)
    with pytest.raises(RequestError, match="empty lists"):
        engine.swap(fresh)
    monkeypatch.undo()
    assert engine.variants == [old]
    assert engine.swap(fresh) is old
    assert engine.variants == [fresh]
