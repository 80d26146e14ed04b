"""What columns mean: ratings, labels, strengths, times and ids of logs as they come, with counts made by hand."""

from __future__ import annotations

import datetime
import json
import random
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand.cli.main import run
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.sources import load

START = 1_700_000_000


def table(path: Path, frame: pl.DataFrame) -> Path:
    """Write a frame in the format of the name of the file."""
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def notes(data: Dataset) -> str:
    return "\n".join(data.notes)


def events(n: int, **columns: object) -> pl.DataFrame:
    """Return n events of different pairs, with further columns."""
    frame = {"user": [f"u{e % 25}" for e in range(n)], "item": [f"i{e // 25}" for e in range(n)]}
    return pl.DataFrame({**frame, **columns}, strict=False)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_ratings_may_be_booleans_or_categories(tmp_path: Path, ending: str) -> None:
    liked = [e < 848 for e in range(1500)]
    random.Random(1).shuffle(liked)
    path = table(tmp_path / f"a.{ending}", events(1500, rating=pl.Series(liked)))
    data = load(path)
    assert (data.values, int(data.is_positive.sum()), len(data)) == ("rating", 848, 1500)
    stars = pl.Series([str(1 + e % 5) for e in range(1500)], dtype=pl.Categorical)
    data = load(table(tmp_path / f"b.{ending}", events(1500, rating=stars)))
    assert (data.values, int(data.is_positive.sum()), data.positive_from) == ("rating", 600, 4)
    assert "rating: column 'rating', assumed to hold ratings; otherwise use --value-as strength" in data.notes


@pytest.mark.parametrize("name", ["label", "click", "is_click", "Clicked", "liked"])
def test_labels_are_positive_where_they_are_1(tmp_path: Path, name: str) -> None:
    labels = [int(e < 165) for e in range(400)]
    data = load(table(tmp_path / "a.csv", events(400, **{name: labels})))
    assert (data.values, int(data.is_positive.sum()), len(data)) == ("rating", 165, 400)
    signs = load(table(tmp_path / "b.parquet", events(400, **{name: [2 * label - 1 for label in labels]})))
    assert int(signs.is_positive.sum()) == 165


def test_a_log_of_labels_without_a_1_has_no_positives(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", events(100, label=[0] * 100))
    with pytest.raises(InputError, match=r"column 'label'.*no event is positive.*--positive-from 0"):
        load(path)
    assert load(path, positive_from=0).is_positive.all()


def test_clicks_above_1_are_counted_and_so_strengths(tmp_path: Path) -> None:
    data = load(table(tmp_path / "a.csv", events(100, click=[e % 4 for e in range(100)])))
    assert (data.values, int(data.is_positive.sum())) == ("strength", 75)


def test_a_strength_of_0_or_less_is_not_positive(tmp_path: Path) -> None:
    quantities = [-2, 0, 0.5, 3, 1] * 20
    path = table(tmp_path / "a.csv", events(100, quantity=quantities))
    data = load(path)
    assert (data.values, int(data.is_positive.sum()), data.positive_from) == ("strength", 60, 0.5)
    assert "40 events are not positive: their strength, column 'quantity', is 0 or less" in data.notes
    assert load(table(tmp_path / "b.csv", events(9, plays=[2] * 9))).is_positive.all()
    with pytest.raises(InputError, match=r"no strength is above 0.*--value-as rating"):
        load(table(tmp_path / "c.csv", events(9, plays=[0] * 9)))


def test_the_meaning_of_the_value_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path / "a.csv", events(100, plays=[1 + e % 5 for e in range(100)]))
    outputs = []
    for arguments in ([], ["--value-as", "rating"], ["--value-as", "stars"]):
        with pytest.raises(SystemExit):
            run(["data", "check", str(path), *arguments])
        outputs.append(" ".join("".join(capsys.readouterr()).split()))
    assert "positive events 100 (every event)" in outputs[0]
    assert "assumed to hold strengths; otherwise use --value-as rating" in outputs[0]
    assert "positive events 40 (rating of 4 and more)" in outputs[1]
    assert "write rating, strength or none" in outputs[2]


