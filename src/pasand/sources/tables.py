"""Tables in CSV, TSV, Parquet or JSON, plain or compressed: one file, or a folder of files of the same format.

Compressed files are gzip, bzip2, xz and zip. A folder may also hold `users.*` and `items.*`, tables of features whose
id is found by its name, see `with_id`; `.user` and `.item` beside an `.inter` are read, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shlex import quote
from urllib.parse import unquote

import polars as pl
import polars.exceptions

from pasand.data.encoding.column_roles import NAMES, infer_roles, normalised, with_id
from pasand.data.encoding.text_encodings import as_utf8
from pasand.data.encoding.text_files import broken_row_error, check_lines
from pasand.data.encoding.unpacking import inner_name, uncompressed
from pasand.data.log import BATCH, Log, Options
from pasand.errors import InputError
from pasand.sources import atomic_files
from pasand.sources.python_rows import json_frames
from pasand.sources.text_layout import layout, mended_head, mended_quotes, without_surplus

FORMATS = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".tab": "text",
    ".dat": "text",
    ".data": "text",
    ".inter": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "lines",
    ".jsonl": "lines",
    ".ndjson": "lines",
}
"""Formats by file extension; `.inter` is that of RecBole's atomic files."""

MAX_FILES = 10_000
"""Largest number of tables in a folder."""

ID_NAMES = 30
"""Names of the columns of a role that are compared for a table of features."""

PROSE = re.compile(r"(read_?me|licen[cs]e|copying|changelog)\b", re.IGNORECASE)
"""Names of text files that are often beside tables but are not tables themselves."""

SAMPLE = 2_000
"""Number of rows from which the roles of the columns are inferred."""


def recognises(location: str) -> float:
    """Return .5 for a file with the extension of a table, and for a folder with such files."""
    path = Path(location)
    if path.is_dir():
        return 0.5 if table_files(path) else 0
    return 0.5 if path.is_file() and (_format(path) or path.suffix.lower() == ".zip") else 0


def _format(path: Path) -> str:
    """Return "text", "parquet" or "lines" by the file extension, "" where it is not that of a table."""
    return FORMATS.get(Path(inner_name(path)).suffix.lower(), "")


def table_files(folder: Path) -> list[Path]:
    """Return the tables of a folder in order of name, without hidden files; [] where the folder cannot be listed.

    Tables in folders named NAME=VALUE, as Hive and Spark write them, belong to it. Raises InputError for more than
    `MAX_FILES` tables.
    """
    files: list[Path] = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name[0] in "._":
                continue
            if path.is_file() and _format(path) and not PROSE.match(path.name):
                files.append(path)
            elif "=" in path.name and path.is_dir():
                files += table_files(path)
    except OSError:
        return []
    if len(files) > MAX_FILES:
        cause = f"it holds more than {MAX_FILES:,} tables"
        raise InputError(folder, cause=cause, cure="join them, for example with polars, or name one of them")
    return files


def partition(file: Path, root: Path) -> dict[str, str]:
    """Return the columns that the folders between a file and `root` give, as Hive and Spark name them.

    >>> partition(Path("log/day=2024-01-20/part.csv"), Path("log"))
    {'day': '2024-01-20'}
    """
    parts = file.relative_to(root).parent.parts if file.is_relative_to(root) else ()
    pairs = [part.partition("=") for part in parts]
    return {name: unquote(value) for name, _, value in pairs if value != "__HIVE_DEFAULT_PARTITION__"}


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
    atomic = atomic_files.features_beside(paths)
    tables = open_tables(path, paths, options)
    first = tables[0]
    column_roles = infer_roles(first.sample, options, str(path), has_header=first.has_header)
    log = Log(
        name=path.name,
        events=partial(read_batches, tables, column_roles.read, column_roles.select()),
        values=column_roles.values,
        choice=column_roles.choice,
        order="time" if column_roles.time else "none",
        users=atomic.get("users"),
        items=atomic.get("items"),
        column_names=column_roles.column_names,
        first_row=first.first_row,
        blank_lines=first.is_text,
        notes=(first.note, *(note for table in tables for note in table.warnings), *column_roles.notes),
        unread=column_roles.unused,
        keep_alive=tuple(table.keep_alive for table in tables),
    )
    return with_features(log, features, options)


def open_tables(path: Path, paths: list[Path], options: Options, what: str = "events") -> list[Table]:
    """Return the opened tables of a file or folder, at least one, all with the same columns.

    Raises InputError where there is none or they differ in format or columns.
    """
    if not paths:
        raise InputError(path, cause=f"there is no table of {what} in this folder", cure=f"name the file of {what}")
    if len({_format(file) for file in paths}) > 1:
        names = ", ".join(file.name for file in paths[:5])
        raise InputError(path, cause=f"the folder has tables of several formats: {names}", cure="name one of them")
    tables = [_open(file, options, partition(file, path)) for file in paths]
    for file, table in zip(paths[1:], tables[1:], strict=True):
        if table.sample.columns != tables[0].sample.columns:
            if what == "events":
                _explain(path, paths, tables, options)
            columns = ", ".join(table.sample.columns[:8])
            cause = f"its columns ({columns}) are not those of {paths[0].name}"
            raise InputError(file, cause=cause, cure="name one of the files, not the folder")
    return tables


