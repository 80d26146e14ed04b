"""The simulated world: its true preferences are known, its log follows from them, and memory is bounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand.data.encoding.encode import encode
from pasand.data.log import Options
from pasand.errors import InputError
from pasand.simulation.choice_model import MAX_CLICKS, SLATE_SIZE, Effects
from pasand.simulation.population import STATES, facts
from pasand.sources.bollywood import DAY, START, Events, World, read, recognises, world_of
from pasand.training.ranking_examples import examples
from pasand.types import Array, Rows, Scores

SMALL = World(n_users=60, n_items=40, days=40, seed=3, visits=0.8)


def concatenated(parts: list[Events]) -> dict[str, Array]:
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in Events._fields}


def truth(world: World) -> Scores:
    """Return the preference of all users for all items, (U, N)."""
    users = np.arange(world.n_users, dtype=np.int32)
    return world.preference(users, np.tile(np.arange(world.n_items, dtype=np.int32), (world.n_users, 1)))


def gini(counts: Array) -> float:
    ordered = np.sort(counts)
    n = len(ordered)
    return float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * ordered.sum()))


def ndcg(scores: Array, seen: Array, liked: Array, k: int = 10) -> float:
    """Return the mean NDCG over users with relevant items; seen films are not recommended."""
    order = np.argsort(-np.where(seen, -np.inf, scores), axis=1, kind="stable")[:, :k]
    discount = 1 / np.log2(np.arange(2, k + 2))
    gain = (np.take_along_axis(liked, order, axis=1) * discount).sum(axis=1)
    best = np.array([discount[: int(n)].sum() for n in liked.sum(axis=1)])
    return float((gain[best > 0] / best[best > 0]).mean())


def test_there_are_a_hundred_real_films_in_many_languages() -> None:
    films = facts()
    assert len(films) == len({film.title for film in films}) == 100
    assert len({film.language for film in films}) >= 8
    assert all(1950 <= film.year <= 2022 and 80 <= film.minutes <= 330 for film in films)
    assert all(film.cast and film.genres and len(film.cast) <= 4 and len(film.genres) <= 4 for film in films)
    sholay = next(film for film in films if film.title == "Sholay")
    assert (sholay.year, sholay.language, sholay.cast[0]) == (1975, "Hindi", "Dharmendra")


def test_languages_of_states_are_languages_of_films() -> None:
    assert {name for _, mix in STATES.values() for name in mix} == set(SMALL.languages)
    assert all(sum(mix.values()) == pytest.approx(1) for _, mix in STATES.values())


def test_viewers_speak_the_language_of_their_state() -> None:
    people, world = World().viewers, World()
    assert np.allclose(people.languages.sum(axis=1), 1, atol=1e-5)
    kerala = people.state == list(STATES).index("Kerala")
    assert kerala.sum() > 10
    main = people.languages[kerala].argmax(axis=1)
    assert (main == world.languages.index("Malayalam")).mean() > 0.7


def test_preference_is_a_probability_and_follows_its_causes() -> None:
    preference = truth(SMALL)
    assert preference.min() >= 0
    assert preference.max() <= 1
    assert preference.std() > 0.15
    absent = SMALL.preference(np.array([-1, 0], np.int32), np.array([[0], [-1]], np.int32))
    assert np.isnan(absent).all()
    # without the effects of factors, era, star and quality the main language alone decides, and exactly
    plain = replace(SMALL, effects=Effects(factors=0, language=3, era=0, star=0, quality=0, base=-2))
    people, films = plain.viewers, plain.films
    share = people.languages / people.languages.max(axis=1, keepdims=True)
    assert np.allclose(truth(plain), 1 / (1 + np.exp(2 - 3 * share[:, films.language])), atol=1e-5)


def test_preference_raises_an_error_for_rows_of_another_world() -> None:
    with pytest.raises(ValueError, match="rows of this world"):
        SMALL.preference(np.array([60], np.int32), np.array([[0]], np.int32))


def test_same_seed_same_events_and_another_seed_others() -> None:
    first, again = concatenated(list(SMALL.events())), concatenated(list(replace(SMALL).events()))
    other = concatenated(list(replace(SMALL, seed=4).events()))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert len(first["item"]) != len(other["item"]) or not np.array_equal(first["item"], other["item"])


def test_parts_are_bounded_and_add_up_to_the_whole() -> None:
    parts = list(SMALL.events(chunk=7))
    assert max(len(part.user) for part in parts) <= 7 * MAX_CLICKS
    assert max(len(part.user) for part in SMALL.impressions(chunk=7)) <= 7 * SLATE_SIZE
    whole, pieces = concatenated(list(SMALL.events())), concatenated(parts)
    assert all(np.array_equal(whole[name], pieces[name]) for name in whole)


def test_events_keep_their_ranges() -> None:
    events = concatenated(list(SMALL.events()))
    assert len(events["user"]) > 300
    assert (np.diff(events["time"]) >= 0).all()
    assert events["time"].min() >= START
    assert events["time"].max() < START + SMALL.days * DAY
    assert set(np.unique(events["rating"])) <= {1, 2, 3, 4, 5}
    assert (events["watched_seconds"] <= 60 * SMALL.films.minutes[events["item"]]).all()
    assert events["position"].min() >= 1
    assert events["position"].max() <= SLATE_SIZE
    pairs = set(zip(events["user"].tolist(), events["item"].tolist(), strict=True))
    assert len(pairs) == len(events["user"]), "a remembered film is not shown again"


def test_a_film_beyond_the_memory_is_shown_again() -> None:
    events = concatenated(list(replace(SMALL, remembered=1, visits=3.0).events()))
    assert len(set(zip(events["user"], events["item"], strict=True))) < len(events["user"])


def test_nothing_is_watched_before_film_and_viewer_arrive() -> None:
    world = replace(SMALL, new_films=0.8)
    events, films = concatenated(list(world.events())), world.item_features()["available_from"].values
    assert (films > START).sum() > 10
    assert (events["time"] >= films[events["item"]]).all()
    day = (events["time"] - START) // DAY
    assert (day + 1 > world.viewers.arrives[events["user"]]).all()


def test_watches_and_ratings_follow_the_true_preferences() -> None:
    world = World(days=60)
    events = concatenated(list(world.events()))
    user, item = events["user"], events["item"][:, None]
    preference = world.preference(user, item)[:, 0]
    assert np.corrcoef(preference, events["rating"])[0, 1] > 0.6
    n = len(preference)
    assert preference.mean() > truth(world).mean() + 0.05
    # means agree with the expectation within four standard errors
    rating_error = events["rating"] - world.expected_rating(user, item)[:, 0]
    assert abs(rating_error.mean()) < 4 * rating_error.std() / np.sqrt(n)
    minutes_error = events["watched_seconds"] / 60 - world.expected_minutes(user, item)[:, 0]
    assert abs(minutes_error.mean()) < 4 * minutes_error.std() / np.sqrt(n)


def test_clicked_impressions_are_the_events() -> None:
    shown = list(SMALL.impressions())
    clicked = np.concatenate([part.clicked for part in shown])
    item, position = (np.concatenate([getattr(part, name) for part in shown]) for name in ("item", "position"))
    events = concatenated(list(SMALL.events()))
    assert 0.02 < clicked.mean() < 0.5
    assert np.array_equal(item[clicked], events["item"])
    assert np.array_equal(position[clicked], events["position"])
    first, last = clicked[position == 1].mean(), clicked[position >= 15].mean()
    assert first > last, "the first position is clicked more often"


def test_the_dataset_and_the_encoded_log_hold_the_same_impressions() -> None:
    location = "bollywood:n_users=60,n_items=40,days=40,seed=3,visits=0.8"
    whole, data = SMALL.dataset(), encode(read(location, Options()))
    assert SMALL.dataset(impressions=False).impressions is None
    assert encode(replace(read(location, Options()), impressions=None)).impressions is None
    users, items = SMALL.aligned(data)
    encoded, expected = data.impressions, whole.impressions
    assert encoded is not None
    assert expected is not None
    assert np.array_equal(users[encoded.user], expected.user)
    assert np.array_equal(items[encoded.item], expected.item)
    assert encoded.propensity is expected.propensity is None
    for name in ("time", "position", "clicked", "watched_seconds"):
        assert np.array_equal(getattr(encoded, name), getattr(expected, name)), name
    assert expected.watched_seconds is not None
    assert expected.watched_seconds.sum() == pytest.approx(whole.columns["watched_seconds"].sum(), rel=1e-5)
    assert expected.clicked.sum() == len(whole)
    assert sum(len(part.user) for part in SMALL.impressions()) == len(expected)


def test_a_large_world_keeps_the_impressions_of_a_random_sample_of_visits() -> None:
    whole, part = SMALL.dataset(), SMALL.dataset(max_impressions=5_000)
    assert np.array_equal(part.item, whole.item), "the events are the same"
    assert part.impressions is not None
    assert whole.impressions is not None
    assert len(whole.impressions) > 15_000
    assert 3_500 < len(part.impressions) < 6_500
    slates = pl.DataFrame({"u": part.impressions.user, "t": part.impressions.time}).group_by("u", "t").len()["len"]
    assert set(slates.to_list()) <= {SLATE_SIZE, 2 * SLATE_SIZE} | set(range(1, SLATE_SIZE))
    assert (slates == SLATE_SIZE).sum() > 0.5 * len(slates)
    assert part.impressions.clicked.mean() == pytest.approx(whole.impressions.clicked.mean(), abs=0.01)
    assert any("% of the visits, drawn at random" in note for note in part.notes)
    frame = pl.concat(list(SMALL.impression_frames(max_impressions=5_000)))
    assert len(frame) == len(part.impressions), "the log keeps the same visits"


def test_examination_is_the_position_effect_of_the_choice() -> None:
    position = np.array([1, 2, 10, 0], np.int32)
    assert SMALL.examination(position)[:3].tolist() == pytest.approx([1, 2**-0.3, 10**-0.3])
    assert np.isnan(SMALL.examination(position)[3])
    assert replace(SMALL, position_bias=0).examination(position)[:3].tolist() == [1, 1, 1]
    # where all films have the same weight, exp(-2), the first click falls on a position with its share of the weights
    # and that of leaving, exp(2) (multinomial logit); 1 visit of 2000 has a second click, as leaving then has exp(3.5)
    alike = Effects(factors=0, language=0, era=0, star=0, quality=0, base=-2)
    world = World(n_users=2000, n_items=400, days=60, feedback=0, position_bias=0.8, new_films=0, effects=alike)
    shown = world.dataset().impressions
    assert shown is not None
    positions = np.arange(1, SLATE_SIZE + 1, dtype=np.int32)
    weights = np.exp(-2) * world.examination(positions)
    expected = weights / (weights.sum() + np.exp(2))
    visits = np.bincount(shown.position, minlength=SLATE_SIZE + 1)[1:]
    share = np.bincount(shown.position[shown.clicked], minlength=SLATE_SIZE + 1)[1:] / visits
    assert visits.min() > 40_000
    assert np.all(np.abs(share - expected) < 5 * np.sqrt(expected / visits) + 0.05 * expected)
    assert share[0] / share[9] == pytest.approx(10**0.8, rel=0.2)


def test_click_probabilities_are_those_of_the_log() -> None:
    """In each tenth of the probabilities, films are clicked as often as predicted; small slates may get 3 clicks."""
    attractive = Effects(base=0.5)
    for world in (World(n_users=300, n_items=60, days=60), World(n_users=300, n_items=4, days=60, effects=attractive)):
        impressions = examples(world.dataset(), "clicked", 1, 10**7, np.random.default_rng(0))
        assert impressions.position is not None
        probability = world.click_probability(impressions.user, impressions.items, impressions.position)
        real = impressions.items >= 0
        assert (probability[~real] == 0).all()
        probability, clicked = probability[real].astype(np.float64), impressions.label[real]
        for part in np.array_split(np.argsort(probability), 10):
            error = np.sqrt((probability[part] * (1 - probability[part])).sum())
            assert abs(clicked[part].sum() - probability[part].sum()) < 4 * error + 1
    with pytest.raises(ValueError, match="rows of this world"):
        SMALL.click_probability(np.array([99], np.int32), np.array([[0]], np.int32), np.array([[1]], np.int32))


def test_popularity_feedback_makes_the_popular_more_popular() -> None:
    def spread(feedback: float) -> float:
        world = World(n_users=300, n_items=300, days=60, feedback=feedback, new_films=0, seed=5)
        return gini(np.bincount(concatenated(list(world.events()))["item"], minlength=300))

    assert spread(0.9) > spread(0.0) + 0.05


def test_invented_films_follow_the_real_ones() -> None:
    films = World(n_users=5, n_items=130, days=2).films
    assert sum(name.startswith("film 00") for name in films.ids) == 30
    assert list(films.ids) == sorted(set(films.ids))
    assert "film 00101" in films.ids


def test_written_parts_read_back_as_the_events(tmp_path: Path) -> None:
    number = SMALL.write(tmp_path / "log", chunk=100)
    frame = pl.read_parquet(tmp_path / "log" / "*.parquet")
    events = concatenated(list(SMALL.events()))
    assert number == len(frame) == len(events["user"])
    assert frame["item"].to_list() == [SMALL.films.ids[i] for i in events["item"]]
    assert np.array_equal(frame["watched_seconds"].to_numpy(), events["watched_seconds"])
    assert SMALL.write(tmp_path / "csv", format="csv") == number
    assert pl.read_csv(tmp_path / "csv" / "*.csv")["user"].to_list() == frame["user"].to_list()
    with pytest.raises(ValueError, match="format"):
        SMALL.write(tmp_path, format="xml")


def test_dataset_has_the_rows_of_the_world() -> None:
    data = SMALL.dataset()
    assert data.users.series.to_list() == list(SMALL.viewers.ids)
    assert data.items.series.to_list() == list(SMALL.films.ids)
    assert data.values == "rating"
    assert set(data.columns) == {"watched_seconds", "position"}
    assert data.user_features["language"].show(0) in data.user_features["languages"].show(0)
    row = int(data.items.rows(["Sholay"])[0]) if "Sholay" in SMALL.films.ids else 0
    assert data.item_features["title"].show(row) == SMALL.films.title[row]
    assert all(len(feature) == data.n_items for feature in data.item_features.values())
    assert all(len(feature) == data.n_users for feature in data.user_features.values())


def test_a_world_without_visits_is_an_empty_dataset() -> None:
    assert len(replace(SMALL, visits=0.0).dataset()) == 0


def test_preferences_can_be_learnt_and_users_arrive_cold() -> None:
    """On the last fifth of the log, item-item weights (EASE, Steck 2019) beat popularity, and the truth beats both."""
    world = World()
    data = world.dataset()
    assert 15_000 < len(data) < 40_000
    cut = int(0.8 * len(data))
    shape = (data.n_users, data.n_items)

    def table(user: Rows, item: Rows) -> Array:
        out = np.zeros(shape, bool)
        out[user, item] = True
        return out

    train = data.is_positive[:cut]
    seen = table(data.user[:cut], data.item[:cut])
    liked = table(data.user[:cut][train], data.item[:cut][train]).astype(float)
    later = table(data.user[cut:][data.is_positive[cut:]], data.item[cut:][data.is_positive[cut:]])
    warm = liked.any(axis=1)
    assert (later.any(axis=1) & ~warm).sum() >= 10, "users arrive cold"
    assert later[:, liked.sum(axis=0) == 0].sum() >= 10, "films arrive cold"
    inverse = np.linalg.inv(liked.T @ liked + 100 * np.eye(data.n_items))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    popularity = np.tile(liked.sum(axis=0), (data.n_users, 1))
    by_popularity, by_ease, by_truth = (
        ndcg(scores[warm], seen[warm], later[warm]) for scores in (popularity, liked @ weights, truth(world))
    )
    assert by_ease > 1.2 * by_popularity
    assert by_truth > by_ease


@pytest.mark.parametrize("wrong", [{"n_users": 0}, {"days": 0}, {"feedback": 1.5}, {"visits": -1.0}])
def test_invalid_fields_raise_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        World(**wrong)  # type: ignore[arg-type]


def test_the_name_may_carry_fields() -> None:
    assert recognises("bollywood") == recognises("bollywood:days=3") == 1
    assert recognises("bollywood.csv") == recognises("ml-100k") == 0
    assert world_of("bollywood") == World()
    assert world_of("bollywood:n_users=9,visits=0.2") == World(n_users=9, visits=0.2)
    for wrong in ("bollywood:people=3", "bollywood:n_users=many", "bollywood:n_users=0", "bollywood:days=1.5"):
        with pytest.raises(InputError):
            world_of(wrong)


def test_the_log_holds_the_events_and_features() -> None:
    log = read("bollywood:n_users=60,n_items=40,days=40,seed=3,visits=0.8", Options())
    events = concatenated(list(SMALL.events()))
    for _ in range(2):
        frame = pl.concat(list(log.batches()))
        assert frame["value"].to_list() == events["rating"].tolist()
        assert frame["item"].to_list() == [SMALL.films.ids[i] for i in events["item"]]
    assert log.items is not None
    assert log.users is not None
    first = log.items.row(0, named=True)
    real = next(fact for fact in facts() if fact.title == first["title"])
    assert (first["year"], first["language"], tuple(first["cast"])) == (real.year, real.language, real.cast)
    assert set(log.users["city_tier"].to_list()) == {"tier 1", "tier 2", "tier 3"}


def test_a_dataset_finds_its_rows_in_the_world() -> None:
    data = SMALL.dataset()
    users, items = SMALL.aligned(data)
    assert users.tolist() == list(range(60))
    assert items.tolist() == list(range(40))


def test_the_encoded_log_holds_the_same_events_as_the_world() -> None:
    location = "bollywood:n_users=60,n_items=40,days=40,seed=3,visits=0.8"
    data, whole = encode(read(location, Options())), SMALL.dataset()
    users, items = SMALL.aligned(data)
    assert np.array_equal(users[data.user], whole.user)
    assert np.array_equal(items[data.item], whole.item)
    assert np.array_equal(data.time, whole.time)
    assert data.value is not None
    assert whole.value is not None
    assert np.array_equal(data.value, whole.value)
    assert data.positive_from == 4
    assert {name: feature.kind for name, feature in data.item_features.items()} == {
        name: feature.kind for name, feature in whole.item_features.items()
    }
    assert data.item_features["cast"].show(0) == whole.item_features["cast"].show(int(items[0]))
