"""Features of rankers against hand-computed values, and equal in training and in serving."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.impressions import Impressions
from pasand.errors import InputError
from pasand.features import ranking_statistics
from pasand.features.ranking_features import RankingFeatures
from pasand.training import ranking_examples
from pasand.types import Array
from tests.logs import log, tastes

DAY = 86_400


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def small() -> Dataset:
    """Items w and x are of genre "a", y of "b" and "a", z of none."""
    data = log(
        [
            ("u", "w", 10 * DAY, 5),
            ("v", "w", 20 * DAY, 5),
            ("u", "x", 50 * DAY, 5),
            ("u", "y", 52 * DAY, 1),
            ("v", "z", 60 * DAY, 5),
        ]
    )
    genre = Feature(kind="bag", values=np.array([[0, -1], [0, -1], [1, 0], [-1, -1]], np.int32), names=("a", "b"))
    return replace(data, item_features={"genre": genre})


def test_pair_features_by_hand() -> None:
    data = small()
    learnt = ranking_statistics.learn(data, ranking_statistics.FeatureSelection())
    assert ranking_statistics.pair_features(learnt) == [
        "item_age",
        "popularity",
        "recent_popularity",
        "history_length",
        "days_since_item",
        "times_shown",
        "mean_rating.item",
        "mean_rating.user",
        "days_since.genre",
        "history_share.genre",
        "mean_rating.genre",
    ]
    queries = data.queries(np.array([0], np.int32), k=1, time=np.array([55 * DAY]))
    queries = replace(queries, features={"shown_not_clicked": np.array([[3, 3, 1]], np.int32)})
    features = RankingFeatures(learnt).raw_of_pairs(queries, np.array([[0, 2, 3, -1]], np.int32))
    nan = np.nan
    # before day 55 the mean of all is 4; that of w's 5 and 5 counts 2/7 more, of x's 5 1/6 more, of y's 1 3/6 less
    w, x, y = 5 - 4 - 2 / 7, 5 - 4 - 1 / 6, 1 - 4 + 3 / 6
    user = (w + x + y) / 8
    expected = [
        # w: since day 10, liked twice, not in the last 30 days; u had w 45 days ago, an "a" 3 days ago, three of three
        [np.log1p(45), np.log1p(2), 0, np.log1p(3), np.log1p(45), 0, 2 / 7, user, np.log1p(3), 1, (w + x + y) / 8],
        # y is of "a" too, of which u had three of three, and of "b", as was y alone
        [np.log1p(3), 0, 0, np.log1p(3), np.log1p(3), 0, -3 / 6, user, np.log1p(3), 1, (w + x + 2 * y) / 9],
        # z comes later, and its positive too; shown twice
        [0, 0, 0, np.log1p(3), nan, 2, nan, user, nan, nan, nan],
        [nan, nan, nan, np.log1p(3), nan, 0, nan, user, nan, nan, nan],
    ]
    np.testing.assert_allclose(features, np.array(expected, np.float32), rtol=1e-6)


def test_without_ratings_there_are_no_rating_features() -> None:
    data = replace(small(), value=None, values="none")
    learnt = ranking_statistics.learn(data, ranking_statistics.FeatureSelection())
    assert not any("rating" in name for name in ranking_statistics.pair_features(learnt))
    queries = data.queries(np.array([0], np.int32), k=1, time=np.array([55 * DAY]))
    assert RankingFeatures(learnt).raw_of_pairs(queries, np.array([[0]], np.int32)).shape == (
        1,
        len(ranking_statistics.pair_features(learnt)),
    )


def test_ratings_of_the_same_day_and_unrated_events_are_not_read() -> None:
    data = log([("u", "w", 9, 5), ("v", "w", 10, 1), ("v", "x", DAY + 1, np.nan), ("u", "x", DAY + 2, 2)])
    learnt = ranking_statistics.learn(data, ranking_statistics.FeatureSelection())
    columns = [ranking_statistics.pair_features(learnt).index(name) for name in ranking_statistics.RATED]

    def rating_features(user: int, time: int, upto: int) -> Array:
        queries = data.queries(np.array([user], np.int32), k=1, time=np.array([time]), upto=np.array([upto]))
        return RankingFeatures(learnt).raw_of_pairs(queries, np.array([[0, 1]], np.int32))[:, columns]

    nan = np.nan
    np.testing.assert_equal(rating_features(1, 20, 1), [[nan, nan], [nan, nan]])  # nothing was rated on the days before
    np.testing.assert_allclose(
        rating_features(1, DAY + 3, 2), [[0, -2 / 6], [nan, -2 / 6]]
    )  # x was rated on this day alone
    np.testing.assert_allclose(
        rating_features(0, 3 * DAY, 0), [[2 * (3 - 8 / 3) / 7, nan], [(2 - 8 / 3) / 6, nan]], rtol=1e-5
    )


def test_events_after_the_query_are_not_read() -> None:
    data = small()
    at = 55 * DAY
    features = [
        RankingFeatures(ranking_statistics.learn(part, ranking_statistics.FeatureSelection())).raw_of_pairs(
            part.queries(np.array([0], np.int32), k=1, time=np.array([at]), upto=np.array([2])),
            np.array([[0, 1, 2]], np.int32),
        )
        for part in (data, data.select(slice(0, 4)))
    ]
    np.testing.assert_array_equal(features[0], features[1])


def test_features_are_equal_to_the_bit_in_training_and_in_serving() -> None:
    torch = pytest.importorskip("torch")
    from pasand.models.rankers.fm import FM

    data = tastes()
    model = FM(epochs=1, patience=0).fit(data, rng=rng())
    made = model._training_examples(data)
    task = model._task(data, model._build(), torch.device("cpu"))
    trained = task.inputs(torch.arange(int((made.items >= 0).sum())))  # type: ignore[attr-defined]
    served = FM(epochs=1, patience=0)
    served.load_state(model.state())
    at = 0
    for q in range(len(made)):
        queries = data.queries(made.user[[q]], k=1, time=made.time[[q]], upto=made.upto[[q]])
        items = made.items[[q]][:, made.items[q] >= 0]
        inputs = served._inputs(queries, items)
        assert set(inputs) == set(trained)
        for name, values in inputs.items():
            assert np.array_equal(values, trained[name][at : at + items.shape[1]].numpy()), name
        at += items.shape[1]


def test_examples_of_impressions_have_the_items_shown_before_and_not_clicked() -> None:
    data = small()
    shown = Impressions(
        user=np.array([0, 0, 0, 1], np.int32),
        item=np.array([3, 1, 3, 2], np.int32),
        time=np.array([50, 50, 51, 70]) * DAY,
        position=np.array([1, 2, 1, 1], np.int32),
        clicked=np.array([False, True, False, False]),
        watched_seconds=np.array([0, 600, 0, 0], np.float32),
    )
    made = ranking_examples.examples(replace(data, impressions=shown), "minutes", 4, 100, rng())
    assert made.items.tolist() == [[3, 1], [3, -1], [2, -1]]
    assert made.label.tolist() == [[0, 1], [0, 0], [0, 0]]
    assert made.minutes is not None
    assert made.minutes[0].tolist() == [0, 10]
    assert made.upto.tolist() == [1, 2, 2]
    assert made.shown_not_clicked is not None
    assert [row[row >= 0].tolist() for row in made.shown_not_clicked] == [[], [3], []]
    with pytest.raises(InputError, match="labels are equal"):
        ranking_examples.examples(replace(data, impressions=shown.select(slice(2, 4))), "clicked", 4, 100, rng())
    without = replace(shown, watched_seconds=None)
    with pytest.raises(InputError, match="watched_seconds"):
        ranking_examples.examples(replace(data, impressions=without), "minutes", 4, 100, rng())


def test_examples_of_positives_and_of_ratings() -> None:
    data = small()
    made = ranking_examples.examples(data, "clicked", 20, 1000, rng())
    assert made.items[:, 0].tolist() == [0, 0, 1, 3]  # the rating 1 is no positive
    assert made.upto.tolist() == [0, 0, 1, 1]
    own = {0: {0, 1}, 1: {0, 3}}
    assert all(
        set(row[1:][row[1:] >= 0].tolist()).isdisjoint(own[u])
        for u, row in zip(made.user.tolist(), made.items, strict=True)
    )
    rated = ranking_examples.examples(data, "ratings", 4, 1000, rng())
    assert rated.label[:, 0].tolist() == [5, 5, 5, 1, 5]
    liked = ranking_examples.examples(data, "liked", 4, 3, rng())
    assert liked.label[:, 0].tolist() == [1, 0, 1]  # the latest three
    with pytest.raises(InputError, match="labels are equal"):
        ranking_examples.examples(data.select(slice(0, 3)), "liked", 4, 100, rng())


def test_unknown_things_and_wrong_features_when_serving() -> None:
    pytest.importorskip("torch")
    from pasand.models.rankers.fm import FM

    data = tastes()
    vectors = Feature(kind="vector", values=rng().normal(size=(data.n_users, 3)).astype(np.float32))
    data = replace(data, user_features={"taste": vectors})
    model = FM(epochs=1, patience=0).fit(data, rng=rng())
    queries = data.queries(np.array([-1, 2], np.int32), k=1)
    bare = replace(queries, features={})
    assert np.isfinite(model.score(bare, np.array([[0], [1]], np.int32))).all()
    assert model.score(bare, np.empty((2, 0), np.int32)).shape == (2, 0)
    far = replace(queries, features={"taste": np.full((2, 3), 1e30, np.float32)})
    assert np.isfinite(model.score(far, np.array([[0], [1]], np.int32))).all()
    with pytest.raises(InputError, match="2 numbers, but 3 in training"):
        model.score(replace(queries, features={"taste": np.zeros((2, 2), np.float32)}), np.array([[0], [1]], np.int32))


def test_shares_of_histories_are_inputs_of_queries() -> None:
    """Of u's history before day 51, x is of genre "a"; two events of five are added. New items count as others do."""
    data = small()
    learnt = ranking_statistics.learn(data, ranking_statistics.FeatureSelection(history_shares=("genre",)))
    assert ranking_statistics.input_sizes(learnt)["share.genre"] == -3
    ranking_statistics.check(learnt)
    queries = data.queries(np.array([0, -1], np.int32), k=1, time=np.array([51 * DAY] * 2), upto=np.array([2, 0]))
    found = RankingFeatures(learnt).of_queries(queries)["share.genre"]
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, 0]], atol=1e-6)  # all positives with a genre are of "a"
    new = {"genre": Feature(kind="bag", values=np.array([[1]], np.int32), names=("a", "b"))}
    learnt |= ranking_statistics.extended_with_items(learnt, new, 1)
    ranking_statistics.check(learnt)
    with_new = replace(queries, history=np.where(queries.history == 1, 4, queries.history).astype(np.int32))
    found = RankingFeatures(learnt).of_queries(with_new)["share.genre"]
    np.testing.assert_allclose(found, np.array([[-1 / 7, 1 / 7, 1], [0, 0, 0]]), atol=1e-6)