def amounts(path: Path, *values: str, start: int = START) -> Path:
    lines = [f"u{e % 3};i{e % 4};{start + e};{value}" for e, value in enumerate(values)]
    return text(path, "\n".join(["user;item;time;weight", *lines]) + "\n")


@pytest.mark.parametrize(
    ("of_january", "of_february", "expected", "note"),
    [
        (("1,5", "2,25", "1,250"), ("1,250", "2"), [1.5, 2.25, 1.25, 1.25, 2], "1,250, are decimal ones"),
        (("1,250", "2"), ("1,5", "1.250", "1.250,75"), [1.25, 2, 1.5, 1250, 1250.75], "1,250, are decimal ones"),
        (("1,250", "2"), ("1,250.50", "1.250"), [1250, 2, 1250.5, 1.25], "1,250, are between thousands"),
        (("1,250", "2"), ("2,750", "3"), [1250, 2, 2750, 3], "warning: no value shows what commas are"),
    ],
)
def test_all_files_of_a_folder_show_together_what_commas_mean(
    tmp_path: Path, of_january: Sequence[str], of_february: Sequence[str], expected: Sequence[float], note: str
) -> None:
    """A file alone may not show it: 1,250 was 1.25 in one and 1250 in the next."""
    amounts(tmp_path / "01.csv", *of_january)
    amounts(tmp_path / "02.csv", *of_february, start=START + 9)
    data = load(tmp_path)
    assert data.value is not None
    assert data.value.tolist() == expected
    assert note in notes(data)


def test_amounts_may_have_a_currency(tmp_path: Path) -> None:
    data = load(amounts(tmp_path / "a.csv", "₹1,29,999.00", "Rs. 499", "INR 12", "€-2.5", "1,299/-", "7 USD"))
    np.testing.assert_allclose(data.value, [129_999, 499, 12, -2.5, 1299, 7])  # type: ignore[arg-type]


def test_values_that_are_no_numbers_need_not_be_read(tmp_path: Path) -> None:
    path = amounts(tmp_path / "a.csv", "much", "little", "much")
    with pytest.raises(InputError, match=r"is not a number.*--value-as none"):
        load(path)
    assert load(path, values="none").value is None


def test_equal_rows_are_kept_by_choice_and_a_warning_names_columns_that_are_not_read(tmp_path: Path) -> None:
    orders = [f"order {e},c{e % 5},s{e % 2},2024-01-0{1 + e // 20}" for e in range(40)]
    path = text(tmp_path / "a.csv", "\n".join(["order_no,customer_id,sku,date", *orders]) + "\n")
    data = load(path)
    assert len(data) == 20
    assert "warning: 20 rows dropped: exact duplicates of another row in all columns that are read" in notes(data)
    assert "order_no" in notes(data)
    assert len(load(path, keep_duplicates=True)) == 40


def test_ids_that_stand_for_none_or_for_several_are_warned_of(tmp_path: Path) -> None:
    lines = [f"{'NULL' if e % 4 == 0 else f'u{e}'},{'9.78014E+12' if e % 2 else e},{START + e}" for e in range(40)]
    path = text(tmp_path / "a.csv", "\n".join(["user,item,time", *lines]) + "\n")
    data = load(path)
    assert "10 events have the user 'NULL', which counts as one user" in notes(data)
    assert "items such as 9.78014E+12 look like numbers that a spreadsheet has rounded" in notes(data)
    assert len(load(path, where=("user != NULL",))) == 30


def test_times_with_and_without_an_offset_are_warned_of(tmp_path: Path) -> None:
    clock = "2024-01-03 09:07:00"
    lines = [f"u{e % 5},i{e},{clock}{'+05:30' if e % 2 else ''}" for e in range(40)]
    data = load(text(tmp_path / "a.csv", "\n".join(["user,item,time", *lines]) + "\n"))
    assert "20 times in column 'time' have an offset from UTC, and 20 have none: these are read as UTC" in notes(data)
    lines = [f"u{e % 5},i{e},2024-01-0{1 + e % 3}" for e in range(40)]
    data = load(text(tmp_path / "b.csv", "\n".join(["user,item,time", *lines]) + "\n"))
    assert "offset" not in notes(data)


def rows(times: Sequence[object]) -> str:
    return "".join(f"u{e % 20},i{e // 20},{time}\n" for e, time in enumerate(times))


