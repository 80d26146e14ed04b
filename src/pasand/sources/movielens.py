"""MovieLens in its three layouts: 100K (`u.data`), 1M and 10M (`ratings.dat`), 20M to 32M (`ratings.csv`); also .gz.

Source: Harper and Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015. Their licence restricts use: https://grouplens.org.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import polars as pl

from pasand.data.encoding.text_files import check_lines, find_file, read_text
from pasand.data.encoding.unpacking import uncompressed
from pasand.data.features import Kind
from pasand.data.log import BATCH, Log, Options
from pasand.errors import InputError

RATINGS_DAT = ("ratings.dat", "ratings_notime.dat")
"""Names of the file of ratings of 1M; some published copies have no times."""

KINDS: dict[str, Kind] = {
    "gender": "categorical",
    "occupation": "categorical",
    "zip": "categorical",
    "age": "number",
    "title": "text",
    "genres": "bag",
    "year": "number",
    "released": "time",
    "certificate": "categorical",
    "director": "bag",
    "cast": "bag",
    "plot": "text",
    "abstract": "text",
}

AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56 and over"}
OCCUPATIONS = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)


def recognises(location: str) -> float:
    """Return 1 for a folder with the files of a MovieLens data set."""
    folder = Path(location)
    if not folder.is_dir():
        return 0
    csv = find_file(folder, "ratings.csv") and find_file(folder, "movies.csv")
    dat = find_file(folder, *RATINGS_DAT) and find_file(folder, "movies.dat")
    return 1 if find_file(folder, "u.data") or dat or csv else 0


def read(location: str, options: Options) -> Log:
    """Return the ratings with the features of users and movies."""
    folder = Path(location)
    if path := find_file(folder, "u.data"):
        return _log(folder, path, options, _users_100k(folder), _movies_100k(folder))
    if path := find_file(folder, *RATINGS_DAT):
        return _log(folder, path, options, _users_1m(folder), _movies_1m(folder))
    csv = find_file(folder, "ratings.csv")
    assert csv is not None
    return _log(folder, csv, options, None, _movies_csv(folder))


def _log(folder: Path, path: Path, options: Options, users: pl.DataFrame | None, items: pl.DataFrame | None) -> Log:
    """Return the log of a file of ratings."""
    file, keep_alive = uncompressed(path)
    check_lines(file, path)
    with file.open("rb") as opened:
        timed = len(opened.readline().replace(b"::", b"\t").replace(b",", b"\t").split(b"\t")) > 3
    notes = [f"MovieLens, ratings in {path.name}"]
    if not timed:
        notes.append("no time: the order of events has no meaning")
    return Log(
        name=folder.name,
        events=partial(ratings, file, path, timed, _delimiter(path)),
        values=options.values or "rating",
        order="time" if timed else "none",
        users=users,
        items=items,
        kinds={**KINDS, "age": "categorical"} if path.name.startswith("ratings") else KINDS,
        column_names={"value": "rating"},
        notes=tuple(notes),
        keep_alive=(keep_alive,),
    )


def _delimiter(path: Path) -> str:
    return "\t" if path.name.startswith("u.") else "," if ".csv" in path.name else "::"


def ratings(file: Path, path: Path, timed: bool, delimiter: str) -> Iterator[pl.DataFrame]:
    """Yield columns user, item, value and, with `timed`, time; a comma-separated file has a header."""
    names = ["user", "item", "value", "time"][: 4 if timed else 3]
    try:
        if delimiter != "::":
            has_header = delimiter == ","
            frame = pl.scan_csv(file, separator=delimiter, has_header=has_header, new_columns=names, infer_schema=False)
            yield from frame.select(names).collect_batches(chunk_size=BATCH, maintain_order=True)
            return
        # the delimiter has two characters: read one column, then split it
        table = pl.scan_csv(file, separator="\x01", has_header=False, new_columns=["line"], quote_char=None)
        parts = pl.col("line").str.splitn("::", len(names)).struct.rename_fields(names)
        lines = table.select(parts.alias("line")).unnest("line")
        yield from lines.collect_batches(chunk_size=BATCH, maintain_order=True)
    except pl.exceptions.PolarsError as error:
        cause = f"not the layout of MovieLens: {str(error).splitlines()[0]}"
        raise InputError(path, cause=cause, cure="download it again") from error


def _rows(path: Path, delimiter: str, width: int) -> list[list[str]]:
    """Return the cells of a small latin-1 file; lines with fewer than `width` cells are left out."""
    rows = [line.split(delimiter) for line in read_text(path, encoding="latin-1").splitlines()]
    return [row for row in rows if len(row) >= width]


def _table(rows: list[list[str]], *columns: str) -> pl.DataFrame:
    return pl.DataFrame(
        {name: [row[i] for row in rows] for i, name in enumerate(columns)}, schema=dict.fromkeys(columns, pl.String)
    )


def _year() -> pl.Expr:
    return pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32).alias("year")


def _users_100k(folder: Path) -> pl.DataFrame | None:
    path = find_file(folder, "u.user")
    return None if path is None else _table(_rows(path, "|", 5), "id", "age", "gender", "occupation", "zip")


def _movies_100k(folder: Path) -> pl.DataFrame | None:
    path, genres = find_file(folder, "u.item"), find_file(folder, "u.genre")
    if path is None:
        return None
    rows = _rows(path, "|", 5)
    table = _table(rows, "id", "title", "released")
    released = pl.col("released").str.to_date("%d-%b-%Y", strict=False)
    names = [row[0] for row in _rows(genres, "|", 2)] if genres else []
    flags = [[name for name, flag in zip(names, row[5:], strict=False) if flag == "1"] for row in rows]
    bags = pl.Series("genres", flags, dtype=pl.List(pl.String))
    return table.with_columns(released, _year(), bags)


def _users_1m(folder: Path) -> pl.DataFrame | None:
    path = find_file(folder, "users.dat")
    if path is None:
        return None
    table = _table(_rows(path, "::", 5), "id", "gender", "age", "occupation", "zip")
    jobs = {str(code): name for code, name in enumerate(OCCUPATIONS)}
    return table.with_columns(
        pl.col("age").replace(AGES),
        pl.col("occupation").replace(jobs),
    )


def _movies_1m(folder: Path) -> pl.DataFrame | None:
    path = find_file(folder, "movies.dat")
    if path is None:
        return None
    table = _with_genres(_table(_rows(path, "::", 3), "id", "title", "genres"))
    for features in (_extra(folder), _abstracts(folder)):
        if features is not None:
            table = table.join(features, on="id", how="left", maintain_order="left")
    return table


def _extra(folder: Path) -> pl.DataFrame | None:
    """Return certificates, directors, casts and plots from the file published with MeLU (Lee et al., KDD 2019)."""
    path = find_file(folder, "movies_extrainfos.dat")
    if path is None:
        return None
    rows = [line.split("::") for line in read_text(path).splitlines()]
    fields = {row[0]: (row[3], row[6], row[8], row[9]) for row in rows if len(row) >= 10}
    columns = ("certificate", "director", "cast", "plot")
    table = pl.DataFrame(
        {"id": list(fields), **{name: [row[i] for row in fields.values()] for i, name in enumerate(columns)}},
        schema=dict.fromkeys(("id", *columns), pl.String),
    )
    known = [
        pl.when(pl.col(name).is_in(["N/A", ""])).then(None).otherwise(pl.col(name)).alias(name) for name in columns
    ]
    return table.with_columns(known).with_columns(pl.col("director", "cast").str.split(", "))


def _abstracts(folder: Path) -> pl.DataFrame | None:
    """Return the Wikipedia abstract of each movie from a JSON file."""
    path = find_file(folder, "dbpedia_abstracts.json")
    if path is None:
        return None
    try:
        abstracts = msgspec.json.decode(read_text(path), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise InputError(path, cause=f"not an object of texts by movie: {error}", cure="download it again") from error
    columns = {"id": list(abstracts), "abstract": list(abstracts.values())}
    return pl.DataFrame(columns, schema={"id": pl.String, "abstract": pl.String})


def _movies_csv(folder: Path) -> pl.DataFrame | None:
    path = find_file(folder, "movies.csv")
    if path is None:
        return None
    file, _keep_alive = uncompressed(path)
    return _with_genres(pl.read_csv(file, infer_schema=False, new_columns=["id", "title", "genres"]))


def _with_genres(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with genres as lists, and the year taken from the title."""
    known = pl.when(pl.col("genres") == "(no genres listed)").then(None).otherwise(pl.col("genres"))
    return table.with_columns(known.str.split("|").alias("genres"), _year())
