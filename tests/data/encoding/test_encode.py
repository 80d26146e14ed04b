"""Encoding against a plain Python reading of the same rows."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.encoding.cells import Clock, as_ids
from pasand.data.encoding.encode import encode, read, three_quarters
from pasand.data.encoding.feature_kinds import feature, kind_of
from pasand.data.log import Log, Options
from pasand.errors import InputError

ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz"), st.integers(0, 9), st.integers(1, 5)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(rows=ROWS, size=st.integers(1, 7))
def test_batches_of_any_size_give_what_plain_python_gives(rows: list[tuple[str, str, int, int]], size: int) -> None:
    names = ["user", "item", "time", "value"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    log = Log(name="log", events=lambda: frame.iter_slices(size), values="rating")
    data, reading = read(log, Options())
    expected = list(dict.fromkeys(sorted(rows, key=lambda row: row[2])))
    assert data.value is not None
    found = zip(
        data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), data.value.tolist(), strict=True
    )
    assert list(found) == expected
    assert reading.rows == len(rows)
    assert reading.duplicates == len(rows) - len(expected)
    whole = encode(Log(name="log", events=frame.lazy(), values="rating"))
    assert whole.fingerprint == data.fingerprint


def test_rows_that_differ_in_a_further_column_are_no_repetition() -> None:
    frame = pl.DataFrame({"user": [1, 1, 1], "item": [2, 2, 2], "time": [5, 5, 5], "seconds": [1.0, None, None]})
    data, reading = read(Log(name="log", events=frame.lazy()), Options())
    assert reading.duplicates == 1
    np.testing.assert_array_equal(data.columns["seconds"], [1, np.nan])


def test_ids_become_text() -> None:
    assert as_ids(pl.Series([12, None])).to_list() == ["12", None]
    assert as_ids(pl.Series([12.0, float("nan"), 0.5])).to_list() == ["12", None, "0.5"]
    assert as_ids(pl.Series(["012", " ", "12.0"])).to_list() == ["012", None, "12.0"]
    assert as_ids(pl.Series(["012", "12.0"]), whole=True).to_list() == ["012", "12"]


@pytest.mark.parametrize(
    ("cells", "clock"),
    [
        (["978300760"], "seconds since 1970"),
        ([978300760.5], "seconds since 1970"),
        (["978300760000"], "milliseconds since 1970"),
        ([978300760000000], "microseconds since 1970"),
        ([978300760000000000], "nanoseconds since 1970"),
        (["2000-12-31 22:12:40"], "dates like %Y-%m-%d %H:%M:%S%.f"),
        (["2000-12-31T22:12:40.25Z"], "dates like %Y-%m-%dT%H:%M:%S%.f%#z"),
        (["2001-01-01T03:42:40+05:30"], "dates like %Y-%m-%dT%H:%M:%S%.f%#z"),
        ([datetime.datetime(2000, 12, 31, 22, 12, 40)], "dates"),
    ],
)
def test_times_are_read_in_every_spelling(cells: list[object], clock: str) -> None:
    series = pl.Series(cells)
    found = Clock.of(series)
    assert found is not None
    assert str(found) == clock
    assert found.read(series)[0] // 1_000_000_000 == 978300760


def test_dates_alone_are_midnight_and_ambiguous_ones_are_refused() -> None:
    clock = Clock.of(pl.Series(["2001-01-01"]))
    assert clock is not None
    assert clock.read(pl.Series(["2001-01-01", "x"])).to_list() == [978307200_000_000_000, None]
    assert Clock.of(pl.Series(["03/04/2020"])) is None
    mixed = Clock.of(pl.Series([978300760_000, 978300761_000, 978300762]))
    assert mixed == Clock(unit="milliseconds")
    read = mixed.read(pl.Series([978300760_000, 978300762, -5])).to_list()
    assert read == [978300760 * 10**9, None, -5 * 10**6], "seconds among milliseconds cannot be read"
    assert Clock(unit="seconds").read(pl.Series(["978300760", "978300760000"])).to_list() == [978300760 * 10**9, None]
    far = Clock(unit="seconds").read(pl.Series([10**18, 1]))
    assert far.to_list() == [None, 1_000_000_000]


@pytest.mark.parametrize(
    ("given_ratings", "expected"),
    [([1, 2, 3, 4, 5], 4), ([0.5, 3, 4, 4.5, 5], 4), ([3, 4, 5], 4), ([0, 1], 1), (list(range(1, 11)), 8), ([2, 2], 2)],
)
def test_likings_begin_at_three_quarters_of_the_scale(given_ratings: list[float], expected: float) -> None:
    assert three_quarters(np.array(given_ratings, np.float32)) == expected


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["F", "M", "F", "M"], "categorical"),
        (["01234", "560001"] * 4, "categorical"),
        (["1", "2.5"], "number"),
        (["A film of its own", "Another one", "A third"], "text"),
        (["2001-01-01", "2002-01-01"], "time"),
        ([[1.0, 2.0], [3.0, 4.0]], "vector"),
        ([["a"], ["a", "b"]], "bag"),
        (["a|b", "a", "c|b"], "bag"),
    ],
)
def test_kinds_are_inferred(cells: list[object], kind: str) -> None:
    assert kind_of(pl.Series(cells)) == kind


def test_features_keep_values_and_what_is_missing() -> None:
    bag = feature(pl.Series(["b|a", None, "a|a"]), "bag")
    assert (bag.names, bag.values.tolist()) == (("a", "b"), [[1, 0], [-1, -1], [0, -1]])
    vector = feature(pl.Series(["[1, -2.5]", None]), "vector")
    np.testing.assert_array_equal(vector.values, [[1, -2.5], [np.nan, np.nan]])
    assert feature(pl.Series(["x", None]), "text").values.tolist() == ["x", ""]
    assert feature(pl.Series([1, 2, 1]), "categorical").values.tolist() == [0, 1, 0]


def test_kinds_asked_for_must_be_possible() -> None:
    frame = pl.DataFrame({"user": [1], "item": [2]})
    items = pl.DataFrame({"id": ["2"], "title": ["Sholay"]})
    log = Log(name="log", events=frame.lazy(), order="none", items=items)
    assert encode(log).item_features["title"].show(0) == "Sholay"
    with pytest.raises(InputError, match="column 'title': 'Sholay' is wrong: no number can be read"):
        encode(log, Options(kinds={"title": "number"}))
    with pytest.raises(InputError, match="no such kind"):
        encode(log, Options(kinds={"items.title": "colour"}))  # type: ignore[dict-item]


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="bad_rows must be between 0 and 1, got 2"):
        Options(bad_rows=2)
    with pytest.raises(ValueError, match="values must be"):
        Options(values="stars")  # type: ignore[arg-type]
