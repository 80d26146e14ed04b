"""Files as people have them: quotes, blank lines, spaces, row numbers, compressed files, folders, standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.dataset import Dataset
from pasand.data.encoding import unpacking
from pasand.errors import InputError
from pasand.sources import load, text_layout

HEADER = "user,item,rating,time\n"
ROWS = "".join(f"u{e % 5},i{e // 5},{1 + e % 5},{1_700_000_000 + e}\n" for e in range(30))


def text(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


def notes(data: Dataset) -> str:
    return "\n".join(data.notes)


def test_quoted_cells_may_hold_line_breaks_and_delimiters(tmp_path: Path) -> None:
    reviews = 'u9,i9,5,1700000100,"Fine,\n\nreally; fine"\nu9,i8,5,1700000101,"a ""b"" c\r\nd"\n'
    rows = ROWS.replace("\n", ",ok\n")
    data = load(text(tmp_path / "a.csv", HEADER.replace("\n", ",review\n") + reviews + rows))
    assert len(data) == 32
    assert "2 quoted cells hold line breaks, 3 in all (first: row 2)" in notes(data)


@pytest.mark.parametrize("sign", [",", "\t", ";"])
@pytest.mark.parametrize(
    "titles", ['12" vinyl', '7" single', '"Heroes" live', '12"', 'a "b" c', "plain", '"quoted"', '"as ""it"" is"']
)
def test_quotes_inside_cells_belong_to_the_text(tmp_path: Path, sign: str, titles: str) -> None:
    lines = [["user", "item", "title", "time"]] + [[f"u{e}", f"i{e}", "x", f"{1_700_000_000 + e}"] for e in range(40)]
    for row in (3, 17, 18):
        lines[row][2] = titles
    content = "".join(sign.join(line) + "\n" for line in lines)
    data = load(text(tmp_path / "a.csv", content))
    assert (len(data), data.n_items, data.order) == (40, 40, "time")
    inside = titles not in ("plain", '"quoted"', '"as ""it"" is"')
    assert ("3 lines have quotes inside a cell, which are read as text (first: row 4)" in notes(data)) == inside
    items = load(text(tmp_path / "b.csv", content), item="title").items.series.to_list()
    wanted = titles[1:-1].replace('""', '"') if titles.startswith('"') and titles.endswith('"') else titles
    assert items == sorted({"x", wanted})


@settings(max_examples=150)
@given(rows=st.lists(st.lists(st.text('a"\n,é', max_size=5), min_size=2, max_size=2), min_size=1, max_size=9))
def test_well_formed_quotes_keep_every_cell(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("quotes") / "a.csv"
    frame = pl.DataFrame(rows, schema=["x", "y"], orient="row")
    frame.write_csv(path)
    mended, _keep, _notes = text_layout.mended_quotes(path, path, ",")
    read = pl.read_csv(mended, infer_schema=False).fill_null("")
    assert read.rows() == frame.rows()


def test_a_stray_quote_does_not_swallow_rows_unseen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 5.*never closed"):
        load(text(tmp_path / "a.csv", "user,item,n\n" + "a,b,1\n" * 3 + 'a,"b,1\n' + "a,c,1\n" * 9 + 'a,"d",1\n'))
    data = load(text(tmp_path / "b.csv", "user,item,n\n" + 'a,"b,1\na,c,2\na,d",3\n' + "b,e,1\n" * 29))
    assert "1 row dropped: item has a control character (first: row 2" in notes(data)
    assert "1 quoted cell holds line breaks, 2 in all (first: row 2); if these are rows of their own" in notes(data)


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    blank = HEADER + "\n" + ROWS.replace("\n", "\n\n   \n") + "u,,5,1700000000\n"
    data = load(text(tmp_path / "a.csv", blank))
    assert len(data) == 30
    assert "61 blank lines skipped" in notes(data)
    assert f"item is missing (first: row {blank.count(chr(10))}" in notes(data)


@pytest.mark.parametrize("line", ["sep=;\n", "\ufeffsep=;\r\n", '"sep=;"\n', "SEP=;;;\n"])
def test_the_line_by_which_excel_knows_the_separator_is_skipped(tmp_path: Path, line: str) -> None:
    wanted = load(text(tmp_path / "a.csv", HEADER + ROWS))
    data = load(text(tmp_path / "b.csv", line + (HEADER + ROWS).replace(",", ";")))
    assert data.fingerprint == wanted.fingerprint
    assert "names the separator and is not counted as a row" in notes(data)
    # the separator counts even where another sign is in every line
    titles = "".join(f"u{e};a, b{e}\n" for e in range(9))
    assert load(text(tmp_path / "c.csv", line + "user, x;item, y\n" + titles), user="user, x", item="item, y").n_items


def test_empty_cells_beyond_the_header_are_left_out(tmp_path: Path) -> None:
    wanted = load(text(tmp_path / "a.csv", HEADER + ROWS))
    data = load(text(tmp_path / "b.csv", HEADER + ROWS.replace("\n", ",\n")))
    assert data.fingerprint == wanted.fingerprint
    assert "rows end with an empty cell beyond the columns of the header, left out" in notes(data)
    some = ROWS.replace("4\n", "4,,\r\n").replace("u1,", '"u1",')
    data = load(text(tmp_path / "c.csv", "sep=,\n\n" + HEADER + some))
    assert data.fingerprint == wanted.fingerprint
    assert "rows end with up to 2 empty cells" in notes(data)
    late = HEADER + ROWS.replace("\n", ",\n") * 3 + "u1,i1,5,1700000100,5\n"
    with pytest.raises(InputError, match=r"row 92: '5' is wrong: it is beyond the columns of the header"):
        load(text(tmp_path / "d.csv", late))


def test_late_surplus_cells_are_an_error_with_the_line_to_type(tmp_path: Path) -> None:
    path = text(tmp_path / "a.csv", HEADER + ROWS * 80 + "u1,i1,5,1700000100,\n")
    with pytest.raises(InputError, match=r"row 2402.* it has 5 cells, and the first row has 4") as why:
        load(path)
    command = str(why.value).partition("at the end: ")[2].rstrip(".")
    mended = tmp_path / "mended.csv"
    subprocess.run(["sh", "-c", command.replace("OLD", str(path)).replace("NEW", str(mended))], check=True)
    assert len(load(mended)) == 31


def test_rows_that_repeat_the_header_are_dropped(tmp_path: Path) -> None:
    times = HEADER + ROWS + HEADER + "u9,i9,5,1700000100\n"
    data = load(text(tmp_path / "a.csv", times))
    assert (len(data), data.n_users) == (31, 6)
    assert "1 row dropped: user repeats the header (first: row 32, 'user')" in notes(data)
    # files of few rows each, one after the other, without times
    plain = "".join(f"user,item,price\nu{e},i{e},{e}\n" for e in range(9))
    data = load(text(tmp_path / "b.csv", plain))
    assert (len(data), data.n_users, list(data.columns)) == (9, 9, ["price"])
    assert "8 rows dropped: user repeats the header (first: row 3" in notes(data)
    assert len(load(text(tmp_path / "c.csv", "user,item\nuser,x\nitem,item\n"))) == 2


def test_spaces_around_ids_are_removed(tmp_path: Path) -> None:
    data = load(
        text(tmp_path / "a.csv", "user,item,time\n" + " 17,a ,1700000000\n17,b,1700000001\n18 , c,1700000002\n")
    )
    assert (data.users.series.to_list(), data.items.series.to_list()) == (["17", "18"], ["a", "b", "c"])
    assert "spaces around user are removed, in 2 rows" in notes(data)
    assert "warning: 1 id is in column user both with and without spaces: each counts as one user" in notes(data)
    assert "with and without spaces: each counts as one item" not in notes(data)


def test_ids_follow_one_rule(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["u", "line\nbreak", "x" * 257, "u", "x" * 256] + ["v"] * 95})
    items = ["i", "i", "j", "bell\x07", "k", *map(str, range(95))]
    path = tmp_path / "a.parquet"
    frame.with_columns(item=pl.Series(items)).write_parquet(path)
    data = load(path)
    assert data.users.series.to_list() == ["u", "v", "x" * 256]
    assert {"bell\x07", "j"}.isdisjoint(data.items.series.to_list())
    for note in (
        r"1 row dropped: user has a control character (first: row 2, 'line\nbreak')",
        "1 row dropped: user has more than 256 characters (first: row 3",
        r"1 row dropped: item has a control character (first: row 4, 'bell\x07')",
    ):
        assert note in notes(data)


@pytest.mark.parametrize("name", ["Unnamed: 0", "", "id", "rating_id", "index"])
def test_numbers_of_rows_are_no_feature_and_hide_no_repetition(tmp_path: Path, name: str) -> None:
    rows = HEADER + ROWS + ROWS[: ROWS.index("\n") + 1]
    numbered = "".join(f"{n if n else name},{line}\n" for n, line in enumerate(rows.splitlines()))
    data = load(text(tmp_path / "a.csv", numbered))
    assert (len(data), dict(data.columns)) == (30, {})
    assert f"not used, numbers of rows: {name!r}" in notes(data)
    assert "1 rows dropped: exact duplicates" in notes(data)


def test_json_may_hold_nan_a_bom_and_an_array(tmp_path: Path) -> None:
    objects = [f'{{"user": "u{e}", "item": "i{e}", "rating": {1 + e % 5}, "price": NaN}}' for e in range(30)]
    plain = load(text(tmp_path / "a.jsonl", "\n".join(objects)))
    assert (len(plain), plain.n_users, plain.positive_from) == (30, 30, 4)
    for name, content in (
        ("bom.jsonl", "\ufeff" + "\n".join(objects)),
        ("array.json", "[" + ", ".join(objects) + "]"),
        ("pretty.json", "\ufeff[\n  " + ",\n  ".join(objects).replace(", ", ",\n    ").replace("NaN", "0") + "\n]\n"),
        ("sound.json", "[" + ", ".join(objects).replace("NaN", "null") + "]"),
    ):
        data = load(text(tmp_path / name, content))
        assert (data.users.series.to_list(), len(data)) == (plain.users.series.to_list(), 30), name
    with pytest.raises(InputError, match="no events"):
        load(text(tmp_path / "none.json", "[]"))


def zipped(*files: str, content: str = HEADER + ROWS) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(file, content)
    return out.getvalue()


def test_compressed_files_are_read(tmp_path: Path) -> None:
    plain = (HEADER + ROWS).encode()
    wanted = load(text(tmp_path / "a.csv", HEADER + ROWS)).fingerprint
    for name, content in (
        ("a.csv.gz", gzip.compress(plain)),
        ("a.csv.bz2", bz2.compress(plain)),
        ("a.csv.xz", lzma.compress(plain)),
        ("a.csv.zip", zipped("a.csv")),
        ("log.zip", zipped("log/", "log/README.txt", "log/a.csv", "__MACOSX/log/a.csv")),
        ("plain.csv", bz2.compress(plain)),
    ):
        (tmp_path / name).write_bytes(content)
        assert load(tmp_path / name).fingerprint == wanted, name
    lines = b'{"user": 1, "item": 2}\n'
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(lines))
    (tmp_path / "lines.zip").write_bytes(zipped("a.jsonl", content=lines.decode()))
    assert (len(load(tmp_path / "a.jsonl.xz")), len(load(tmp_path / "lines.zip"))) == (1, 1)


def test_damaged_and_huge_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = zipped(*(f"{n}.csv" for n in range(1_001)), content="")
    for name, content, message in (
        ("two.zip", zipped("a.csv", "b.csv"), "it holds 2 files: a.csv, b.csv. Cure: unpack it"),
        ("many.zip", many, "more than 1,000 files"),
        ("none.zip", zipped(), "there is no table in it"),
        ("cut.csv.zip", zipped("a.csv")[:-30], "truncated or damaged"),
        ("cut.csv.bz2", bz2.compress(ROWS.encode())[:-9], "truncated or damaged"),
        ("broken.csv.bz2", bz2.compress(ROWS.encode())[:20] + b"x" * 90, "truncated or damaged"),
        ("cut.csv.xz", lzma.compress(ROWS.encode())[:-9], "truncated or damaged"),
        ("a.csv.gz", b"\x28\xb5\x2f\xfd" + bytes(20), "zstd.*unzstd"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            load(tmp_path / name)
    monkeypatch.setattr(unpacking, "FREE_SIZE", 1 << 20)
    for name, content in (
        ("bomb.csv.gz", gzip.compress(bytes(9 << 20))),
        ("bomb.csv.xz", lzma.compress(bytes(9 << 20))),
        ("bomb.csv.bz2", bz2.compress(bytes(9 << 20))),
        ("bomb.zip", zipped("bomb.csv", content="0" * (9 << 20))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"unpacks to more than [\d,]+ bytes.*may be a bomb"):
            load(tmp_path / name)


def test_atomic_files_are_read(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    data = load(text(tmp_path / "log.inter", header + ROWS.replace(",", "\t")))
    assert data.fingerprint == load(text(tmp_path / "a.csv", HEADER + ROWS)).fingerprint
    assert "user: column 'user_id'" in data.notes


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_partitioned_folders_are_read(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame({"user": [f"u{e % 5}" for e in range(30)], "item": [f"i{e // 5}" for e in range(30)]})
    for day in range(3):
        folder = tmp_path / "log" / "country=IN" / f"date=2024-01-0{1 + day}"
        folder.mkdir(parents=True)
        (tmp_path / "log" / "_SUCCESS").touch()
        part = frame[10 * day : 10 * (day + 1)]
        path = folder / f"part-0.{ending}"
        if ending == "csv":
            part.write_csv(path)
        elif ending == "parquet":
            part.write_parquet(path)
        else:
            part.write_ndjson(path)
    data = load(tmp_path / "log")
    assert (len(data), data.order) == (30, "time")
    assert sorted(set(data.time.tolist())) == [1704067200, 1704153600, 1704240000]
    assert "not used: country" in data.notes


@pytest.mark.parametrize("kind", ["csv", "gzip", "zip", "jsonl", "parquet"])
def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    plain = (HEADER + ROWS).encode()
    frame, out, lines = pl.read_csv(io.BytesIO(plain)), io.BytesIO(), io.BytesIO()
    frame.write_parquet(out)
    frame.write_ndjson(lines)
    content = {
        "csv": plain,
        "gzip": gzip.compress(plain),
        "zip": zipped("a.csv"),
        "jsonl": lines.getvalue(),
        "parquet": out.getvalue(),
    }[kind]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    data = load("-")
    assert (data.name, len(data), data.positive_from) == ("standard input", 30, 4)
