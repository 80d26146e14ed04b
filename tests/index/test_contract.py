"""The contract of every index, against exact search: a new file in `pasand/index` is tested without being named."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pasand.index
from pasand.contracts import Index
from pasand.errors import InputError
from pasand.types import Candidates, Mask, Rows, Scores, Vectors
from tests.resources import milvus

Make: TypeAlias = Callable[[], Index]

ALSO: dict[str, list[dict[str, Any]]] = {"IVF": [{"exact_below": 100}]}
"""Settings, besides the defaults, under which a member works differently on few vectors."""


def members() -> list[type[Index]]:
    """Return every public class of the folder that satisfies `Index`."""
    found: list[Any] = []
    for module in pkgutil.iter_modules(pasand.index.__path__, "pasand.index."):
        loaded = importlib.import_module(module.name)
        for name, member in inspect.getmembers(loaded, inspect.isclass):
            own = member.__module__ == module.name and not name.startswith("_") and not inspect.isabstract(member)
            if own and hasattr(member, "search"):
                found.append(member)
    return found


def name(case: tuple[type[Index], dict[str, Any]]) -> str:
    return "-".join([case[0].__name__, *(f"{key}={value}" for key, value in case[1].items())])


CASES = [(member, options) for member in members() for options in [{}, *ALSO.get(member.__name__, [])]]


@pytest.fixture(params=CASES, ids=name, scope="module")
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Give a function that returns a new index of each kind."""
    member, options = request.param
    if member.__name__ == "Milvus":
        with milvus(tmp_path_factory.mktemp("milvus")) as uri:
            names = (f"index{i}" for i in range(10**6))
            yield lambda: member(uri=uri, collection=next(names), **options)
    else:
        yield lambda: member(**options)


def vectors(n: int, seed: int = 0, dimensions: int = 12) -> Vectors:
    """Return vectors of very different lengths, as those of popular and rare items are."""
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(0, 0.5, (n, 1))
    return (lengths * rng.standard_normal((n, dimensions)) * np.arange(1, dimensions + 1) ** -0.5).astype(np.float32)


ITEMS, QUERIES = vectors(800), vectors(12, seed=1)


