"""Encoding of logs, compared with plain Python on the same rows."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.encoding.cells import as_ids
from pasand.data.encoding.encode import encode, read
from pasand.data.encoding.feature_kinds import feature, infer_kind
from pasand.data.encoding.positives import default_positive_threshold
from pasand.data.encoding.times import TimeFormat
from pasand.data.log import Log, Options
from pasand.errors import InputError

ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz"), st.integers(0, 9), st.integers(1, 5)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=50)
@given(rows=ROWS, size=st.integers(1, 7))
def test_batches_of_any_size_agree_with_plain_python(rows: list[tuple[str, str, int, int]], size: int) -> None:
    names = ["user", "item", "time", "value"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    log = Log(name="log", events=lambda: frame.iter_slices(size), values="rating")
    data, summary = read(log, Options())
    expected = list(dict.fromkeys(sorted(rows, key=lambda row: row[2])))
    assert data.value is not None
    found = zip(
        data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), data.value.tolist(), strict=True
    )
    assert list(found) == expected
    assert summary.rows == len(rows)
    assert summary.duplicates == len(rows) - len(expected)
    at_once = encode(Log(name="log", events=frame.lazy(), values="rating"))
    assert at_once.fingerprint == data.fingerprint


def test_rows_that_differ_in_an_extra_column_are_no_duplicates() -> None:
    frame = pl.DataFrame({"user": [1, 1, 1], "item": [2, 2, 2], "time": [5, 5, 5], "seconds": [1.0, None, None]})
    data, summary = read(Log(name="log", events=frame.lazy()), Options())
    assert summary.duplicates == 1
    np.testing.assert_array_equal(data.columns["seconds"], [1, np.nan])


def test_ids_become_text() -> None:
    assert as_ids(pl.Series([12, None])).to_list() == ["12", None]
    assert as_ids(pl.Series([12.0, float("nan"), 0.5])).to_list() == ["12", None, "0.5"]
    assert as_ids(pl.Series(["012", " ", "12.0"])).to_list() == ["012", None, "12.0"]
    assert as_ids(pl.Series(["012", "12.0"]), whole_numbers=True).to_list() == ["012", "12"]


@pytest.mark.parametrize(
    ("cells", "time_format"),
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
def test_times_are_parsed_in_every_format(cells: list[object], time_format: str) -> None:
    series = pl.Series(cells)
    inferred = TimeFormat.infer(series)
    assert inferred is not None
    assert str(inferred) == time_format
    assert inferred.parse(series)[0] // 1_000_000_000 == 978300760


def test_dates_are_midnight_and_ambiguous_ones_are_rejected() -> None:
    dates = TimeFormat.infer(pl.Series(["2001-01-01"]))
    assert dates is not None
    assert dates.parse(pl.Series(["2001-01-01", "x"])).to_list() == [978307200_000_000_000, None]
    assert dates.parse(pl.Series([1, 2])).to_list() == [None, None]
    either = TimeFormat.infer(pl.Series(["03/04/2020"]))
    assert either is not None
    assert either.ambiguous
    mixed = TimeFormat.infer(pl.Series([978300760_000, 978300761_000, 978300762]))
    assert mixed == TimeFormat(unit="milliseconds")
    times = mixed.parse(pl.Series([978300760_000, 978300762, -5])).to_list()
    assert times == [978300760 * 10**9, None, -5 * 10**6], "seconds among milliseconds cannot be parsed"
    seconds = TimeFormat(unit="seconds")
    assert seconds.parse(pl.Series(["978300760", "978300760000"])).to_list() == [978300760 * 10**9, None]
    assert seconds.parse(pl.Series([10**18, 1])).to_list() == [None, 1_000_000_000]


@pytest.mark.parametrize(
    ("given_ratings", "expected"),
    [([1, 2, 3, 4, 5], 4), ([0.5, 3, 4, 4.5, 5], 4), ([3, 4, 5], 4), ([0, 1], 1), (list(range(1, 11)), 8), ([2, 2], 2)],
)
def test_positives_begin_at_three_quarters_of_the_scale(given_ratings: list[float], expected: float) -> None:
    assert default_positive_threshold(np.array(given_ratings, np.float32)) == expected


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
    assert infer_kind(pl.Series(cells)) == kind


def test_features_keep_values_and_missing_entries() -> None:
    bag = feature(pl.Series(["b|a", None, "a|a"]), "bag")
    assert (bag.names, [codes.tolist() for codes in bag.bags]) == (("a", "b"), [[1, 0], [], [0]])
    vector = feature(pl.Series(["[1, -2.5]", None]), "vector")
    np.testing.assert_array_equal(vector.values, [[1, -2.5], [np.nan, np.nan]])
    assert feature(pl.Series(["x", None]), "text").values.tolist() == ["x", ""]
    assert feature(pl.Series([1, 2, 1]), "categorical").values.tolist() == [0, 1, 0]


def test_chosen_kinds_must_be_possible() -> None:
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
