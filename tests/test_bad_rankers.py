"""Rankers and hybrids with unusual input: they raise an error that names the cure, or return sensible scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand import models
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.impressions import Impressions
from pasand.errors import InputError
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.models.classical.popularity import Popularity
from pasand.models.rankers.contextual import ContextualRanker
from pasand.models.rankers.youtube_ranking import YouTubeRanking
from pasand.models.towers.two_tower import TwoTower
from pasand.simulation.world import World
from pasand.sources import load
from pasand.stages.augmenting import Augmented
from pasand.stages.blending import Blend
from pasand.stages.boosting import Boosted
from pasand.stages.ranking import Rank
from pasand.stages.retrieval import Fallback, FromModel, Merge
from pasand.stages.switching import Switch
from pasand.training.ranking_examples import examples
from pasand.types import Array, Candidates, Queries
from tests.logs import tastes

pytest.importorskip("torch")
FEW: dict[str, Any] = {"epochs": 1, "patience": 0, "dimensions": 4}
every_ranker = pytest.mark.parametrize(
    "ranker",
    [model for model in models.classes().values() if issubclass(model, ContextualRanker)],
    ids=lambda r: r.__name__,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@cache
def world() -> Dataset:
    """Return a small simulated log with impressions, and a numeric and a vector feature of users."""
    data = World(n_users=40, n_items=30, days=20).dataset()
    age = Feature(kind="number", values=np.linspace(18, 80, 40, dtype=np.float32))
    taste = Feature(kind="vector", values=rng().normal(size=(40, 3)).astype(np.float32))
    return replace(data, user_features={**data.user_features, "age": age, "taste": taste})


@cache
def fitted(ranker: type[ContextualRanker]) -> ContextualRanker:
    return ranker(**FEW).fit(world(), rng=rng())


def make_queries(features: Mapping[str, Array] | None = None, k: int = 5) -> Queries:
    queries = world().queries(np.array([0, 7, -1], np.int32), k=k)
    return replace(queries, features={**queries.features, **(features or {})})


ITEMS = np.array([[0, 5, 9], [9, 2, -1], [1, 0, 29]], np.int32)


# features when serving


@every_ranker
def test_a_missing_feature_counts_as_unknown(ranker: type[ContextualRanker]) -> None:
    model = fitted(ranker)
    missing = {
        "age": np.full(3, np.nan, np.float32),
        "taste": np.full((3, 3), np.nan, np.float32),
        "city_tier": np.full(3, -1, np.int32),
        "languages": np.full((3, 2), -1, np.int32),
    }
    left = {name: values for name, values in make_queries().features.items() if name not in missing}
    scores = model.score(make_queries(missing), ITEMS)
    np.testing.assert_array_equal(model.score(replace(make_queries(), features=left), ITEMS), scores)
    np.testing.assert_array_equal(np.isfinite(scores), ITEMS >= 0)


@every_ranker
def test_unseen_categories_and_features_count_as_unknown(ranker: type[ContextualRanker]) -> None:
    model = fitted(ranker)
    unseen = model.score(make_queries({"city_tier": np.array([99, 1000, -7], np.int32)}), ITEMS)
    nothing = model.score(make_queries({"city_tier": np.full(3, -1, np.int32), "shoe_size": np.ones(3)}), ITEMS)
    np.testing.assert_array_equal(unseen, nothing)


@every_ranker
def test_numbers_out_of_range_are_clipped_and_infinite_ones_count_as_unknown(ranker: type[ContextualRanker]) -> None:
    model = fitted(ranker)
    far, farther = (model.score(make_queries({"age": np.full(3, years)}), ITEMS) for years in (1e6, 1e30))
    np.testing.assert_array_equal(far, farther)
    assert np.isfinite(far[ITEMS >= 0]).all()
    infinite, beyond, nan = (
        model.score(make_queries({"age": np.full(3, years)}), ITEMS) for years in (np.inf, 1e300, np.nan)
    )
    np.testing.assert_array_equal(infinite, nan)
    np.testing.assert_array_equal(beyond, nan)


@every_ranker
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age": np.array(["old", "new", "none"])}, ("user.age", "'old'", "not a number", "give numbers")),
        ({"age": np.ones(2)}, ("'age'", "2 rows for 3 queries", "a row for each")),
        ({"age": np.float32(30)}, ("'age'", "a single value for 3 queries")),
        ({"age": np.ones((3, 2))}, ("user.age", "2 numbers, but 1 in training")),
        ({"taste": np.ones((3, 4))}, ("user.taste", "4 numbers, but 3 in training", "encoder")),
        ({"city_tier": np.array(["tier 1"] * 3)}, ("user.city_tier", "'tier 1'", "whole numbers", "-1 is unknown")),
        ({"city_tier": np.array([0.0, 1.0, 2.0])}, ("user.city_tier", "whole numbers", "float64")),
        ({"languages": np.zeros((2, 2), np.int32)}, ("'languages'", "2 rows for 3 queries")),
    ],
)
def test_features_of_a_wrong_type_or_shape_are_refused(
    ranker: type[ContextualRanker], change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"user|feature") as error:
        fitted(ranker).score(make_queries(change), ITEMS)
    assert all(word in str(error.value) for word in words), str(error.value)


# impressions


@every_ranker
def test_propensities_do_not_change_rankers(ranker: type[ContextualRanker]) -> None:
    data = world()
    assert data.impressions is not None
    assert data.impressions.propensity is None
    propensity = np.linspace(0.01, 1, len(data.impressions), dtype=np.float32)
    with_them = ranker(**FEW).fit(
        replace(data, impressions=replace(data.impressions, propensity=propensity)), rng=rng()
    )
    np.testing.assert_array_equal(with_them.score(make_queries(), ITEMS), fitted(ranker).score(make_queries(), ITEMS))


def table(folder: Path, cells: list[tuple[str, str]]) -> Path:
    """Write events and impressions of 40 users, with these watched_seconds and propensities in rotation."""
    (folder / "log").mkdir()
    lines = [f"u{n % 40},i{n % 11},{1000 + n}" for n in range(400)]
    (folder / "log" / "items.csv").write_text("id,minutes\n" + "".join(f"i{n},{100 + n}\n" for n in range(11)))
    (folder / "log" / "events.csv").write_text("user,item,time\n" + "\n".join(lines) + "\n")
    rows = []
    for n, line in enumerate(lines):
        seconds, propensity = cells[n % len(cells)]
        rows.append(f"{line},{n % 2},{seconds if n % 2 else '0'},{propensity}")
    (folder / "shown.csv").write_text("user,item,time,taken,watched_seconds,propensity\n" + "\n".join(rows) + "\n")
    return folder


def read(folder: Path) -> Dataset:
    return load(folder / "log", impressions=folder / "shown.csv")


def test_rows_with_a_propensity_of_0_are_dropped(tmp_path: Path) -> None:
    data = read(table(tmp_path, [("600", "0.5")] * 99 + [("600", "0")]))
    assert data.impressions is not None
    assert len(data.impressions) == 396
    assert any("is 0, though it was shown" in note for note in data.notes)
    model = YouTubeRanking(**FEW, layers=(8,)).fit(data, rng=rng())
    assert np.isfinite(model.minutes(data.queries(np.array([0], np.int32), k=1), np.array([[0]], np.int32))).all()


def test_many_rows_with_a_propensity_of_0_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shown.csv.*propensity.*is 0, though it was shown"):
        read(table(tmp_path, [("600", "0.5"), ("600", "0.5"), ("600", "0")]))


def test_a_negative_watch_time_is_dropped_and_one_beyond_the_film_is_cut(tmp_path: Path) -> None:
    cells = [("600", "1")] * 97 + [("-60", "1"), ("60", "1"), ("99999999", "1")]
    data = read(table(tmp_path, cells))
    assert any("watched_seconds is negative" in note for note in data.notes), data.notes
    assert any("watched for more than 3 times the item's 'minutes'" in note for note in data.notes), data.notes
    found = data.impressions
    assert found is not None
    assert found.watched_seconds is not None
    assert len(found) == 396
    assert found.watched_seconds.max() <= 3 * 60 * 110


@pytest.mark.parametrize("seconds", [-1.0, np.inf])
def test_impressions_built_in_code_are_checked_too(seconds: float) -> None:
    found = world().impressions
    assert found is not None
    assert found.watched_seconds is not None
    watched = found.watched_seconds.copy()
    watched[np.flatnonzero(found.clicked)[0]] = seconds
    with pytest.raises(ValueError, match="watched_seconds must be at least 0 and finite"):
        replace(found, watched_seconds=watched)


def with_watched(change: Any) -> Dataset:
    """Return the world with changed impressions."""
    data = world()
    assert data.impressions is not None
    assert data.impressions.watched_seconds is not None
    return replace(data, impressions=change(data.impressions))


def test_extreme_minutes_do_no_harm() -> None:
    def absurd(found: Impressions) -> Impressions:
        assert found.watched_seconds is not None
        watched = found.watched_seconds.copy()
        watched[np.flatnonzero(found.clicked)[0]] = 1e9
        return replace(found, watched_seconds=watched)

    model = YouTubeRanking(**FEW, layers=(8,)).fit(with_watched(absurd), rng=rng())
    assert np.isfinite(model.minutes(make_queries(), ITEMS)).all()


def test_clicks_without_a_watch_time_are_no_examples_of_minutes() -> None:
    def unknown(found: Impressions) -> Impressions:
        assert found.watched_seconds is not None
        watched = found.watched_seconds.copy()
        watched[np.flatnonzero(found.clicked)[::2]] = np.nan
        return replace(found, watched_seconds=watched)

    data = with_watched(unknown)
    assert data.impressions is not None
    assert data.impressions.watched_seconds is not None
    n_unknown = int(np.isnan(data.impressions.watched_seconds).sum())
    by_objective = {objective: examples(data, objective, 4, 10**6, rng()) for objective in ("minutes", "clicked")}
    assert (by_objective["clicked"].items >= 0).sum() - (by_objective["minutes"].items >= 0).sum() == n_unknown > 0
    minutes = by_objective["minutes"].minutes
    assert minutes is not None
    assert np.isfinite(minutes).all()
    np.testing.assert_array_equal(by_objective["clicked"].shown_not_clicked, by_objective["minutes"].shown_not_clicked)


@every_ranker
@pytest.mark.parametrize("objective", ["clicked", "minutes"])
@pytest.mark.parametrize("clicked", [False, True])
def test_labels_that_are_all_equal_are_refused(ranker: type[ContextualRanker], objective: Any, clicked: bool) -> None:
    def same(found: Impressions) -> Impressions:
        all_clicked = np.full(len(found), clicked)
        return replace(found, clicked=all_clicked, watched_seconds=np.where(all_clicked, 60, 0).astype(np.float32))

    with pytest.raises(InputError, match=rf"bollywood.*{objective}.*labels are equal.*another objective"):
        ranker(**FEW, objective=objective).fit(with_watched(same), rng=rng())


def test_minutes_are_learnt_where_every_impression_is_clicked() -> None:
    """As with autoplay: all impressions are clicked, but some are left soon."""

    def everything(found: Impressions) -> Impressions:
        seconds = np.where(found.item % 2 == 0, 6000, 60).astype(np.float32)
        return replace(found, clicked=np.ones(len(found), np.bool_), watched_seconds=seconds)

    data = with_watched(everything)
    model = YouTubeRanking(epochs=5, patience=0, layers=(16,), batch_size=256, learning_rate=0.01).fit(data, rng=rng())
    long, short = (
        model.minutes(make_queries(), np.tile(np.arange(30, dtype=np.int32), (3, 1))).reshape(3, 15, 2).mean(1).T
    )
    assert (long > 5 * short).all()


# short lists


@every_ranker
def test_lists_of_none_and_of_one(ranker: type[ContextualRanker]) -> None:
    model = fitted(ranker)
    assert model.score(make_queries(), ITEMS[:, :0]).shape == (3, 0)
    single = model.score(make_queries(), ITEMS[:, :1])
    np.testing.assert_allclose(single, model.score(make_queries(), ITEMS)[:, :1], rtol=1e-5)
    no_queries = world().queries(np.empty(0, np.int32), k=1)
    assert model.score(no_queries, np.empty((0, 3), np.int32)).shape == (0, 3)
    assert model.score(no_queries, None).shape == (0, 30)
    for width in (0, 1):
        given = Candidates(items=ITEMS[:, :width], scores=np.zeros((3, width), np.float32))
        assert Rank(model)(make_queries(), given).items.tolist() == ITEMS[:, :width].tolist()
    padding = Candidates(items=np.full((3, 1), -1, np.int32), scores=np.full((3, 1), -np.inf, np.float32))
    ranked = Rank(model)(make_queries(), padding)
    assert ranked.items.tolist() == [[-1]] * 3
    assert np.isneginf(ranked.scores).all()


# hybrids whose parts have different catalogues


@cache
def parts() -> tuple[Dataset, Dataset, TwoTower, EASE, IALS]:
    """Return a log, the log with two more items, a tower of 32 items, and two models of 30 items."""
    data = tastes()
    group = Feature(kind="categorical", values=np.array([0, 1], np.int32), names=("a", "b", "c"))
    tower = TwoTower(epochs=3, patience=0, use_ids=False, batch_size=64).fit(data, rng=rng())
    tower.add_items({"group": group})
    grown = data.with_items(["x", "y"], {"group": group})
    return data, grown, tower, EASE().fit(data, rng=rng()), IALS(dimensions=4).fit(data, rng=rng())


def few(n: int) -> Popularity:
    """Return popularity fitted to a log of the first n items only."""
    data = tastes()
    kept = data.select(data.item < n)
    fewer = replace(kept, items=type(data.items)(data.items.ids(range(n))), item_features={}, first_seen=None)
    return Popularity().fit(fewer, rng=rng())


def lists(k: int = 32) -> Queries:
    return parts()[1].queries(np.array([0, 1, 2, -1], np.int32), k=k)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_blend_of_models_of_different_catalogues(reverse: bool) -> None:
    _, _, tower, ease, _ = parts()
    several: list[Model] = [tower, ease, few(20)]
    blend = Blend(several[::-1] if reverse else several)
    scores = blend.score(lists())
    assert scores.shape == (4, 32)
    assert np.isfinite(scores[:3]).all(), "each item is scored by the tower at least"
    again = Blend([tower, ease, few(20)]).score(lists())
    np.testing.assert_allclose(scores, again, rtol=1e-5, atol=1e-5)
    found = blend(lists())
    assert (np.sort(found.items[:3], axis=1) == np.arange(32)).all()
    alone = Blend([tower]).score(lists())
    own, other = alone[0, 30] - alone[0, 31], scores[0, 30] - scores[0, 31]
    assert own == pytest.approx(other, abs=1e-4), "only the tower scores the new items"


def test_merge_switch_and_fallback_of_different_catalogues() -> None:
    _, _, tower, ease, _ = parts()
    wide, narrow = FromModel(tower), FromModel(few(20))
    for several in ([wide, narrow, FromModel(ease)], [narrow, wide]):
        for joined in (Merge(several), Fallback(several)):
            found = joined(lists())
            assert (np.sort(found.items[:3], axis=1) == np.arange(32)).all(), "each item once"
    switched = Switch(cold=narrow, warm=wide, min_history=1)(lists())
    assert set(switched.items[0].tolist()) == set(range(32))
    assert sorted(switched.items[3].tolist()) == [-1] * 12 + list(range(20))
    denied = replace(lists(), allowed=np.arange(32)[None, :] >= 30)
    assert sorted(Merge([wide, narrow])(denied).items[0].tolist()) == [-1] * 30 + [30, 31]


@pytest.mark.parametrize("narrow", [True, False])
def test_candidates_unknown_to_the_ranking_model_stay_behind_in_order(narrow: bool) -> None:
    _, _, tower, ease, _ = parts()
    given = FromModel(tower)(lists())
    known = 20 if narrow else 30
    ranked = Rank(few(20) if narrow else ease)(lists(), given)
    for before, after in zip(given.items[:3].tolist(), ranked.items[:3].tolist(), strict=True):
        assert sorted(after) == sorted(before)
        assert after[known:] == [item for item in before if item >= known]
    assert (np.diff(ranked.scores[:3], axis=1) <= 0).all()


def test_boosted_trees_score_with_base_models_of_different_catalogues() -> None:
    data, _, tower, ease, _ = parts()
    boosted = Boosted(models=[ease, few(20), tower], trees=5, min_leaf_examples=5, n_candidates=5).fit(data, rng=rng())
    scores = boosted.score(lists(), None)
    assert not np.isnan(scores).any()
    every = np.tile(np.arange(34, dtype=np.int32), (4, 1))
    wide = boosted.score(lists(), every)
    assert np.isfinite(wide[:3, :30]).all()
    assert np.isneginf(wide[:, 32:]).all(), "rows of no catalogue"
    assert not np.isnan(wide).any()
    given = FromModel(tower)(lists())
    assert sorted(Rank(boosted)(lists(), given).items[0].tolist()) == list(range(32)), "none is lost"


@pytest.mark.parametrize("source_grows", [True, False])
def test_augmented_accepts_items_that_its_source_may_not(source_grows: bool) -> None:
    data = parts()[0]
    source = TwoTower(**FEW, use_ids=False) if source_grows else IALS(dimensions=4)
    model = Augmented(model=YouTubeRanking(**FEW, layers=(8,), objective="clicked"), source=source).fit(data, rng=rng())
    model.add_items({"group": Feature(kind="categorical", values=np.array([0, 1], np.int32), names=("a", "b", "c"))})
    scores = model.score(lists(), np.tile(np.arange(34, dtype=np.int32), (4, 1)))
    assert np.isfinite(scores[:, :32]).all()
    assert np.isneginf(scores[:, 32:]).all()