def built(make: Make, items: Vectors = ITEMS) -> Index:
    return make().build(items, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def index(make: Make) -> Index:
    """An index of ITEMS that no test changes."""
    return built(make)


def exact(
    items: Vectors, queries: Vectors, allowed: Mask | None = None, exclude: Rows | None = None
) -> tuple[Scores, Mask]:
    """Return inner products in float64, and which rows may be returned; (B, N) each."""
    scores: Any = queries.astype(np.float64) @ items.astype(np.float64).T
    may = np.ones(scores.shape, np.bool_)
    if allowed is not None:
        may[:, : allowed.shape[1]] &= allowed
        may[:, allowed.shape[1] :] = False
    for b, rows in enumerate(exclude if exclude is not None else []):
        may[b, rows[(rows >= 0) & (rows < may.shape[1])]] = False
    return scores, may


def check(found: Candidates, scores: Scores, allowed: Mask, k: int, *, share: float) -> None:
    """Check that lists are full, allowed, distinct, in order, with correct scores, and hold this share of the best."""
    assert found.items.shape == found.scores.shape == (len(scores), k)
    assert found.items.dtype == np.int32
    assert found.scores.dtype == np.float32
    hits = wanted = 0
    for b, (items, given_scores) in enumerate(zip(found.items, found.scores, strict=True)):
        full = min(k, int(allowed[b].sum()))
        assert (items[:full] >= 0).all()
        assert (items[full:] == -1).all()
        assert np.isneginf(given_scores[full:]).all()
        rows = items[:full]
        assert allowed[b, rows].all()
        assert len(set(rows.tolist())) == full
        size = np.abs(scores[b]).max()
        np.testing.assert_allclose(given_scores[:full], scores[b, rows], atol=2e-3 * size)
        assert (np.diff(given_scores[:full]) <= 0).all()
        threshold = np.sort(scores[b][allowed[b]])[::-1][full - 1] if full else 0
        hits += int((scores[b, rows] >= threshold - 2e-3 * size).sum())
        wanted += full
    assert hits >= share * wanted


def test_the_folder_is_found() -> None:
    assert {"Exact", "IVF", "HNSW", "Milvus"} <= {member.__name__ for member in members()}


def test_the_best_are_found(index: Index) -> None:
    assert isinstance(index, Index)
    assert len(index) == 800
    check(index.search(QUERIES, 20), *exact(ITEMS, QUERIES), 20, share=0.95)


def test_the_recall_is_what_a_search_finds(index: Index) -> None:
    rng = np.random.default_rng(2)
    queries = ITEMS[rng.integers(800, size=200)] + ITEMS[rng.integers(800, size=200)]
    scores, _ = exact(ITEMS, queries)
    found = index.search(queries, 100).items
    last = np.sort(scores, axis=1)[:, -100, None]
    assert 0 <= index.recall <= 1
    true = (np.take_along_axis(scores, found, 1) >= last * (1 - 1e-3)).mean()
    assert index.recall == pytest.approx(true, abs=0.02)


def test_a_query_gives_the_same_result_alone_and_in_a_batch(index: Index) -> None:
    whole = index.search(QUERIES, 5)
    for b in range(len(QUERIES)):
        assert index.search(QUERIES[b : b + 1], 5).items.tolist() == whole.items[b : b + 1].tolist()


def test_no_queries_give_no_lists(index: Index) -> None:
    assert index.search(QUERIES[:0], 5).items.shape == (0, 5)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_a_shared_mask_holds_inside_the_search(index: Index, share: float) -> None:
    allowed = np.random.default_rng(3).random((1, 800)) < share
    check(index.search(QUERIES, 20, allowed=allowed), *exact(ITEMS, QUERIES, allowed), 20, share=0.95)


def test_a_mask_that_allows_only_the_worst_still_finds_the_best_of_them(index: Index) -> None:
    scores, _ = exact(ITEMS, QUERIES)
    allowed = scores < np.quantile(scores, 0.05, axis=1, keepdims=True)
    check(index.search(QUERIES, 20, allowed=allowed), *exact(ITEMS, QUERIES, allowed), 20, share=0.95)


def test_a_mask_narrower_than_the_catalogue_allows_nothing_beyond(index: Index) -> None:
    allowed = np.ones((1, 30), np.bool_)
    check(index.search(QUERIES, 50, allowed=allowed), *exact(ITEMS, QUERIES, allowed), 50, share=0.95)


def test_a_mask_wider_than_the_index_is_allowed(index: Index) -> None:
    allowed = np.ones((1, 2000), np.bool_)
    check(index.search(QUERIES, 9, allowed=allowed), *exact(ITEMS, QUERIES), 9, share=0.95)


def test_masks_and_exclusions_differ_between_queries(index: Index) -> None:
    rng = np.random.default_rng(4)
    allowed = rng.random((12, 800)) < rng.random((12, 1))
    exclude = np.hstack([index.search(QUERIES, 30).items, rng.integers(-1, 800, (12, 9)).astype(np.int32)])
    expected = exact(ITEMS, QUERIES, allowed, exclude)
    check(index.search(QUERIES, 20, allowed=allowed, exclude=exclude), *expected, 20, share=0.95)


def test_exclusions_alone_leave_full_lists(index: Index) -> None:
    exclude = index.search(QUERIES, 100).items
    check(index.search(QUERIES, 20, exclude=exclude), *exact(ITEMS, QUERIES, None, exclude), 20, share=0.95)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mask_and_any_exclusion_hold(index: Index, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = data.draw(st.sampled_from([1, n]))
    allowed = data.draw(st.none() | st.just(rng.random((rows, 800)) < data.draw(st.sampled_from([0, 0.002, 0.3, 1]))))
    exclude = data.draw(st.none() | st.just(rng.integers(-1, 800, (n, data.draw(st.integers(0, 40)))).astype(np.int32)))
    k = data.draw(st.integers(1, 60))
    expected = exact(ITEMS, QUERIES[:n], allowed, exclude)
    check(index.search(QUERIES[:n], k, allowed=allowed, exclude=exclude), *expected, k, share=0.9)


def test_k_beyond_the_index_pads(make: Make) -> None:
    few = built(make, ITEMS[:7])
    check(few.search(QUERIES, 30), *exact(ITEMS[:7], QUERIES), 30, share=1)


def test_one_item_is_an_index(make: Make) -> None:
    assert built(make, ITEMS[:1]).search(QUERIES[:1], 2).items.tolist() == [[0, -1]]


def test_an_empty_index_finds_nothing_and_takes_items(make: Make) -> None:
    empty = built(make, ITEMS[:0])
    assert len(empty) == 0
    assert empty.search(QUERIES[:1], 2).items.tolist() == [[-1, -1]]
    empty.add(np.array([4], np.int32), ITEMS[4:5])
    assert empty.search(QUERIES[:1], 2).items.tolist() == [[4, -1]]


def test_zeros_are_vectors(make: Make) -> None:
    items = ITEMS[:30].copy()
    items[3] = 0
    index = built(make, items)
    check(index.search(QUERIES, 30), *exact(items, QUERIES), 30, share=1)
    zero = index.search(np.zeros((1, 12), np.float32), 5)
    assert (zero.items >= 0).all()
    assert (zero.scores == 0).all()
    everything = built(make, np.zeros((5, 12), np.float32)).search(QUERIES[:1], 5)
    assert sorted(everything.items[0].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_the_size_of_vectors_does_not_matter(make: Make, size: float) -> None:
    items = ITEMS[:200] * np.float32(size)
    check(built(make, items).search(QUERIES, 9), *exact(items, QUERIES), 9, share=0.95)


def test_items_come_go_and_change_without_a_rebuild(make: Make) -> None:
    index = built(make)
    items = np.vstack([ITEMS, vectors(50, seed=5), np.zeros((50, 12), np.float32)])
    index.add(np.arange(800, 850, dtype=np.int32), items[800:850])
    assert len(index) == 850
    gone = np.arange(0, 850, 9, dtype=np.int32)
    index.remove(np.append(gone, np.int32(7000)))
    index.remove(gone)
    assert len(index) == 850 - len(gone)
    items[[1, 801, 899]] = vectors(3, seed=6)
    index.add(np.array([1, 801, 899, 899], np.int32), np.vstack([items[[1, 801]], ITEMS[:1], items[[899]]]))
    assert len(index) == 852 - len(gone)  # 899 is new, and 801 is back
    present = np.zeros((1, 900), np.bool_)
    present[0, :850], present[0, gone], present[0, [801, 899]] = True, False, True
    scores, may = exact(items, QUERIES, np.repeat(present, 12, axis=0))
    check(index.search(QUERIES, 20), scores, may, 20, share=0.95)
    check(index.search(QUERIES, 1000), scores, may, 1000, share=0.95)
    mask = np.random.default_rng(7).random((1, 900)) < 0.1
    check(index.search(QUERIES, 20, allowed=mask), *exact(items, QUERIES, mask & present), 20, share=0.95)


def test_an_item_added_is_found_at_once(make: Make) -> None:
    index = built(make)
    index.add(np.array([5000], np.int32), 3 * QUERIES[:1] / np.linalg.norm(QUERIES[0]) * np.abs(ITEMS).max())
    assert index.search(QUERIES[:1], 1).items.tolist() == [[5000]]


def test_everything_can_go(make: Make) -> None:
    index = built(make, ITEMS[:40])
    index.remove(np.arange(40, dtype=np.int32))
    assert len(index) == 0
    assert index.search(QUERIES[:1], 3).items.tolist() == [[-1, -1, -1]]


def test_a_second_build_replaces_the_first(make: Make) -> None:
    index = built(make)
    index.build(-ITEMS[:300, :6], rng=np.random.default_rng(0))
    assert len(index) == 300
    check(index.search(QUERIES[:, :6], 9), *exact(-ITEMS[:300, :6], QUERIES[:, :6]), 9, share=0.95)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_raise_an_error(make: Make, index: Index, bad: float) -> None:
    items = ITEMS[:30].copy()
    items[17, 2] = bad
    with pytest.raises(InputError, match=r"row 17.*not a number or infinite"):
        built(make, items)
    with pytest.raises(InputError, match="row 17"):
        index.search(items, 3)
    with pytest.raises(InputError, match="row 17"):
        index.add(np.arange(30, dtype=np.int32), items)
    assert len(index) == 800


def test_another_width_raises_an_error(index: Index) -> None:
    with pytest.raises(InputError, match="5 wide, but the index is 12 wide"):
        index.search(QUERIES[:, :5], 3)
    with pytest.raises(InputError, match="5 wide, but the index is 12 wide"):
        index.add(np.arange(3, dtype=np.int32), ITEMS[:3, :5])
    with pytest.raises(InputError, match="not that of vectors"):
        index.search(QUERIES[0], 3)


def test_wrong_rows_raise_an_error(index: Index) -> None:
    with pytest.raises(InputError, match="2 rows for 3 vectors"):
        index.add(np.arange(2, dtype=np.int32), ITEMS[:3])
    with pytest.raises(InputError, match="at least 0"):
        index.add(np.array([0, -1], np.int32), ITEMS[:2])
    assert len(index) == 800


def test_an_index_must_be_built_before_a_search(make: Make) -> None:
    assert len(make()) == 0
    with pytest.raises(ValueError, match="neither built nor loaded"):
        make().search(QUERIES, 3)


def test_a_file_brings_the_index_back(make: Make, tmp_path: Path) -> None:
    index = built(make)
    index.remove(np.array([3], np.int32))
    index.save(tmp_path / "file")
    again = make().load(tmp_path / "file")
    assert len(again) == 799
    assert again.recall == index.recall
    present = (np.arange(800) != 3)[None]
    for mask in (None, np.random.default_rng(8).random((1, 800)) < 0.1):
        before, after = (searched.search(QUERIES, 20, allowed=mask) for searched in (index, again))
        np.testing.assert_array_equal(before.items, after.items)
        np.testing.assert_array_equal(before.scores, after.scores)
    check(again.search(QUERIES, 20), *exact(ITEMS, QUERIES, present), 20, share=0.95)


def test_a_loaded_index_takes_items_and_leaves_its_file_alone(make: Make, tmp_path: Path) -> None:
    built(make).save(tmp_path / "file")
    before = (tmp_path / "file").read_bytes()
    index = make().load(tmp_path / "file")
    items = np.vstack([ITEMS, vectors(20, seed=9)])
    index.add(np.arange(800, 820, dtype=np.int32), items[800:])
    index.remove(np.array([5], np.int32))
    present = (np.arange(820) != 5)[None]
    check(index.search(QUERIES, 20), *exact(items, QUERIES, present), 20, share=0.95)
    assert (tmp_path / "file").read_bytes() == before


def test_damaged_files_raise_an_error(make: Make, tmp_path: Path) -> None:
    built(make, ITEMS[:60]).save(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    for bad in (b"", b"x", b"PK" * 500, content[:-1], content[: len(content) // 2], content[1:], b"x" + content):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(InputError, match="bad"):
            make().load(tmp_path / "bad")
    with pytest.raises(InputError, match="absent"):
        make().load(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be written"):
        built(make, ITEMS[:60]).save(tmp_path / "no folder" / "file")


def test_the_file_of_another_kind_raises_an_error(make: Make, tmp_path: Path) -> None:
    other = next(member for member in members() if member not in (type(make()), *FOREIGN))
    other().build(ITEMS[:9], rng=np.random.default_rng(0)).save(tmp_path / "other")
    with pytest.raises(InputError, match=f"kind '{other.__name__}', not '{type(make()).__name__}'"):
        make().load(tmp_path / "other")


FOREIGN = [member for member in members() if member.__name__ == "Milvus"]


def test_threads_search_side_by_side(index: Index) -> None:
    queries = vectors(40, seed=10)
    alone = index.search(queries, 10).items
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda b: index.search(queries[b : b + 1], 10).items[0], range(40)))
    np.testing.assert_array_equal(np.stack(found), alone)
