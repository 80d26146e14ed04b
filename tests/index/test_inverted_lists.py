"""Special cases of inverted lists: half floats, ties, masks far from the query, mapped files, product codes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.index.exact import Exact
from pasand.index.ivf_pq import IVF
from pasand.index.list_scan import FLOATS, HALVES
from pasand.types import Array, Mask, Vectors


def clusters(n: int, seed: int = 0) -> Vectors:
    """Return vectors in 40 clusters, some far longer than others."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((40, 16))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(40, size=n)] + 0.5 * rng.standard_normal((n, 16))
    return (vectors * rng.lognormal(0, 0.4, (n, 1))).astype(np.float32)


def best(items: Vectors, queries: Vectors, k: int, allowed: Mask | None = None) -> Array:
    scores = queries.astype(np.float64) @ items.T.astype(np.float64)
    if allowed is not None:
        scores[~np.broadcast_to(allowed, scores.shape)] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def share(found: Array, true: Array) -> float:
    return float(
        np.mean(
            [len(np.intersect1d(rows, expected)) / len(expected) for rows, expected in zip(found, true, strict=True)]
        )
    )


@pytest.fixture(scope="module")
def items() -> Vectors:
    return clusters(12_000)


@pytest.fixture(scope="module")
def index(items: Vectors) -> IVF:
    return IVF(exact_below=1000).build(items, rng=np.random.default_rng(0))


def test_half_floats_are_read_as_numpy_reads_them() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits.view(np.float16)
    values = np.unique(halves[np.abs(halves) < 1].astype(np.float32))
    index = Exact().build(np.column_stack([values, np.full_like(values, 0.5)]), rng=np.random.default_rng(0))
    assert index._kind == HALVES
    found = index.search(np.array([[1, 0]], np.float32), len(values))
    np.testing.assert_array_equal(found.scores[0], values[::-1])


def test_equal_scores_are_ordered_by_row_also_at_the_end_of_the_list() -> None:
    items = np.tile(np.array([[1, 0], [2, 0]], np.float32), (500, 1))
    found = Exact().build(items, rng=np.random.default_rng(0)).search(np.array([[1, 0]], np.float32), 502)
    assert found.items[0].tolist() == [*range(1, 1000, 2), 0, 2]


