"""Inheritance by hand: similar items, what is inherited and how it decays, in popularity, rankers and a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand import bundle as bundles
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.encoders.inheritance import Inheritance
from pasand.errors import InputError
from pasand.features import inherited, ranking_statistics
from pasand.features.inherited import remaining
from pasand.features.ranking_features import RankingFeatures
from pasand.models.classical.popularity import Popularity
from pasand.recipe import build
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.event_feed import catch_up
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states.contract import Event
from pasand.serving.states.sqlite import connect
from pasand.types import Array
from tests.logs import log, tastes

DAY = 86_400
RNG = np.random.default_rng
RECIPE = """
    [similar]
    class = "pasand.encoders.inheritance:Inheritance"
    min_events = 2
    discount = 0.5
    strength = 4.0
    [popular]
    class = "pasand.models.classical.popularity:Popularity"
    inherits = "@similar"
    [from_popular]
    class = "pasand.stages.retrieval:FromModel"
    model = "@popular"
    [recommender]
    class = "pasand.recommender:Recommender"
    retriever = "@from_popular"
"""


def shop() -> Dataset:
    """Item a has six purchases, b two, both of brass; c has four and is of silk; d is of brass and new, e of none."""
    counts = {"a": 6, "b": 2, "c": 4}
    events = [(f"u{n}", item, (10 + n) * DAY, 5.0) for n in range(6) for item, count in counts.items() if n < count]
    data = log([*events, ("u0", "d", 19 * DAY, 1.0), ("u0", "e", 19 * DAY, 1.0)])
    material = np.array([0, 0, 1, 0, -1], np.int32)
    return replace(
        data, item_features={"material": Feature(kind="categorical", values=material, names=("brass", "silk"))}
    )


def similar(**options: object) -> Inheritance:
    chosen = {"min_events": 2, "strength": 4.0, "half_life_days": None, **options}
    return Inheritance(**chosen).fit(shop(), rng=RNG(0))  # type: ignore[arg-type]


def test_similar_items_are_the_established_ones_of_the_same_content() -> None:
    neighbour, share = similar().similar(0, 5)
    assert [sorted(row[row >= 0].tolist()) for row in neighbour] == [[1], [0], [], [0, 1], []]
    np.testing.assert_allclose(share.sum(axis=1), [1, 1, 0, 1, 0])
    assert similar(min_events=3).similar(3, 1)[0].max() == 0  # b is not established
    assert not (similar(min_events=7).similar(0, 5)[0] >= 0).any()
    assert similar(min_events=2, strength=None).numbers()[1] == 4  # the mean of 6, 2 and 4
    assert (similar().similar(3, 9)[0][2:] == -1).all()


def test_what_is_inherited_by_hand() -> None:
    """Four discounted purchases and a strength of 4 give 4 * 4 / (4 + 4); a half of it is left after 4 events."""
    assert remaining(4.0, 0.0, 0.0, 4.0, np.inf) == 2
    assert remaining(4.0, 4.0, 0.0, 4.0, np.inf) == 1
    assert remaining(4.0, 0.0, 30.0, 4.0, 30.0) == 1
    assert 3.99 < remaining(1e4, 0.0, 0.0, 4.0, np.inf) < 4


@given(st.floats(0, 1e4), st.floats(0.1, 1e3), st.floats(0, 400), st.lists(st.integers(0, 3000), min_size=2))
@settings(max_examples=50)
def test_an_event_never_lowers_the_count_and_the_inherited_part_goes_to_zero(
    x: float, strength: float, age: float, own: list[int]
) -> None:
    counts = np.sort(np.array(own))
    total = np.array([n + remaining(x, float(n), age, strength, 30.0) for n in counts])
    assert (np.diff(total) >= -1e-9).all()
    assert remaining(x, 1e9, age, strength, 30.0) < 1e-2


def scores(model: Popularity, time: int | None = None) -> Array:
    data = shop()
    times = None if time is None else np.array([time])
    found: Array = 12 * model.score(data.queries(np.array([0], np.int32), k=1, time=times), None)[0]
    return found


def test_popularity_counts_what_is_inherited() -> None:
    data = shop()
    plain = Popularity().fit(data, rng=RNG(0))
    np.testing.assert_allclose(scores(plain), [6, 2, 4, 0, 0], rtol=1e-6)
    model = Popularity(inherits=similar()).fit(data, rng=RNG(0))
    # a inherits half of b's 2, which is 1 * 4 / (4 + 1), times 4 / (4 + 6) for its own; d of 6 and 2 the half of 4
    expected = [6 + 0.8 * 4 / 10, 2 + 12 / 7 * 4 / 6, 4, 2 * 4 / 6, 0]
    np.testing.assert_allclose(scores(model), expected, rtol=1e-6)
    aged = Popularity(inherits=similar(half_life_days=2.0)).fit(data, rng=RNG(0))
    np.testing.assert_allclose(scores(aged)[3], 4 / 3, rtol=1e-5)  # it is new at the end of the log
    model.follow(data)
    np.testing.assert_allclose(scores(model), expected, rtol=1e-6)
    aged.follow(data)
    # d ages from its first event, on day 19
    np.testing.assert_allclose(scores(aged, 21 * DAY)[3], 2 / 3, rtol=1e-6)
    row = aged.score(
        data.queries(np.array([0], np.int32), k=1, time=np.array([21 * DAY])), np.array([[3, -1]], np.int32)
    )
    np.testing.assert_allclose(12 * row[0, 0], 2 / 3, rtol=1e-6)


def test_own_events_replace_what_is_inherited() -> None:
    """After four purchases half of the 4 / 3 is left, after sixteen a fifth; all others have 12 purchases together."""
    data = shop()
    model = Popularity(inherits=similar()).fit(data, rng=RNG(0))
    model.follow(data)
    for n, expected in ((4, 4 + 4 / 6), (12, 16 + 4 / 15)):
        more = replace(
            data,
            user=np.zeros(n, np.int32),
            item=np.full(n, 3, np.int32),
            time=np.full(n, 20 * DAY + n),
            value=np.full(n, 5, np.float32),
        )
        model.add_events(more)
        queries = data.queries(np.array([0], np.int32), k=1, time=np.array([21 * DAY]))
        total = 12 + {4: 4, 12: 16}[n]
        np.testing.assert_allclose(total * model.score(queries, None)[0, 3], expected, rtol=1e-6)
    model.compact()
    np.testing.assert_allclose(28 * model.score(queries, np.array([[3]], np.int32))[0, 0], 16 + 4 / 15, rtol=1e-6)


@pytest.mark.parametrize("options", [{"window_days": 8.0}, {"half_life_days": 4.0}, {"segment": "city"}])
def test_recent_popularity_and_segments_inherit_and_follow_as_fitted(options: dict[str, object]) -> None:
    city = Feature(kind="categorical", values=np.array([0, 0, 1, 1, 0, 1], np.int32), names=("delhi", "agra"))
    data = replace(shop(), user_features={"city": city})
    model = Popularity(inherits=similar(), **options).fit(data, rng=RNG(0))  # type: ignore[arg-type]
    now = np.array([int(data.time[-1])])
    queries = data.queries(np.array([2], np.int32), k=1, time=now + 1)
    fitted = model.score(queries, None)[0]
    assert fitted[3] > fitted[4]
    model.follow(data)
    some = model.score(queries, np.array([[0, 3, 4]], np.int32))[0]
    np.testing.assert_allclose(model.score(queries, None)[0][[0, 3, 4]], some, rtol=1e-6)
    np.testing.assert_allclose(model.score(queries, None)[0], fitted, rtol=2e-3)


def test_rankers_read_what_is_inherited_up_to_the_day_of_the_query() -> None:
    data = shop()
    learnt = ranking_statistics.learn(data, ranking_statistics.FeatureSelection())
    component = similar(half_life_days=4.0)
    neighbour, share = component.similar(0, data.n_items)
    learnt |= inherited.arrays(neighbour, share, data.seen_from, component.numbers())
    names = ranking_statistics.pair_features(learnt)
    columns = [names.index(name) for name in ("popularity", "recent_popularity", "mean_rating.item")]

    def features(day: int) -> Array:
        queries = data.queries(np.array([1], np.int32), k=1, time=np.array([day * DAY]))
        return RankingFeatures(learnt).raw_of_pairs(queries, np.array([[3, 4, 1]], np.int32))[:, columns]

    # on day 12 a and b have two purchases each: their mean is 2, a half of which is 1; d is not aged yet
    before = features(12)
    np.testing.assert_allclose(np.expm1(before[0, :2]), 4 / 5, rtol=1e-5)
    assert np.isnan(before[1, 2]) or before[1, 2] == 0
    # b: since day 10, two own purchases, and two of four days have passed
    left = 4 / 5 * 4 / 6 * 0.5 ** (2 / 4)
    np.testing.assert_allclose(np.expm1(before[2, :2]), 2 + left, rtol=1e-5)
    # after the end of the log: d has no own purchases and counts as of day 16, the last day of purchases and one more
    np.testing.assert_allclose(np.expm1(features(40)[0, :2]), 4 / 3, rtol=1e-5)
    # all ratings before day 19 are 5: deviations are 0, and inherited ones with them
    np.testing.assert_allclose(features(18)[[0, 2], 2], [0, 0], atol=1e-6)
    # afterwards the mean is (12 * 5 + 2) / 14; d's own deviation and those of a and b, shrunken, are averaged
    mean = (12 * 5 + 2) / 14
    of_similar = np.mean([n * (5 - mean) / (n + 5) for n in (6, 2)])
    np.testing.assert_allclose(features(40)[0, 2], (1 - mean) / 6 + 5 / 6 * 0.5 * of_similar, rtol=1e-4)


def test_a_ranker_with_inheritance_is_saved_and_takes_new_items() -> None:
    pytest.importorskip("torch")
    from pasand.models.rankers.fm import FM

    data = tastes()
    component = Inheritance(min_events=2).fit(data, rng=RNG(0))
    model = FM(epochs=1, patience=0, inherits=component).fit(data, rng=RNG(0))
    queries = data.queries(np.array([0, 1], np.int32), k=3, time=data.time[-2:] + 2 * DAY)
    items = np.array([[0, 1, data.n_items], [3, 4, -1]], np.int32)
    read = FM(epochs=1, patience=0, inherits=component)
    read.load_state(model.state())
    np.testing.assert_array_equal(read.score(queries, items), model.score(queries, items))
    new = {name: feature.select(np.array([1], np.int32)) for name, feature in data.item_features.items()}
    component.add_items(new)
    model.add_items(new)
    popularity = list(model._features().pair_features).index("popularity")
    features = model._features().raw_of_pairs(queries, np.full((2, 1), data.n_items, np.int32))
    neighbour, share = component.similar(data.n_items, 1)
    count = np.bincount(data.item[data.is_positive], minlength=data.n_items)
    x, m = 0.5 * float(count[neighbour[0]] @ share[0]), float(component.numbers()[1])
    np.testing.assert_allclose(features[:, popularity], np.log1p(x * m / (m + x)), rtol=1e-5)
    assert np.isfinite(model.score(queries, items)[0, 2])
    with pytest.raises(KeyError, match="inherited"):
        read.load_state(FM(epochs=1, patience=0).fit(data, rng=RNG(0)).state())


def test_a_recipe_is_saved_and_an_added_item_inherits_at_once(tmp_path: Path) -> None:
    data = shop()
    assembly = build(RECIPE).fit(data, seed=0)
    bundles.write(tmp_path / "bundle", assembly, data, seed=0)
    read = bundles.read(tmp_path / "bundle")
    popular = read.assembly.components["popular"]
    np.testing.assert_array_equal(scores(popular), scores(assembly.components["popular"]))
    new = {"material": Feature(kind="categorical", values=np.array([0, 1], np.int32), names=("brass", "silk"))}
    added = read.add_items(["f", "g"], new)
    np.testing.assert_allclose(scores(popular)[5:], 4 / 3, rtol=1e-6)  # half of c's four purchases, too
    bundles.write(tmp_path / "more", added.assembly, added.data, seed=0)
    np.testing.assert_array_equal(
        scores(bundles.read(tmp_path / "more").assembly.components["popular"]), scores(popular)
    )


def test_a_server_counts_the_events_of_an_added_item(tmp_path: Path) -> None:
    data = shop()
    bundles.write(tmp_path / "bundle", build(RECIPE).fit(data, seed=0), data, seed=0)
    state, variant = connect(str(tmp_path / "state.sqlite")), Variant.read("main", str(tmp_path / "bundle"))
    engine = Engine([variant], state, lambda: 30 * DAY)
    state.append([Event("e0", "u9", "f", 20 * DAY, 5.0)])
    catch_up(variant.followed, state)  # the item is not known yet, so that its event waits
    state.put_item("f", {"material": "silk"})
    found = []
    for number in range(1, 4):
        (response,) = engine.responses([RecommendRequest(k=6)])
        found += [item.score for item in response.items if item.item_id == "f"]
        state.append([Event(f"e{number}", "u9", "f", 20 * DAY + number, 5.0)])
        catch_up(variant.followed, state)
    # one, two and three purchases; c's half of four, 2, is 4 / 3
    expected = [(n + 4 / 3 * 4 / (4 + n)) / (12 + n) for n in (1, 2, 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bad_input() -> None:
    for options in (
        {"neighbours": 0},
        {"discount": 0.0},
        {"strength": 0.0},
        {"half_life_days": -1.0},
        {"min_events": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            Inheritance(**options)
    with pytest.raises(InputError, match="fit it first"):
        Popularity(inherits=Inheritance()).fit(shop(), rng=RNG(0))
    with pytest.raises(InputError, match="no features"):
        Inheritance().fit(replace(shop(), item_features={}), rng=RNG(0))
    with pytest.raises(InputError, match="material"):
        Inheritance(item_features=("colour",)).fit(shop(), rng=RNG(0))
    model = Popularity(inherits=similar())
    with pytest.raises(KeyError, match="count"):
        model.load_state(Popularity().fit(shop(), rng=RNG(0)).state())
