"""Requests, users and states that once broke a service: what must hold of an engine whatever it is given."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.serving.engine.about import about
from pasand.serving.engine.bundle_check import check_bundle
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.home import explained, home, view
from pasand.serving.engine.padding import groups_by_size
from pasand.serving.engine.scale import Scale
from pasand.serving.engine.variant import Variant
from pasand.serving.forgotten import ForgottenUsers
from pasand.serving.refresh.training_data import gather
from pasand.serving.schemas import Between, HistoryItem, HomeRequest, RecommendRequest, RecommendResponse, RequestError
from pasand.serving.service import Service, Settings
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
from tests.logs import log

N_ITEMS, NOW = 400, 2_000_000_000


def item(number: int) -> str:
    return f"i{number:03}"


def films(n_items: int = N_ITEMS) -> Dataset:
    """Return a log of 40 users, the first of which has seen every item; ratings from 2 to 5."""
    rng = np.random.default_rng(0)
    events = [("u00", item(n), 1_000_000 + n, 2.0 + n % 4) for n in range(n_items)]
    events += [
        (f"u{user:02}", item(n), 2_000_000 + user, 2.0 + n % 4)
        for user in range(1, 40)
        for n in rng.choice(n_items, min(10, n_items), replace=False).tolist()
    ]
    titles = Feature(kind="text", values=np.array([f"Film {n}" for n in range(n_items)], "T"))
    added = Feature(kind="time", values=1_000_000 + np.arange(n_items, dtype=np.int64))
    year = Feature(kind="number", values=1950 + np.arange(n_items, dtype=np.float32))
    return replace(log(events), item_features={"title": titles, "available_from": added, "year": year})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tmp_path_factory.mktemp("films") / "bundle", films())


def bundled(folder: Path, data: Dataset, **about: object) -> Path:
    fitted = recipe.build(default_recipe.of_model("item_knn", {})).fit(data, seed=0)
    bundle.write(folder, fitted, data, seed=0, about=about)
    return folder


@pytest.fixture
def started(folder: Path, tmp_path: Path) -> Callable[..., Engine]:
    """Return a function that starts an engine on the state of the test."""

    def start(forgotten: ForgottenUsers | None = None) -> Engine:
        state = open_state(str(tmp_path / "state.sqlite"))
        return Engine([Variant.read("main", str(folder))], state, lambda: NOW, forgotten=forgotten or ForgottenUsers())

    return start


@pytest.fixture
def engine(started: Callable[..., Engine]) -> Engine:
    return started()


def recommended(engine: Engine, request: RecommendRequest) -> list[str]:
    return [one.item_id for one in engine.responses([request])[0].items]


def post(engine: Engine, user: str, items: list[str], begin: int = 0) -> None:
    engine.state.append([Event(f"{user} {begin + n}", user, name, NOW - 5000 + n) for n, name in enumerate(items)])


# users who have seen everything


def test_a_bundle_whose_first_users_have_seen_everything_is_sound(engine: Engine) -> None:
    check_bundle(engine.variants[0], engine.state, NOW)
    assert recommended(engine, RecommendRequest(user_id="u00")) == []


def test_a_bundle_of_a_catalogue_seen_by_all_is_sound(tmp_path: Path) -> None:
    data = log([(user, name, 10 + n, 3.0) for n, user in enumerate("ab") for name in ("x", "y")])
    variant = Variant.read("main", str(bundled(tmp_path / "bundle", data)))
    state = open_state(str(tmp_path / "state"))
    check_bundle(variant, state, NOW)
    for name in ("x", "y"):
        state.remove_item(name)
    check_bundle(variant, state, NOW)  # an anonymous user gets nothing either


# seen items


def test_no_item_of_a_long_history_is_recommended_again(engine: Engine) -> None:
    post(engine, "new", [item(n) for n in range(300)])
    assert set(recommended(engine, RecommendRequest(user_id="new", k=1000))) == {item(n) for n in range(300, N_ITEMS)}
    assert len(recommended(engine, RecommendRequest(user_id="new", k=1000, exclude_seen=False))) == N_ITEMS
    post(engine, "new", [item(n) for n in range(300, 350)], begin=300)
    assert set(recommended(engine, RecommendRequest(user_id="new", k=1000))) == {item(n) for n in range(350, N_ITEMS)}


def test_many_events_of_one_item_do_not_bring_back_the_others(engine: Engine) -> None:
    post(engine, "new", [item(n) for n in range(50)])
    post(engine, "new", [item(60)] * 250, begin=50)
    found = recommended(engine, RecommendRequest(user_id="new", k=1000))
    assert set(found) == {item(n) for n in range(50, N_ITEMS)} - {item(60)}


def test_events_stored_before_the_table_of_seen_items_count(engine: Engine, started: Callable[..., Engine]) -> None:
    post(engine, "new", [item(n) for n in range(250)])
    engine.state.close()
    with closing(sqlite3.connect(engine.state.path)) as file, file:  # type: ignore[attr-defined]
        file.execute("DROP TABLE seen")
        file.execute("DELETE FROM counter WHERE name IN ('identity', 'forgotten')")
    again = started()
    expected = {item(n) for n in range(250, N_ITEMS)}
    assert set(recommended(again, RecommendRequest(user_id="new", k=1000))) == expected
    post(again, "new", [item(399)], begin=250)
    assert set(recommended(again, RecommendRequest(user_id="new", k=1000))) == expected - {item(399)}


def test_a_home_page_shows_no_seen_item(engine: Engine) -> None:
    seen = {item(n) for n in range(340)}
    post(engine, "new", sorted(seen))
    rows = home(engine, HomeRequest(user_id="new")).rows
    assert {"for_you", "popular"} <= {row.kind for row in rows}
    assert not seen & {card.item_id for row in rows for card in row.items}


def test_a_forgotten_user_has_seen_nothing_in_any_process(engine: Engine, started: Callable[..., Engine]) -> None:
    post(engine, "new", [item(n) for n in range(250)])
    other = started()
    for one in (engine, other):
        assert len(recommended(one, RecommendRequest(user_id="new", k=1000))) == N_ITEMS - 250
    engine.state.forget("new")
    engine.forget("new")
    for one in (engine, other):
        assert len(recommended(one, RecommendRequest(user_id="new", k=1000))) == N_ITEMS
        assert one.n_cached_users == 1
    assert "new" in other.forgotten


def test_forgotten_users_hold_without_the_state(started: Callable[..., Engine], tmp_path: Path) -> None:
    file = tmp_path / "forgotten"
    engine = started(ForgottenUsers(file))
    engine.state.forget("u01")
    engine.sync()
    assert b"u01" not in file.read_bytes()
    Path(engine.state.path).unlink()  # type: ignore[attr-defined]
    engine.state.close()
    again = started(ForgottenUsers(file))
    (response,) = again.responses([RecommendRequest(user_id="u01")])
    assert not response.known
    file.write_text("what is this")
    with pytest.raises(InputError, match="restore it from a backup"):
        ForgottenUsers(file)


def test_a_deleted_user_is_unknown_everywhere_in_another_worker(folder: Path, tmp_path: Path) -> None:
    settings = Settings(variants=[("main", str(folder), 1.0)], folder=str(tmp_path / "state"), impressions=False)
    first, second = Service(settings), Service(settings)
    try:
        user = str(about(second)["examples"][0])
        seen = first.engine.variants[0].bundle.data
        item_id = seen.items.ids(seen.item[seen.user == seen.users.rows([user])[0]][:1])[0]
        post(first.engine, user, ["i001"])
        request = RecommendRequest(user_id=user)
        assert home(second.engine, HomeRequest(user_id=user)).known
        assert asyncio.run(first.forget(user)).found
        assert user not in about(second)["examples"]
        assert not home(second.engine, HomeRequest(user_id=user)).known
        shown = view(second.engine, user)
        assert (shown["known"], shown["history"]) == (False, [])
        explanation = explained(second.engine, request, item_id)
        assert explanation == {**explained(second.engine, RecommendRequest(user_id="nobody"), item_id), "user_id": user}
        assert not second.engine.responses([request])[0].known
    finally:
        first.close()
        second.close()


# a batch


def test_requests_with_huge_numbers_fail_alone_or_find_nothing(engine: Engine) -> None:
    bad = [
        RecommendRequest(features={"age": 3}),
        RecommendRequest(filters={"available_from": 2**63}),
        RecommendRequest(filters={"available_from": [10**309, -(2**64), 1e300]}),
        RecommendRequest(filters={"year": [10**309]}),
        RecommendRequest(filters={"year": Between(min=1e300)}),
    ]
    good = [RecommendRequest(user_id=f"u{n:02}") for n in range(1, 30)]
    results = engine.recommend([*good[:5], *bad, *good[5:]])
    alone = engine.responses(good)
    for result, expected in zip([*results[:5], *results[10:]], alone, strict=True):
        assert isinstance(result, RecommendResponse)
        assert result.items == expected.items
    assert not any(isinstance(one, RecommendResponse) and one.items for one in results[5:10])


def test_an_unexpected_error_reaches_its_own_request_only(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Variant._features

    def fail(self: Variant, requests: list[RecommendRequest], *more: object) -> object:
        if any(request.user_id == "u07" for request in requests):
            raise ZeroDivisionError
        return parse(self, requests, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Variant, "_features", fail)
    results = engine.recommend([RecommendRequest(user_id=f"u{n:02}") for n in range(1, 40)])
    kinds = [type(one) for one in results]
    assert kinds == [RecommendResponse] * 6 + [ZeroDivisionError] + [RecommendResponse] * 32


def test_a_long_history_is_not_padded_into_the_others() -> None:
    assert groups_by_size([400_000] + [10] * 63) == [list(range(1, 64)), [0]]
    assert groups_by_size([100] * 64) == [list(range(64))]
    assert groups_by_size([]) == []
    for sizes in ([5, 1, 400, 70] * 16, [1_000_000] * 3):
        groups = groups_by_size(sizes, 1000)
        assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
        assert all(len(group) == 1 or len(group) * max(sizes[i] for i in group) <= 1000 for group in groups)


def test_histories_of_all_lengths_give_the_same_lists_together(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    post(engine, "new", [item(n) for n in range(300)])
    requests = [RecommendRequest(user_id=user) for user in ("u00", "u01", "new", "u02", "u03")]
    together = engine.responses(requests)
    monkeypatch.setattr("pasand.serving.engine.padding.MAX_CELLS", 400)
    monkeypatch.setattr(groups_by_size, "__defaults__", (400,))
    apart = engine.responses(requests)
    assert [one.items for one in apart] == [one.items for one in together]


# ratings


def test_ratings_are_held_against_the_scale(engine: Engine) -> None:
    scale = engine.variants[0].scale
    assert list(scale) == [1, 5]
    with pytest.raises(RequestError, match="6 is not on the scale of the log's ratings, from 1 to 5") as refused:
        engine.responses([RecommendRequest(history=[item(1), HistoryItem(item(2), value=6.0)])])
    assert (refused.value.status, refused.value.field) == (422, "history[1].value")
    assert engine.responses([RecommendRequest(history=[HistoryItem(item(2), value=5.0)])])[0].items
    assert Scale.of(log([("a", "x", 1, -3.0), ("b", "y", 2, 8.0)])) == Scale(-8, 8)
    assert Scale.of(log([("a", "x", 1, 0.0), ("b", "y", 2, 1.0)])) == Scale(0, 1)
    assert Scale.of(replace(films(), values="strength")).nearest(1e9) == 1e9


def test_ratings_stored_by_earlier_versions_count_as_the_end_of_the_scale(engine: Engine) -> None:
    engine.state.append([Event("a", "new", item(3), NOW - 5, 1e9)])
    variant = engine.variants[0]
    recent, _ = engine.recent_events(variant, ["new"])
    queries, _ = variant.queries([RecommendRequest(user_id="new")], recent, NOW)
    assert queries.history_value[0, -1] == 5
    value = gather(variant.bundle, engine.state).data.value
    assert value is not None
    assert value[-1] == 5


def test_scores_that_are_not_finite_are_left_out(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Variant._run

    def with_holes(self: Variant, *arguments: object) -> object:
        candidates = run(self, *arguments)  # type: ignore[arg-type]
        candidates.scores[0, :3] = np.inf, np.nan, -np.inf
        return candidates

    expected = recommended(engine, RecommendRequest(k=8))
    monkeypatch.setattr(Variant, "_run", with_holes)
    (response,) = engine.responses([RecommendRequest(k=8)])
    assert [one.item_id for one in response.items] == expected[3:]
    assert [one.rank for one in response.items] == [1, 2, 3, 4, 5]
    assert all(np.isfinite(one.score) for one in response.items)
    assert response.notes == ["left out, since their scores are not finite: 3 items"]


# the state


def test_removals_hold_after_the_state_was_replaced(engine: Engine, tmp_path: Path) -> None:
    for n in range(5):
        engine.state.remove_item(item(n))
    everything = RecommendRequest(k=1000)
    assert set(recommended(engine, everything)) == {item(n) for n in range(5, N_ITEMS)}
    other = open_state(str(tmp_path / "other.sqlite"))
    other.remove_item(item(9))
    other.close()
    engine.state.close()
    Path(tmp_path / "other.sqlite").replace(engine.state.path)  # type: ignore[attr-defined]
    fresh = Engine(engine.variants, open_state(str(tmp_path / "state.sqlite")), lambda: NOW)
    fresh._counters = engine._counters  # the same process; the file is noticed after a second
    assert set(recommended(fresh, everything)) == {item(n) for n in range(N_ITEMS)} - {item(9)}


def test_a_number_of_events_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    for value in ("seven", -1, True, 1.5, [3]):
        path = bundled(tmp_path / "bundle", films(20), state_upto=value)
        with pytest.raises(InputError, match=r"'state_upto'.*not a whole number from 0"):
            Variant.read("main", str(path))
        assert bundle.read(path).manifest["state_upto"] == value
