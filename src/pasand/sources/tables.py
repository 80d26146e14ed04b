"""Tables in CSV, TSV, Parquet or JSON lines, also gzip: one file, or a folder of files of the same format.

A folder may also hold `users.*` and `items.*`, tables of features whose id is in column "id" or the first column.
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

from pasand.data.encoding.column_roles import infer_roles
from pasand.data.encoding.text_files import broken_row_error, check_lines, encoding_error, uncompressed
from pasand.data.log import BATCH, Log, Options
from pasand.errors import InputError

FORMATS = {
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
"""Formats by file extension."""

PROSE = re.compile(r"(read_?me|licen[cs]e|copying|changelog)\b", re.IGNORECASE)
"""Names of text files that are often beside tables but are not tables themselves."""

SAMPLE = 2_000
"""Number of rows from which the roles of the columns are inferred."""

DELIMITERS = "\t,;|"


def recognises(location: str) -> float:
    """Return .5 for a file with the extension of a table, and for a folder with such files."""
    path = Path(location)
    if path.is_dir():
        return 0.5 if table_files(path) else 0
    return 0.5 if path.is_file() and _format(path) else 0


def _format(path: Path) -> str:
    """Return "text", "parquet" or "lines" by the file extension, "" where it is not that of a table."""
    return FORMATS.get(Path(path.name.removesuffix(".gz")).suffix.lower(), "")


def table_files(folder: Path) -> list[Path]:
    """Return the tables of a folder in order of name, without hidden files; [] where the folder cannot be listed."""
    try:
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] not in "._"]
    except OSError:
        return []
    return [path for path in files if _format(path) and not PROSE.match(path.name)]


def read(location: str, options: Options) -> Log:
    """Return the log of a table or a folder of tables; raises InputError for an invalid table, and for a query."""
    path = Path(location)
    if options.query is not None or options.table is not None:
        raise InputError(path, cause="only a database can be queried", cure="leave the query out, or name a database")
    paths = table_files(path) if path.is_dir() else [path]
    features: dict[str, pl.DataFrame] = {}
    if path.is_dir():
        for kind in ("users", "items"):
            for file in [file for file in paths if file.name.split(".")[0].lower() == kind]:
                paths.remove(file)
                features[kind] = feature_table(file, options)
    tables = open_tables(path, paths, options)
    first = tables[0]
    column_roles = infer_roles(first.sample, options, str(path), has_header=first.has_header)
    names = [*column_roles.column_names.values(), *column_roles.extra]
    return Log(
        name=path.name,
        events=partial(read_batches, tables, names, column_roles.select()),
        values=column_roles.values,
        order="time" if column_roles.time else "none",
        users=features.get("users"),
        items=features.get("items"),
        column_names=column_roles.column_names,
        first_row=first.first_row,
        notes=(first.note, *column_roles.notes),
        keep_alive=tuple(table.keep_alive for table in tables),
    )


def open_tables(path: Path, paths: list[Path], options: Options, what: str = "events") -> list[Table]:
    """Return the opened tables of a file or folder, at least one, all with the same columns.

    Raises InputError where there is none or they differ in format or columns.
    """
    if not paths:
        raise InputError(path, cause=f"there is no table of {what} in this folder", cure=f"name the file of {what}")
    if len({_format(file) for file in paths}) > 1:
        names = ", ".join(file.name for file in paths[:5])
        raise InputError(path, cause=f"the folder has tables of several formats: {names}", cure="name one of them")
    tables = [_open(file, options) for file in paths]
    for file, table in zip(paths[1:], tables[1:], strict=True):
        if table.sample.columns != tables[0].sample.columns:
            columns = ", ".join(table.sample.columns[:8])
            cause = f"its columns ({columns}) are not those of {paths[0].name}"
            raise InputError(file, cause=cause, cure="name one of the files, not the folder")
    return tables


@dataclass(frozen=True, slots=True)
class Table:
    """An opened table, with a sample of its rows."""

    path: Path
    """The path given by the user."""
    frame: pl.LazyFrame | None
    """The rows; None: JSON lines in `file`."""
    file: Path
    """The uncompressed file."""
    sample: pl.DataFrame
    """The first `SAMPLE` rows."""
    has_header: bool
    """Whether the table names its columns."""
    note: str
    """Description of the format."""
    keep_alive: object
    """Keeps the uncompressed file while it is referenced."""
    delimiter: str = ""
    """Delimiter of a text file."""

    @property
    def first_row(self) -> int:
        """Number of the first row in messages: 2 for text with a header, else 1."""
        return 2 if self.has_header and self.frame is not None and _format(self.path) != "parquet" else 1


def _open(path: Path, options: Options) -> Table:
    """Return an opened table; raises InputError where it is empty or cannot be parsed."""
    file, keep_alive = uncompressed(path)
    format = _format(path) or "text"
    if format == "parquet":
        try:
            frame = pl.scan_parquet(file, glob=False)
            return Table(path, frame, file, frame.head(SAMPLE).collect(), True, "Parquet", keep_alive)
        except polars.exceptions.PolarsError as error:
            raise _unreadable(path, error) from error
    check_lines(file, path)
    if format == "lines":
        sample = next(_lines(file, path, None, SAMPLE), None)
        if sample is None:
            raise InputError(path, cause="there are no events in it", cure="give a log with at least one row")
        return Table(path, None, file, sample, True, "JSON lines", keep_alive)
    delimiter, has_header = _layout(file, path, options)
    try:
        frame = pl.scan_csv(file, separator=delimiter, has_header=has_header, infer_schema=False, glob=False)
        sample = frame.head(SAMPLE).collect()
    except polars.exceptions.PolarsError as error:
        raise broken_row_error(file, path, delimiter) or _unreadable(path, error) from error
    if not len(sample):
        cause = "it has a header but no rows"
        raise broken_row_error(file, path, delimiter) or InputError(
            path, cause=cause, cure="give a log with at least one row"
        )
    separators = {"\t": "tabs", ",": "commas"}.get(delimiter, repr(delimiter))
    note = f"text with {separators} between columns, {'with' if has_header else 'without'} a header"
    return Table(path, frame, file, sample, has_header, note, keep_alive, delimiter)


def _layout(file: Path, path: Path, options: Options) -> tuple[str, bool]:
    """Return the delimiter and whether the first line is a header."""
    with file.open("rb") as opened:
        head = opened.read(1 << 16)
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < 1 << 16:
            raise encoding_error(head, error.start, path) from error
        text = head[: error.start].decode("utf-8-sig")
    if "\0" in text:
        raise encoding_error(head, head.index(b"\0"), path)
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
        counts = {sign: min(line.count(sign) for line in lines[:20]) for sign in DELIMITERS + " "}
        delimiter = max(counts, key=lambda sign: counts[sign] if sign != " " else min(counts[sign], 0.5))
        if not counts[delimiter]:
            cause = "no delimiter splits the lines into columns: there is one column only, or the lines differ"
            cure = "put commas, tabs, semicolons or | between the columns of every line"
            raise InputError(path, row=1, value=lines[0][:80], cause=cause, cure=cure)
    cells = [cell.strip().strip('"') for cell in lines[0].split(delimiter)]
    return delimiter, not any(re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", cell) for cell in cells)


def read_batches(tables: list[Table], names: list[str], select: list[pl.Expr]) -> Iterator[pl.DataFrame]:
    """Yield the named columns of all tables, turned into the columns of a log by `select`."""
    for table in tables:
        try:
            if table.frame is None:
                for frame in _lines(table.file, table.path, names):
                    yield frame.select(select)
            else:
                yield from table.frame.select(select).collect_batches(chunk_size=BATCH, maintain_order=True)
        except polars.exceptions.PolarsError as error:
            broken = broken_row_error(table.file, table.path, table.delimiter) if table.delimiter else None
            raise broken or _unreadable(table.path, error) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error message; the name of the error's class where the message is empty."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _unreadable(path: Path, error: Exception) -> InputError:
    """Return the InputError for a file that could not be parsed."""
    message = first_line(error)
    if "utf" in message.lower():
        return InputError(path, cause="not UTF-8 text", cure="convert it, for example with iconv")
    return InputError(
        path, cause=f"it cannot be read as {_format(path) or 'a table'}: {message}", cure="check the file"
    )


def _lines(file: Path, path: Path, columns: list[str] | None, size: int = BATCH) -> Iterator[pl.DataFrame]:
    """Yield the objects of a JSON lines file as frames of up to `size` rows; `columns` None: all of each frame.

    A line without an object becomes a row of nulls, which is later counted as a bad row. Raises InputError where the
    first line is not an object.
    """
    decode = msgspec.json.Decoder().decode
    rows: list[dict[str, object]] = []

    def frame() -> pl.DataFrame:
        names = columns if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
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
    """Return Python values as a series; as text where they have several types."""
    try:
        return pl.Series(name, cells, strict=True)
    except (TypeError, OverflowError, polars.exceptions.PolarsError):
        return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(cell: object) -> str | None:
    """Return a value as text; a whole float is written as a whole number."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return None if cell is None else str(cell)


def feature_table(path: Path, options: Options) -> pl.DataFrame:
    """Return a table of features whose id is in column "id"."""
    table = _open(path, Options(delimiter=options.delimiter))
    features = table.frame.collect() if table.frame is not None else pl.concat(_lines(table.file, path, None))
    key = next((name for name in ("id", "userId", "itemId", "user_id", "item_id") if name in features.columns), None)
    return features.rename({key or features.columns[0]: "id"})
