"""Tables: CSV, TSV, Parquet and JSON lines, each also gzip; a file, or a folder of files of one form.

A folder may also hold `users.*` and `items.*`, tables of features whose first column (or column "id") is the id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import polars as pl
import polars.exceptions

from pasand.data.encoding.column_roles import roles
from pasand.data.encoding.text_files import broken_row, check_lines, encoded_otherwise, plain
from pasand.data.log import BATCH, Log, Options
from pasand.errors import InputError

FORMS = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".tab": "text",
    ".dat": "text",
    ".data": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "lines",
    ".jsonl": "lines",
    ".ndjson": "lines",
}
"""What the ends of names mean."""

PROSE = re.compile(r"(read_?me|licen[cs]e|copying|changelog)\b", re.IGNORECASE)
"""Names of text files that lie beside tables and are none."""

SAMPLE = 2_000
"""Rows looked at to find out what the columns are."""

DELIMITERS = "\t,;|"


def recognises(place: str) -> float:
    """Return .5 for a file whose name ends like a table's and a folder with such files."""
    path = Path(place)
    if path.is_dir():
        return 0.5 if tables_in(path) else 0
    return 0.5 if path.is_file() and _form(path) else 0


def _form(path: Path) -> str:
    """Return "text", "parquet" or "lines" by the name, "" where it says nothing."""
    return FORMS.get(Path(path.name.removesuffix(".gz")).suffix.lower(), "")


def tables_in(folder: Path) -> list[Path]:
    """Return the tables of a folder in order of name, hidden files aside."""
    try:
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] not in "._"]
    except OSError:
        return []
    return [path for path in files if _form(path) and not PROSE.match(path.name)]


def read(place: str, options: Options) -> Log:
    """Return the log of a table or a folder of tables; raises InputError for what no table can be."""
    path = Path(place)
    if options.query is not None or options.table is not None:
        raise InputError(path, cause="only a database can be queried", cure="leave the query out, or name a database")
    paths = tables_in(path) if path.is_dir() else [path]
    sides: dict[str, pl.DataFrame] = {}
    if path.is_dir():
        for side in ("users", "items"):
            for file in [file for file in paths if file.name.split(".")[0].lower() == side]:
                paths.remove(file)
                sides[side] = side_table(file, options)
    tables = tables_of(path, paths, options)
    first = tables[0]
    meaning = roles(first.sample, options, str(path), headed=first.headed)
    return Log(
        name=path.name,
        events=partial(batches_of, tables, list(meaning.named.values()) + list(meaning.further), meaning.select()),
        values=meaning.values,
        order="time" if meaning.time else "none",
        users=sides.get("users"),
        items=sides.get("items"),
        named=meaning.named,
        first_row=first.first_row,
        notes=(first.note, *meaning.notes),
        holds=tuple(table.keeps for table in tables),
    )


def tables_of(path: Path, paths: list[Path], options: Options, what: str = "events") -> list[Table]:
    """Return the opened tables of a place, at least one and all with the same columns; InputError where they differ."""
    if not paths:
        raise InputError(path, cause=f"there is no table of {what} in this folder", cure=f"name the file of {what}")
    if len({_form(file) for file in paths}) > 1:
        names = ", ".join(file.name for file in paths[:5])
        raise InputError(path, cause=f"the folder holds tables of several forms: {names}", cure="name one of them")
    tables = [_open(file, options) for file in paths]
    for file, table in zip(paths[1:], tables[1:], strict=True):
        if table.sample.columns != tables[0].sample.columns:
            columns = ", ".join(table.sample.columns[:8])
            cause = f"its columns ({columns}) are not those of {paths[0].name}"
            raise InputError(file, cause=cause, cure="name one of the files, not the folder")
    return tables


@dataclass(frozen=True, slots=True)
class Table:
    """One opened table."""

    path: Path
    """As the person named it."""
    frame: pl.LazyFrame | None
    """The rows; None: JSON lines in `file`."""
    file: Path
    """Uncompressed."""
    sample: pl.DataFrame
    headed: bool
    note: str
    keeps: object
    delimiter: str = ""
    """Of text."""

    @property
    def first_row(self) -> int:
        """Number by which messages call the first row: lines of text with a header begin at 2."""
        return 2 if self.headed and self.frame is not None and _form(self.path) != "parquet" else 1


def _open(path: Path, options: Options) -> Table:
    """Return a table with a sample of its rows."""
    file, keeps = plain(path)
    form = _form(path) or "text"
    if form == "parquet":
        try:
            frame = pl.scan_parquet(file, glob=False)
            return Table(path, frame, file, frame.head(SAMPLE).collect(), True, "Parquet", keeps)
        except polars.exceptions.PolarsError as error:
            raise _refused(path, error) from error
    check_lines(file, path)
    if form == "lines":
        sample = next(_lines(file, path, None, SAMPLE), None)
        if sample is None:
            raise InputError(path, cause="there are no events in it", cure="give a log with at least one row")
        return Table(path, None, file, sample, True, "JSON lines", keeps)
    delimiter, headed = _layout(file, path, options)
    try:
        frame = pl.scan_csv(file, separator=delimiter, has_header=headed, infer_schema=False, glob=False)
        sample = frame.head(SAMPLE).collect()
    except polars.exceptions.PolarsError as error:
        raise broken_row(file, path, delimiter) or _refused(path, error) from error
    if not len(sample):
        cause = "it has a header but no rows"
        raise broken_row(file, path, delimiter) or InputError(
            path, cause=cause, cure="give a log with at least one row"
        )
    shown = {"\t": "tabs", ",": "commas"}.get(delimiter, repr(delimiter))
    note = f"text with {shown} between columns, {'with' if headed else 'without'} a header"
    return Table(path, frame, file, sample, headed, note, keeps, delimiter)