@pytest.mark.parametrize("header", ["", "user,item,time\n"])
def test_a_zero_among_the_times_drops_its_row_only(tmp_path: Path, header: str) -> None:
    times: list[object] = [START + e for e in range(500)]
    times[17] = 0
    data = load(text(tmp_path / "a.csv", header + rows(times)))
    assert (data.order, len(data), int(data.time[0])) == ("time", 499, START)
    first = 18 + bool(header)
    assert f"is not between the years 1971 and 2100 (first: row {first}, '0')" in notes(data)
    data = load(text(tmp_path / "b.csv", header + rows([f"{2020 + e % 3}-01-05" for e in range(499)] + ["1970-01-01"])))
    assert (data.order, len(data)) == ("time", 499)


def test_a_missing_time_is_a_visible_warning(tmp_path: Path) -> None:
    assert "warning: no time" in notes(load(text(tmp_path / "a.csv", rows(list(range(500))))))
    data = load(text(tmp_path / "b.csv", "user,item,time\n" + rows(list(range(500)))))
    assert data.order == "time"
    assert "warning: most times in column 'time' are not between the years 1990 and 2100" in notes(data)


def test_the_most_precise_time_is_used(tmp_path: Path) -> None:
    seconds = [START + 7_000 * e for e in range(60)]
    dates = [datetime.datetime.fromtimestamp(second, datetime.UTC).date() for second in seconds]
    frame = events(60, date=dates, time_ms=[second * 1000 for second in seconds])
    for ending in ("csv", "parquet"):
        data = load(table(tmp_path / f"a.{ending}", frame))
        assert sorted(data.time.tolist()) == seconds
    # another date, as that of a release, is not the time of the event
    released = [START - 10**8 + 5_000 * e for e in range(60)]
    data = load(table(tmp_path / "b.csv", events(60, date=dates, released=released)))
    assert len(np.unique(data.time)) == len(set(dates))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["20240120T221500Z", "20240120T221501Z"], [1705788900, 1705788901]),
        (["2024/01/20 22:15", "2024/01/20 22:16"], [1705788900, 1705788960]),
        (["2024-01-20T22:15Z", "2024-01-20T22:16Z"], [1705788900, 1705788960]),
        (
            ["2024-01-20T22:15:00", "2024-01-20T23:15:01+01:00", "2024-01-20 22:15:02"],
            [1705788900 + e for e in range(3)],
        ),
        (
            ["2024-01-20T22:15:00+00:00", "2024-01-20T22:15:01Z", "2024-01-20T22:15:02"],
            [1705788900 + e for e in range(3)],
        ),
        (["20240120", "20240121"], [1705708800, 1705795200]),
    ],
)
def test_times_have_many_spellings(tmp_path: Path, texts: list[str], expected: list[int]) -> None:
    lines = "".join(f"u,i{e},{time}\n" for e, time in enumerate(texts))
    for name, header in (("a.csv", "user,item,time\n"), ("b.csv", "")):
        data = load(text(tmp_path / name, header + lines))
        assert (data.order, data.time.tolist()) == ("time", expected), data.notes


@pytest.mark.parametrize(
    ("header", "item"),
    [
        ("user_id,song_id,artist,title,play_count", "song_id"),
        ("user_id,artist,title,song_id,plays", "song_id"),
        ("user,show_id,title", "show_id"),
        ("user,title,show_id", "show_id"),
        ("userId,movie,movieId,rating", "movieId"),
        ("userId,item,artist_id", "item"),
        ("userId,artistID,weight", "artistID"),
        ("user,title", "title"),
    ],
)
def test_an_id_is_the_item_rather_than_a_name(tmp_path: Path, header: str, item: str) -> None:
    names = header.split(",")
    lines = "".join(",".join(f"{e + n}" if n else f"u{e % 3}" for n in range(len(names))) + "\n" for e in range(9))
    assert f"item: column {item!r}" in load(text(tmp_path / "a.csv", header + "\n" + lines)).notes