def _explain(path: Path, paths: list[Path], tables: list[Table], options: Options) -> None:
    """Raise InputError with the line to type if one of the tables holds events and the others describe them."""
    events, lines = [], []
    for file, table in zip(paths, tables, strict=True):
        names = {normalised(name) for name in table.sample.columns}
        has = {role for role in ("user", "item") if names & set(NAMES[role].split()[:ID_NAMES])}
        try:
            infer_roles(table.sample, options, str(file), has_header=table.has_header)
            events.append(file)
        except InputError:
            lines += [f"--{min(has)}s {quote(str(file))}"] if len(has) == 1 else []
    if len(events) == 1:
        cause = f"the folder holds {len(paths)} tables, of which {events[0].name} has events"
        raise InputError(path, cause=cause, cure=" ".join(["give", quote(str(events[0])), *lines]))


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
    constants: Mapping[str, str] = field(default_factory=dict)
    """Columns with the same cell in every row."""
    warnings: tuple[str, ...] = ()
    """What was mended."""

    @property
    def is_text(self) -> bool:
        """Whether it is a text table, in which a row without cells is a blank line."""
        return bool(self.delimiter)

    @property
    def first_row(self) -> int:
        """Number of the first row in messages: 2 for text with a header, else 1."""
        return 2 if self.has_header and self.is_text else 1


def _open(path: Path, options: Options, constants: Mapping[str, str] | None = None) -> Table:
    """Return an opened table; raises InputError where it is empty or cannot be parsed."""
    file, keep_alive = uncompressed(path)
    format = _format(path) or "text"
    constants = constants or {}
    added = [pl.lit(value).alias(name) for name, value in constants.items()]
    if format == "parquet":
        try:
            frame = pl.scan_parquet(file, glob=False, hive_partitioning=False).with_columns(added)
            sample = frame.head(SAMPLE).collect()
            return Table(path, frame, file, sample, True, "Parquet", keep_alive, constants=constants)
        except polars.exceptions.PolarsError as error:
            raise _unreadable(path, error) from error
    if format == "lines":
        if not file.stat().st_size:
            raise InputError(path, cause="the file is empty", cure="give a log with at least one row")
        sample = next(json_frames(file, path, None, SAMPLE, constants), pl.DataFrame())
        if not len(sample):
            raise InputError(path, cause="there are no events in it", cure="give a log with at least one row")
        return Table(path, None, file, sample, True, "JSON lines", keep_alive, constants=constants)
    check_lines(file, path)
    file, keep_rewritten, notes = as_utf8(file, path)
    found = layout(file, path, options)
    delimiter, has_header = found.delimiter, found.has_header
    file, keep_head, head_notes = mended_head(file, path, found)
    mended, keep_mended, warnings = mended_quotes(file, path, delimiter)
    try:
        frame = pl.scan_csv(mended, separator=delimiter, has_header=has_header, infer_schema=False, glob=False)
        frame = without_surplus(frame, path, found)
        names = frame.collect_schema().names()
        atomic = {name: typed[1] for name in names if (typed := atomic_files.COLUMN.fullmatch(name))}
        frame = (frame.rename(atomic) if len(atomic) == len(names) else frame).with_columns(added)
        sample = frame.head(SAMPLE).collect().filter(~pl.all_horizontal(pl.exclude(list(constants)).is_null()))
        repeats_header = [pl.col(name).eq_missing(pl.lit(name)) for name in names]
        sample = sample.filter(~pl.all_horizontal(repeats_header)) if atomic == {} else sample
    except polars.exceptions.PolarsError as error:
        raise broken_row_error(mended, path, delimiter) or _unreadable(path, error) from error
    if not len(sample):
        cause = "it has a header but no rows"
        raise broken_row_error(mended, path, delimiter) or InputError(
            path, cause=cause, cure="give a log with at least one row"
        )
    separators = {"\t": "tabs", ",": "commas"}.get(delimiter, repr(delimiter))
    note = f"text with {separators} between columns, {'with' if has_header else 'without'} a header"
    return Table(
        path,
        frame,
        mended,
        sample,
        has_header,
        note,
        (keep_alive, keep_rewritten, keep_head, keep_mended),
        delimiter=delimiter,
        constants=constants,
        warnings=(*notes, *head_notes, *warnings),
    )


def read_batches(tables: list[Table], names: list[str], select: list[pl.Expr]) -> Iterator[pl.DataFrame]:
    """Yield the named columns of all tables, turned into the columns of a log by `select`."""
    for table in tables:
        try:
            if table.frame is None:
                for frame in json_frames(table.file, table.path, names, constants=table.constants):
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


def feature_table(path: Path, options: Options) -> pl.DataFrame:
    """Return a table of features; raises InputError where the file cannot be read as a table."""
    table = _open(path, Options(delimiter=options.delimiter))
    if table.frame is not None:
        return table.frame.collect()
    return pl.concat(json_frames(table.file, path, None), how="diagonal_relaxed")


def with_features(log: Log, frames: Mapping[str, pl.DataFrame], options: Options) -> Log:
    """Return the log with these tables of "users" and "items" in place of its own, each with its id as by `with_id`."""
    for side, frame in frames.items():
        role = side.removesuffix("s")
        table, key = with_id(frame, role, log.column_names.get(role), options.id_columns.get(side))
        items, users = (table, log.users) if side == "items" else (log.items, table)
        log = replace(log, items=items, users=users, column_names={**log.column_names, side: key})
    return log