def _layout(file: Path, path: Path, options: Options) -> tuple[str, bool]:
    """Return the delimiter and whether the first line is a header."""
    with file.open("rb") as opened:
        head = opened.read(1 << 16)
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < 1 << 16:
            raise encoded_otherwise(head, error.start, path) from error
        text = head[: error.start].decode("utf-8-sig")
    if "\0" in text:
        raise encoded_otherwise(head, head.index(b"\0"), path)
    if "\r" in text.rstrip("\r") and "\n" not in text:
        cause, cure = "its lines end with CR alone, as on very old Macs", "convert it, for example with mac2unix"
        raise InputError(path, cause=cause, cure=cure)
    lines = [line for line in text.splitlines()[:50] if line.strip()]
    if not lines:
        raise InputError(path, cause="the file is empty", cure="give a file with a header and rows")
    if options.delimiter is not None:
        if len(options.delimiter.encode()) != 1:
            cause = "a delimiter is one character"
            raise InputError(path, value=options.delimiter, cause=cause, cure="give one ASCII character")
        delimiter = options.delimiter
    else:
        counts = {mark: min(line.count(mark) for line in lines[:20]) for mark in DELIMITERS + " "}
        delimiter = max(counts, key=lambda mark: counts[mark] if mark != " " else min(counts[mark], 0.5))
        if not counts[delimiter]:
            cause = "no character divides the lines into columns: there is one column only, or the lines differ"
            cure = "put commas, tabs, semicolons or | between the columns of every line"
            raise InputError(path, row=1, value=lines[0][:80], cause=cause, cure=cure)
    cells = [cell.strip().strip('"') for cell in lines[0].split(delimiter)]
    return delimiter, not any(re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", cell) for cell in cells)


def batches_of(tables: list[Table], names: list[str], select: list[pl.Expr]) -> Iterator[pl.DataFrame]:
    """Yield the named columns of all tables, made by `select` into those of a log."""
    for table in tables:
        try:
            if table.frame is None:
                for frame in _lines(table.file, table.path, names):
                    yield frame.select(select)
            else:
                yield from table.frame.select(select).collect_batches(chunk_size=BATCH, maintain_order=True)
        except polars.exceptions.PolarsError as error:
            broken = broken_row(table.file, table.path, table.delimiter) if table.delimiter else None
            raise broken or _refused(table.path, error) from error


def _refused(path: Path, error: Exception) -> InputError:
    """Return the refusal of a file that could not be parsed."""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "utf" in said.lower():
        return InputError(path, cause="not UTF-8 text", cure="convert it, for example with iconv")
    return InputError(path, cause=f"it cannot be read as {_form(path) or 'a table'}: {said}", cure="check the file")


def _lines(file: Path, path: Path, wanted: list[str] | None, size: int = BATCH) -> Iterator[pl.DataFrame]:
    """Yield the objects of a JSON lines file as frames with the wanted columns; None: those of the first frame.

    A line that holds no object becomes a row of nothing, which is then counted as bad.
    """
    decode = msgspec.json.Decoder().decode
    rows: list[dict[str, object]] = []

    def frame() -> pl.DataFrame:
        names = wanted if wanted is not None else list(dict.fromkeys(name for row in rows for name in row))
        return pl.DataFrame([column(name, [row.get(name) for row in rows]) for name in names])

    first = True
    with file.open("rb") as opened:
        for line in opened:
            if not line.strip():
                continue
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if first:
                    cause = f"the first line is not a JSON object ({error})"
                    raise InputError(
                        path, row=1, value=line[:40], cause=cause, cure="write one object a line"
                    ) from error
                row = {}
            if first and not isinstance(row, dict):
                cause = "the first line is not a JSON object"
                raise InputError(path, row=1, value=str(row)[:40], cause=cause, cure="write one object a line")
            first = False
            rows.append(row if isinstance(row, dict) else {})
            if len(rows) == size:
                yield frame()
                rows.clear()
    if rows:
        yield frame()


def column(name: str, cells: list[object]) -> pl.Series:
    """Return cells of Python as a series; text where they are of several types."""
    try:
        return pl.Series(name, cells, strict=True)
    except (TypeError, OverflowError, polars.exceptions.PolarsError):
        return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(cell: object) -> str | None:
    """Return a cell as text; whole floats as whole numbers."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return None if cell is None else str(cell)


def side_table(path: Path, options: Options) -> pl.DataFrame:
    """Return a table of features with its id first."""
    table = _open(path, Options(delimiter=options.delimiter))
    whole = table.frame.collect() if table.frame is not None else pl.concat(_lines(table.file, path, None))
    key = next((name for name in ("id", "userId", "itemId", "user_id", "item_id") if name in whole.columns), None)
    return whole.rename({key or whole.columns[0]: "id"})