def test_small_catalogues_are_scanned_whole(items: Vectors) -> None:
    index = IVF().build(items, rng=np.random.default_rng(0))
    assert index.recall >= 0.99
    exact = Exact().build(items, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(index.search(items[:9], 50).items, exact.search(items[:9], 50).items)


@pytest.mark.parametrize("factor", [1e-10, 1e-3, 10.0, 1e6, 1e8, 1e12])
@pytest.mark.parametrize("kind", [Exact, IVF])
def test_an_exact_scan_is_exact_beside_vectors_of_any_length(
    items: Vectors, kind: type[Exact | IVF], factor: float, tmp_path: Path
) -> None:
    items = items[:3000].copy()
    items[[5, 700]] *= np.float32(factor)
    index = kind().build(items, rng=np.random.default_rng(0))
    assert (index._kind == FLOATS) == (factor not in (1e-3, 10.0))
    queries = clusters(50, seed=3)
    index.save(tmp_path / "index")
    allowed = np.random.default_rng(4).random((1, 3000)) < 0.2
    for some in (index, kind().load(tmp_path / "index")):
        assert share(some.search(queries, 100).items, best(items, queries, 100)) >= 0.99
        assert share(some.search(queries, 20, allowed=allowed).items, best(items, queries, 20, allowed)) >= 0.99
        assert some.recall >= 0.99
    some = kind().load(tmp_path / "index")
    some.remove(np.arange(10, dtype=np.int32))
    some.add(np.array([3], np.int32), items[3:4])
    there = (np.arange(3000) >= 10) | (np.arange(3000) == 3)
    assert share(some.search(queries, 100).items, best(items, queries, 100, there[None])) >= 0.99


@pytest.mark.parametrize("target", [0.8, 0.99, 1])
def test_the_target_recall_is_reached_on_other_queries(items: Vectors, target: float) -> None:
    samples = clusters(1000, seed=1)
    index = IVF(exact_below=1000, target_recall=target).build(items, rng=np.random.default_rng(0), queries=samples)
    queries = clusters(300, seed=2)
    recall = share(index.search(queries, 100).items, best(items, queries, 100))
    assert recall >= target - 0.01
    assert index.recall == pytest.approx(recall, abs=0.01)


@pytest.mark.parametrize("k", [1, 10, 1000])
def test_recall_holds_for_other_lengths(index: IVF, items: Vectors, k: int) -> None:
    queries = clusters(300, seed=2)
    assert share(index.search(queries, k).items, best(items, queries, k)) > 0.975


def test_recall_holds_where_the_allowed_items_are_far_from_the_query(index: IVF, items: Vectors) -> None:
    queries = clusters(100, seed=2)
    scores = queries @ items.T
    for low, high in ((0, 0.02), (0, 0.3), (0.3, 0.6)):
        threshold, most = np.quantile(scores, [low, high], axis=1)
        allowed = (scores >= threshold[:, None]) & (scores <= most[:, None])
        found = index.search(queries, 50, allowed=allowed)
        # scores below the median are as dense as half floats can resolve: count items that are as good
        last = np.sort(np.where(allowed, scores, -np.inf), axis=1)[:, -50]
        good = np.take_along_axis(scores, found.items, 1) >= (last - 2e-3 * np.abs(last))[:, None]
        assert good.mean() > 0.98


def test_few_lists_are_scanned(items: Vectors) -> None:
    """Removing the items of the lists with the lowest bounds changes nothing: these lists are never read."""
    index = IVF(exact_below=1000).build(items, rng=np.random.default_rng(0))
    query = clusters(1, seed=3)
    before = index.search(query, 10)
    bounds = index._bounds(query / np.abs(query).max(), index._reach(None, 100))[0]
    index._lists[np.argsort(-bounds)[len(bounds) // 2 :], 2] = 0
    after = index.search(query, 10)
    np.testing.assert_array_equal(before.items, after.items)


def test_product_codes_are_smaller_and_report_their_recall(
    items: Vectors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        small = IVF(exact_below=1000, codes="pq").build(items, rng=np.random.default_rng(0))
    assert "the target is 0.99" in caplog.text
    queries = clusters(300, seed=2)
    recall = share(small.search(queries, 100).items, best(items, queries, 100))
    assert 0.5 < recall < 0.99
    assert small.recall == pytest.approx(recall, abs=0.05)
    allowed = np.random.default_rng(3).random((1, len(items))) < 0.01
    found = small.search(queries, 100, allowed=allowed).items
    assert (allowed[0, found] & (found >= 0)).all()
    small.save(tmp_path / "small")
    IVF(exact_below=1000).build(items, rng=np.random.default_rng(0)).save(tmp_path / "large")
    assert (tmp_path / "small").stat().st_size < 0.8 * (tmp_path / "large").stat().st_size
    loaded = IVF(codes="pq").load(tmp_path / "small")
    np.testing.assert_array_equal(loaded.search(queries, 9).items, small.search(queries, 9).items)


def test_a_file_is_mapped_until_it_must_change(index: IVF, tmp_path: Path) -> None:
    file = tmp_path / "index"
    index.save(file)
    loaded = IVF().load(file)
    assert str(file) in Path("/proc/self/maps").read_text()
    loaded.remove(np.array([0], np.int32))
    file.unlink()
    assert len(loaded) == len(index) - 1
    loaded.save(file)
    again = IVF().load(file)
    assert 0 not in again.search(clusters(50), 12_000).items
    assert again.recall == index.recall


def test_vectors_far_larger_than_those_of_the_build_raise_an_error(items: Vectors) -> None:
    index = Exact().build(items, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="far larger"):
        index.add(np.array([1], np.int32), items[:1] * 1e6)
    assert len(index) == len(items)


def test_settings_are_checked() -> None:
    for wrong, message in (
        ({"target_recall": 0}, "target_recall must be above 0 and at most 1, got 0"),
        ({"target_recall": 1.5}, "target_recall"),
        ({"codes": "int4"}, "codes must be"),
        ({"lists": 0}, "lists must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            IVF(**wrong)
