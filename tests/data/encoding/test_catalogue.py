"""The catalogue is what the table of items lists, watched or not, and knows from when on each item is available."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.check import check
from pasand.data.dataset import Dataset
from pasand.data.encoding.encode import encode
from pasand.data.features import AVAILABLE_FROM, TIME_UNKNOWN
from pasand.data.log import ImpressionTable, Log, Options
from pasand.errors import InputError
from pasand.sources import load

EVENTS = {"user": ["ann", "bob", "ann"], "item": ["a", "c", "c"], "time": [100, 200, 300]}


def encoded(items: dict[str, list[object]], **more: object) -> Dataset:
    events = pl.DataFrame(EVENTS).with_columns(time=pl.col("time") + 1_700_000_000).lazy()
    return encode(Log(name="films", events=events, items=pl.DataFrame(items, strict=False), **more))  # type: ignore[arg-type]


@given(
    listed=st.sets(st.text("abcdefg0", min_size=1, max_size=3)),
    watched=st.lists(st.text("abcdefg0", min_size=1, max_size=3), min_size=1),
)
@settings(max_examples=20)
def test_the_catalogue_is_all_that_is_listed_or_watched_in_order_of_id(listed: set[str], watched: list[str]) -> None:
    events = pl.DataFrame({"user": ["u"] * len(watched), "item": watched, "time": range(1, len(watched) + 1)}).lazy()
    frame = pl.DataFrame({"id": sorted(listed, reverse=True), "title": [f"film {i}" for i in listed]}, strict=False)
    data = encode(Log(name="films", events=events, items=frame if listed else None))
    assert data.items.series.to_list() == sorted(listed | set(watched))
    assert data.items.ids(data.item) == watched
    unwatched = len(listed - set(watched))
    assert (f"items in the catalogue without an event: {unwatched}" in data.notes) == (unwatched > 0)


def test_half_of_a_described_catalogue_that_nobody_watched_is_kept(tmp_path: Path) -> None:
    n = 50
    lines = [f"u{i % 7},i{i % n:03},{1_700_000_000 + i}" for i in range(4 * n)]
    (tmp_path / "events.csv").write_text("user,item,time\n" + "\n".join(lines))
    (tmp_path / "items.csv").write_text("id,title\n" + "\n".join(f"i{i:03},film {i}" for i in range(2 * n)))
    data = load(str(tmp_path))
    assert data.n_items == 2 * n
    assert data.title(99) == "film 99"
    report = check(data)
    assert (report.items, report.items_without_events) == (2 * n, n)
    assert f"{2 * n:,} items, {n:,} of them without an event" in str(report)


def warnings(data: Dataset) -> list[str]:
    return [note for note in data.notes if note.startswith("warning")]


def test_ids_are_written_differently_in_log_and_table() -> None:
    (warning,) = warnings(encoded({"id": ["A", "C"], "title": ["x", "y"]}))
    assert warning == (
        "warning: 0 of 2 ids of the items table have an event: column 'id' has ids such as 'A', the events have 'a'; "
        "write both the same way, or name the column of the ids: --column items.id=NAME"
    )
    assert not warnings(encoded({"id": ["A", "c"]}))
    users = pl.DataFrame({"id": ["0ann", "0bob"], "city": ["Pune", "Delhi"]})
    (warning,) = warnings(encoded({"id": ["a", "c"]}, users=users))
    assert "0 of 2 ids of the users table have an event: column 'id' has ids such as '0ann', the events have" in warning


@pytest.mark.parametrize(("n_joined", "is_warned"), [(4, True), (6, False)])
@pytest.mark.parametrize("n_listed", [50, 500])
def test_a_table_that_joins_less_than_a_tenth_of_the_ids_is_a_warning(
    n_listed: int, n_joined: int, is_warned: bool
) -> None:
    events = pl.DataFrame(
        {"user": "u", "item": [f"i{i}" for i in range(50)], "time": range(1_700_000_000, 1_700_000_050)}
    )
    items = pl.DataFrame({"id": [f"i{i}" if i < n_joined else f"j{i}" for i in range(n_listed)]})
    data = encode(Log(name="films", events=events.lazy(), items=items))
    assert len(warnings(data)) == is_warned
    if is_warned:
        assert (
            f"{n_joined} of {n_listed} ids of the items table have an event: column 'id' has ids such as 'j4'"
            in warnings(data)[0]
        )


def test_another_column_that_joins_is_named_with_the_line_to_type(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,product\n" + "".join(f"u{n % 3},{n % 9}\n" for n in range(20)))
    (tmp_path / "items.csv").write_text("id,product\n" + "".join(f"{n},Lamp {n}\n" for n in range(9)))
    data = load(tmp_path)
    assert "items: id is column 'product'" in data.notes
    (warning,) = [note for note in warnings(data) if "items table" in note]
    assert warning.endswith("as does column 'id'; if that is the id: --column items.id=id")
    mended = load(tmp_path, id_columns={"items": "id"})
    assert "items: id is column 'id'" in mended.notes
    assert mended.title(3) == "Lamp 3"
    assert not [note for note in warnings(mended) if "items table" in note]


def test_a_column_of_ids_must_exist(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,product\n" + "".join(f"u{n % 3},{n % 9}\n" for n in range(20)))
    with pytest.raises(InputError, match=r"'items\.id' is wrong: there is no table of items. Cure: add --items FILE"):
        load(tmp_path, id_columns={"items": "id"})
    (tmp_path / "items.csv").write_text("id,title\n1,Lamp\n")
    with pytest.raises(InputError, match="items: there is no column 'sku'; there are id, title"):
        load(tmp_path, id_columns={"items": "sku"})


@pytest.mark.parametrize(
    ("watched", "listed", "ids"),
    [
        (["1.0", "1.1", "2.0"], ["2.0", "1.1", "1.0"], ["1.0", "1.1", "2.0"]),
        (["1.0", "1.1", "2.0"], ["2.0", "3.0", "1.0"], ["1.0", "1.1", "2.0", "3.0"]),
        (["1", "2", "1"], ["2.0", "1.0"], ["1", "2"]),
        (["1.0", "2.0", "1.0"], ["2", "1"], ["1", "2"]),
    ],
)
def test_a_table_joins_whether_or_not_its_ids_end_in_zeros(
    watched: list[str], listed: list[str], ids: list[str]
) -> None:
    events = pl.DataFrame(EVENTS | {"user": watched, "item": watched}).lazy()
    items = pl.DataFrame({"id": listed, "title": [f"film {one}" for one in listed]})
    data = encode(Log(name="films", events=events, items=items, users=items, kinds={"title": "text"}))
    assert data.items.series.to_list() == ids
    assert data.title(0) == data.user_features["title"].show(0) == f"film {listed[-1]}"


def test_ids_that_no_id_may_be_are_left_out_of_the_catalogue() -> None:
    data = encoded({"id": ["a", "a\x00", "x" * 10_000, " ", None], "title": list("vwxyz")})
    assert data.items.series.to_list() == ["a", "c"]


def test_impressions_and_table_do_not_count_twice() -> None:
    shown = pl.DataFrame({"user": ["ann"], "item": ["b"], "time": [1_700_000_050], "clicked": [0]})
    table = ImpressionTable(name="shown", frames=lambda: iter([shown]))
    data = encoded({"id": ["a", "z"], "title": ["x", "y"]}, impressions=table)
    assert data.items.series.to_list() == ["a", "b", "c", "z"]
    assert "items with impressions but without an event: 1" in data.notes
    assert data.available_from.tolist() == [1_700_000_101, 1_700_000_051, 1_700_000_201, TIME_UNKNOWN]


@pytest.mark.parametrize(
    "cells",
    [
        [1_700_000_000, None, 1_700_000_500],
        ["1700000000", "", "1700000500"],
        ["2023-11-14T22:13:20Z", None, "2023-11-14 22:21:40"],
        [datetime.fromtimestamp(1_700_000_000, UTC), None, datetime.fromtimestamp(1_700_000_500, UTC)],
    ],
)
def test_releases_are_read_however_times_are_written(cells: list[object]) -> None:
    data = encoded({"id": ["a", "b", "d"], AVAILABLE_FROM: cells})
    assert data.item_features[AVAILABLE_FROM].kind == "time"
    assert data.available_from.tolist() == [1_700_000_000, TIME_UNKNOWN, 1_700_000_201, 1_700_000_500]
    assert data.known_items.tolist() == [True, True, True, False]


@pytest.mark.parametrize("cells", [["soon", "later", "never"], [1999, 2001, 2004], [[1.0], [2.0], [3.0]]])
def test_a_release_that_is_no_time_is_named(cells: list[object]) -> None:
    data = encoded({"id": ["a", "b", "d"], AVAILABLE_FROM: cells})
    (warning,) = [note for note in data.notes if note.startswith("warning")]
    assert warning.startswith("warning: items.available_from holds no times and is not used as the release of items")
    assert data.available_from.tolist() == [1_700_000_101, TIME_UNKNOWN, 1_700_000_201, TIME_UNKNOWN]


RELEASES = pl.DataFrame({"id": ["a", "c"], AVAILABLE_FROM: ["02/01/2024", "12/01/2023"]})


@pytest.mark.parametrize(
    ("time_format", "time", "month"),
    [("mdy", "02/14/2024", 2), ("%m/%d/%Y", "02/14/2024", 2), ("dmy", "14/02/2024", 1), ("dmy", "2024-02-14", 1)],
)
def test_the_order_of_day_and_month_of_a_release_is_that_chosen(time_format: str, time: str, month: int) -> None:
    events = pl.DataFrame(EVENTS).with_columns(time=pl.lit(time)).lazy()
    data = encode(Log(name="films", events=events, items=RELEASES), Options(time_format=time_format))
    release = datetime.fromtimestamp(int(data.item_features[AVAILABLE_FROM].values[0]), UTC)
    assert (release.month, release.day) == (month, 3 - month)


@pytest.mark.parametrize(("time_format", "time"), [(None, "2024-02-14"), ("seconds", "1700000000")])
def test_the_order_of_day_and_month_of_a_release_is_not_guessed(time_format: str | None, time: str) -> None:
    events = pl.DataFrame(EVENTS).with_columns(time=pl.lit(time)).lazy()
    with pytest.raises(InputError, match=r"whether the day or the month comes first.*write the dates like 2024-01-31"):
        encode(Log(name="films", events=events, items=RELEASES), Options(time_format=time_format))


def test_a_release_with_a_year_of_two_digits_in_front_is_not_guessed() -> None:
    days = [f"24/01/{day:02}" for day in (3, 11, 28)]
    items = pl.DataFrame({"id": ["a", "b", "c"], AVAILABLE_FROM: days})
    with pytest.raises(InputError, match=r"items.available_from.*may begin or end with the year"):
        encode(Log(name="films", events=pl.DataFrame(EVENTS).lazy(), items=items))


def test_the_length_of_first_seen_is_checked() -> None:
    data = encoded({"id": ["a"]})
    with pytest.raises(ValueError, match="first_seen must have a time for each of 2 items"):
        Dataset(
            name="x",
            users=data.users,
            items=data.items,
            user=data.user,
            item=data.item,
            time=data.time,
            first_seen=np.zeros(3, np.int64),
        )
