"""Tables of every format give the same dataset, and bad tables a helpful message."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand.errors import InputError
from pasand.sources import load
from pasand.sources.tables import recognises

EVENTS = pl.DataFrame(
    {
        "userId": ["007", "7", "ख", "7"],
        "movieId": [10, 9, 10, 11],
        "rating": [4.5, 1.0, 5.0, 3.0],
        "timestamp": [978300762, 978300760, 978300761, 978300761],
    }
)
HEADER = "user,item,rating,time\n"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_all_formats_give_the_same_dataset(tmp_path: Path) -> None:
    EVENTS.write_csv(tmp_path / "a.csv")
    EVENTS.write_csv(tmp_path / "a.tsv", separator="\t")
    EVENTS.write_csv(tmp_path / "semicolon.csv", separator=";")
    EVENTS.write_parquet(tmp_path / "a.parquet")
    EVENTS.write_ndjson(tmp_path / "a.jsonl")
    milliseconds = EVENTS.with_columns(pl.col("timestamp") * 1000, pl.col("movieId").cast(pl.Float64))
    milliseconds.write_parquet(tmp_path / "floats.parquet")
    milliseconds.write_csv(tmp_path / "floats.csv")
    dates = EVENTS.with_columns(pl.from_epoch("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    dates.write_csv(tmp_path / "dates.csv")
    (tmp_path / "parts").mkdir()
    EVENTS[:2].write_parquet(tmp_path / "parts" / "1.parquet")
    EVENTS[2:].write_parquet(tmp_path / "parts" / "2.parquet")
    for path in [path for path in tmp_path.iterdir() if path.is_file()]:
        write(path.with_name(path.name + ".gz"), gzip.compress(path.read_bytes()))
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 17
    assert {load(path).fingerprint for path in paths} == {load(tmp_path / "a.csv").fingerprint}
    data = load(tmp_path / "a.csv")
    assert data.users.ids([0, 1, 2]) == ["007", "7", "ख"]
    assert data.items.ids(data.item) == ["9", "10", "11", "10"]
    assert data.time.tolist() == [978300760, 978300761, 978300761, 978300762]
    assert data.value is not None
    assert data.value.tolist() == [1.0, 5.0, 3.0, 4.5]
    assert (data.values, data.order, data.positive_from) == ("rating", "time", 4.5)


def test_a_folder_may_hold_features(tmp_path: Path) -> None:
    EVENTS.write_csv(tmp_path / "events.csv")
    write(tmp_path / "items.csv", "id,genres,minutes\n9,Drama|War,90\n10,War|Drama,\n77,War|Drama,1\n")
    write(tmp_path / "users.csv", "id,city\n007,Pune\n7,Pune\n")
    data = load(tmp_path, kinds={"minutes": "text"})
    genres = data.item_features["genres"]
    assert (genres.kind, genres.show(int(data.items.rows(["9"])[0]))) == ("bag", "Drama, War")
    assert data.item_features["minutes"].kind == "text"
    assert data.user_features["city"].values.tolist() == [0, 0, -1]
    assert "items in the catalogue without an event: 1" in data.notes


def test_lines_without_a_header(tmp_path: Path) -> None:
    data = load(write(tmp_path / "u.tsv", "1\t5\t3\t978300760\n2\t5\t4\t978300761\n"))
    assert (len(data), data.order, data.values) == (2, "time", "rating")


def test_options_override_inferred_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "who,what,rating,n\na,x,1,7\nb,y,5,9\n")
    data = load(path, user="who", item="what", value="n", values="strength", positive_from=8)
    assert data.value is not None
    assert data.value.tolist() == [7, 9]
    assert data.is_positive.tolist() == [False, True]
    assert data.columns["rating"].tolist() == [1, 5]
    assert load(path, user="who", item="what", values="none").value is None


def test_bad_rows_are_counted_with_their_reasons(tmp_path: Path) -> None:
    good = "".join(f"{n},{n % 7},3,{978300760 + n}\n" for n in range(40))
    bad = "1,2,five,978300760\n,2,3,978300760\n1,,3,978300760\n1,2,inf,978300760\n1,2,NaN,978300760\n"
    bad += "1,2,,978300760\n1,2,3,-5\n1,2,3,soon\n1,2,3,\n0,0,3,978300760\n"
    path = write(tmp_path / "a.csv", HEADER + good + bad)
    data = load(path, bad_rows=0.2)
    assert len(data) == 40
    notes = "\n".join(data.notes)
    assert "2 rows dropped: rating is not a number (first: row 42, 'five')" in notes
    for note in (
        "user is missing (first: row 43",
        "item is missing (first: row 44",
        "rating is infinite (first: row 45, 'inf'",
        "rating is missing (first: row 47",
        "time is before 1970 (first: row 48, '-5'",
        "time cannot be read (first: row 49, 'soon'",
        "time is missing (first: row 50",
        "1 rows dropped: exact duplicates",
    ):
        assert note in notes
    with pytest.raises(InputError, match=r"row 42, column 'rating': 'five' is wrong: .* 9 are bad, more than 5%"):
        load(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", "the file is empty"),
        ("empty.csv.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("empty.jsonl", "\n", "no events"),
        ("header.csv", HEADER, "no rows"),
        ("one.csv", "user\n1\n2\n", "one column only"),
        ("missing.csv", "user,rating\n1,2\n", "no column looks like the item"),
        ("words.csv", HEADER + "1,2,good,978300760\n" * 3, "row 2, column 'rating': 'good' is wrong"),
        ("times.csv", HEADER + "1,2,3,soon\n", "row 2, column 'time': 'soon' is wrong"),
        ("cut.csv.gz", gzip.compress(b"user,item\n" + bytes(range(256)) * 99, mtime=0)[:-99], "truncated or damaged"),
        ("mixed.csv", "user,item\né,ü\n".encode() + b"a,\xe9\n", "row 3: .*not UTF-8"),
        ("mixed.csv", "user,item\né,ü\n".encode() + b"1,2\n" * 50_000 + b"a,\xe9\n", "row 50003: .*not UTF-8"),
        ("nul.csv", b"user,item\n\0\0,1\n", "binary"),
        ("not.parquet", b"PAR0 no parquet", "cannot be read as parquet"),
        ("not.jsonl", "user item\n", "not a JSON object"),
        ("array.json", '[{"user": 1, "item": 2},', "begins like a JSON array and is none"),
        ("numbers.json", "[[1, 2], [3, 4]]", "not a JSON object"),
        ("quote.csv", 'user,item\n"a,1\nb,2\n', "row 2: '\"a,1' is wrong: the quote that opens there is never closed"),
        ("quote.csv", "user,item\n" + "a,1\n" * 5_000 + 'a,"1\n' + "b,2\n" * 9, "row 5002: .*never closed"),
        ("quote.csv", '"user,item\na,1\nb,2\n', "row 1: .*never closed"),
        ("bytes.csv", b"user,item\n" + b"a,1\n" * 99 + b"\0b,1\n", "row 101: .*zero byte"),
        ("lines.csv", "user,item\ra,1\rb,2\r", "CR alone"),
        ("all.csv", HEADER + "1,2,3,-978300760\n" * 3, "row 2, column 'time': .* before 1970; of 3 rows 3 are bad"),
        ("long.csv", "user,item\n1," + "x" * (10 << 20) + "\n", "longer than 4 MiB"),
        (
            "ragged.csv",
            "user,item\n1,2\n1,2,3,4\n",
            "row 3: '1,2,3,4' is wrong: it has 4 cells, and the first row has 2",
        ),
        ("later.csv", "user,item\n" + "1,2\n" * 90_000 + "1,2,3\n", "row 90002: .* 3 cells"),
        ("strange.xyz", "user,item\n1,2\n", "no source reads"),
    ],
)
def test_bad_files_raise_an_error_with_the_cause(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as error:
        load(path)
    assert name in str(error.value)


def test_locations_without_data_raise_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASAND_DATA", str(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note.md").write_text("hello")
    for location, message in (
        (str(tmp_path / "folder"), "no data set that pasand can read"),
        (str(tmp_path / "absent.csv"), "no such file"),
        ("ml-100k", "pasand data get ml-100k"),
        ("mysql://user:secret@host/base", "no source reads this kind of database"),
    ):
        with pytest.raises(InputError, match=message) as error:
            load(location)
        assert "secret" not in str(error.value)
    with pytest.raises(InputError, match="no column 'who'"):
        load(write(tmp_path / "a.csv", HEADER + "1,2,3,4\n"), user="who")


def test_a_name_is_looked_up_in_the_folder_of_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASAND_DATA", str(tmp_path))
    (tmp_path / "mine").mkdir()
    EVENTS.write_csv(tmp_path / "mine" / "events.csv")
    assert len(load("mine")) == 4


def test_one_user_and_one_item_load(tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.csv", HEADER + "1,2,3,978300760\n"))
    assert (len(data), data.n_users, data.n_items, data.positive_from) == (1, 1, 1, 3.0)


def test_broken_lines_of_json_are_bad_rows(tmp_path: Path) -> None:
    lines = '{"user": 1, "item": "a"}\n' * 30 + '{"user": 2, "it\n' + '{"user": 1.0, "item": "b"}\n'
    data = load(write(tmp_path / "a.jsonl", lines))
    assert data.users.ids([0]) == ["1"]
    assert (len(data), data.n_users) == (2, 1)
    assert any("user is missing (first: row 31" in note for note in data.notes)


def test_times_keep_their_full_resolution_for_the_order(tmp_path: Path) -> None:
    rows = "1,a,978300760900\n1,b,978300760100\n1,c,978300760100\n"
    data = load(write(tmp_path / "a.csv", "user,item,time\n" + rows))
    assert data.items.ids(data.item) == ["b", "c", "a"]
    assert np.unique(data.time).tolist() == [978300760]


def test_text_beside_tables_is_not_a_table(tmp_path: Path) -> None:
    write(tmp_path / "README.txt", "Who did what, and when.\n")
    assert recognises(str(tmp_path)) == 0
    write(tmp_path / "log.csv", HEADER + "1,2,3,978300760\n")
    assert len(load(tmp_path)) == 1