@pytest.mark.parametrize(
    ("typing_errors", "named"), [([55], "55"), ([99] * 20, "99"), ([-99, 55], "-99, 55"), ([1000, 99], "99, 1000")]
)
def test_outliers_do_not_widen_the_scale_of_ratings(tmp_path: Path, typing_errors: list[int], named: str) -> None:
    ratings = [1 + e % 5 for e in range(500)]
    for at, wrong in enumerate(typing_errors):
        ratings[5 * at] = wrong
    data = load(table(tmp_path / "a.csv", events(500, rating=ratings)))
    assert data.positive_from == 4
    assert f"far outside the scale of 1 to 5: {named} in column 'rating'" in notes(data)


@pytest.mark.parametrize("scale", [[0, 1], [1, 10], [0.5, 5], [0, 100], [-10, 10], [-1, 1], [20, 40, 60, 80, 100]])
def test_whole_scales_have_no_outliers(tmp_path: Path, scale: list[float]) -> None:
    low, high = scale[0], scale[-1]
    mostly = [high] * 460 + list(np.linspace(low, high, len(scale) if len(scale) > 2 else 21).round(1)) * 2
    data = load(table(tmp_path / "a.csv", events(len(mostly), rating=mostly)))
    assert "warning: no time" in notes(data)
    assert "outside the scale" not in notes(data)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_nested_columns_have_no_role(tmp_path: Path, ending: str) -> None:
    tags = [["a", "b"]] * 40
    people = [{"name": "x", "age": 3}] * 40
    frame = events(40, tags=tags, person=people, kind=pl.Series(["x", "y"] * 20, dtype=pl.Categorical))
    data = load(table(tmp_path / f"a.{ending}", frame))
    assert (len(data), data.order) == (40, "none")
    assert "not used: tags, person, kind" in data.notes
    with pytest.raises(InputError, match="column 'tags' holds lists or structures"):
        load(tmp_path / f"a.{ending}", item="tags")
    with pytest.raises(InputError, match="no column looks like the user"):
        load(table(tmp_path / f"b.{ending}", pl.DataFrame({"user": tags, "item": ["i"] * 40})))


def test_ids_of_bytes_are_text_or_uuids(tmp_path: Path) -> None:
    keys = [uuid.UUID(int=random.Random(n).getrandbits(128), version=4) for n in range(40)]
    frame = pl.DataFrame(
        {"user": [key.bytes for key in keys], "item": [b"20", "ख".encode()] * 20, "data": [b"\xff"] * 40}
    )
    data = load(table(tmp_path / "a.parquet", frame))
    assert data.users.ids(range(40)) == sorted(map(str, keys))
    assert data.items.ids([0, 1]) == ["20", "ख"]
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("create table events (user blob, item blob)")
        database.executemany("insert into events values (?, ?)", [(key.bytes, b"20") for key in keys])
    assert load(tmp_path / "a.db").users.ids(range(40)) == sorted(map(str, keys))


def test_nested_features_are_tags_at_most(tmp_path: Path) -> None:
    table(tmp_path / "events.parquet", events(40))
    items = [
        {"id": f"i{n}", "genres": ["Drama", "War"], "cast": [{"name": "x"}], "maker": {"name": "y"}} for n in range(2)
    ]
    for ending in ("jsonl", "parquet"):
        (tmp_path / "items.jsonl").unlink(missing_ok=True)
        if ending == "jsonl":
            text(tmp_path / "items.jsonl", "".join(json.dumps(item) + "\n" for item in items))
            table(tmp_path / "events.jsonl", events(40))
            (tmp_path / "events.parquet").unlink()
        else:
            (tmp_path / "events.jsonl").unlink()
            table(tmp_path / "events.parquet", events(40))
            pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
        data = load(tmp_path)
        assert {name: feature.kind for name, feature in data.item_features.items()} == {"genres": "bag"}
        assert "items, not used, they hold structures: cast, maker" in data.notes


def test_a_query_with_a_column_name_twice_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("create table events (user, item)")
        database.execute("create table films (item, title)")
        database.execute("insert into events values ('u', 'i')")
        database.execute("insert into films values ('i', 'Sholay')")
    query = "select * from events join films on films.item = events.item"
    with pytest.raises(InputError, match=r"a\.db, column 'item'.* two columns of this name.*select"):
        load(tmp_path / "a.db", query=query)
    cured = query.replace("*", 'events.user, events.item, films.item as "item_2", title')
    assert len(load(tmp_path / "a.db", query=cured)) == 1
