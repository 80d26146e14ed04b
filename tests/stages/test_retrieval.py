from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand.stages.filtering import Allow
from pasand.stages.retrieval import Fallback, FromModel, Merge, best
from pasand.types import Candidates, Queries, Rows


def queries(n: int, k: int, exclude: Rows | None = None, allowed: list[bool] | None = None) -> Queries:
    return Queries(
        users=np.full(n, -1, np.int32),
        history=np.empty((n, 0), np.int32),
        history_time=np.empty((n, 0), np.int64),
        history_value=np.empty((n, 0), np.float32),
        time=np.zeros(n, np.int64),
        exclude=exclude,
        allowed=None if allowed is None else np.array([allowed]),
        k=k,
    )


@dataclass(frozen=True)
class Fixed:
    items: list[list[int]]
    scores: list[list[float]]

    def __call__(self, queries: Queries) -> Candidates:
        rows = queries.time  # the tests write the position of the query into its time
        return Candidates(items=np.array(self.items, np.int32)[rows], scores=np.array(self.scores, np.float32)[rows])


def test_best_drops_excluded_and_forbidden_items_and_prefers_the_lower_row() -> None:
    scores = np.array([[1, 3, 3, 2, -np.inf]], np.float32)
    found = best(scores, queries(1, 5, np.array([[0, -1]], np.int32), [True, True, True, False, True]))
    assert found.items.tolist() == [[1, 2, -1, -1, -1]]
    assert found.scores.tolist() == [[3, 3, -np.inf, -np.inf, -np.inf]]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 60), st.data())
def test_best_agrees_with_a_stable_sort(levels: list[int], k: int, data: st.DataObject) -> None:
    n = len(levels)
    excluded = data.draw(st.lists(st.integers(0, n - 1), max_size=5))
    scores = np.array([levels], np.float32)
    exclude = np.array([[*excluded, -1]], np.int32)
    found = best(scores, queries(1, k, exclude))
    rows = [i for i in sorted(range(n), key=lambda i: (-levels[i], i)) if i not in excluded][:k]
    assert [i for i in found.items[0].tolist() if i >= 0] == rows


def test_best_agrees_with_a_stable_sort_in_a_large_catalogue() -> None:
    scores = np.random.default_rng(0).integers(0, 50, (3, 2000)).astype(np.float32)
    found = best(scores, queries(3, 20))
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    assert (found.items == expected).all()


def test_fallback_fills_below_without_repeating() -> None:
    first = Fixed([[4, -1, -1], [1, 2, 3]], [[0.5, -np.inf, -np.inf], [3, 2, 1]])
    second = Fixed([[4, 7, 6], [9, 9, 9]], [[30, 20, 10], [1, 1, 1]])
    batch = queries(2, 3)
    batch.time[:] = [0, 1]
    found = Fallback([first, second])(batch)
    assert found.items.tolist() == [[4, 7, 6], [1, 2, 3]]
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_fallback_calls_the_next_retriever_only_for_short_lists() -> None:
    full = Fixed([[1, 2]], [[2, 1]])

    def fail(queries: Queries) -> Candidates:
        raise AssertionError("called without need")

    assert Fallback([full, fail])(queries(1, 2)).items.tolist() == [[1, 2]]


def test_merge_adds_reciprocal_ranks() -> None:
    first, second = Fixed([[5, 6]], [[9, 8]]), Fixed([[6, 7]], [[0.2, 0.1]])
    found = Merge([first, second], weights=[1, 2], rank_constant=0)(queries(1, 3))
    assert found.items.tolist() == [[6, 5, 7]]
    np.testing.assert_allclose(found.scores, [[1 / 2 + 2, 1, 1]])


def test_from_model_lists_the_whole_catalogue_for_a_large_k() -> None:
    class Rising:
        def score(self, queries: Queries, items: Rows | None) -> np.ndarray:
            return np.tile(np.arange(4, dtype=np.float32), (len(queries), 1))

    found = FromModel(Rising())(queries(2, 10))  # type: ignore[arg-type]
    assert found.items.tolist() == [[3, 2, 1, 0]] * 2


@given(st.data())
def test_best_is_safe_where_the_catalogue_has_grown(data: st.DataObject) -> None:
    n, width = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 60))
    excluded = data.draw(st.lists(st.integers(-1, 60) | st.just(2**31 - 1), max_size=8))
    allowed = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    scores = np.array([data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))], np.float32)
    k = data.draw(st.integers(1, 60))
    found = best(scores, queries(1, k, np.array([excluded], np.int32).reshape(1, -1), allowed)).items[0].tolist()
    may = [row for row in range(min(n, width)) if allowed[row] and row not in excluded]
    expected = sorted(may, key=lambda row: (-scores[0, row], row))[:k]
    assert [row for row in found if row >= 0] == expected


def test_allow_and_a_mask_of_another_width() -> None:
    allow = Allow(["a"])
    allow.load_state({"allowed": np.array([True, False, True])})
    for batch, expected in (([True] * 5, [True, False, True]), ([False, True], [False, False])):
        narrowed = allow(queries(1, 2, allowed=batch)).allowed
        assert narrowed is not None
        assert narrowed.tolist() == [expected]
