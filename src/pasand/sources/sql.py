"""SQLite (a file or `sqlite:///PATH`) and PostgreSQL (`postgresql://...`); the events are the rows of a query or table.

Events with the same timestamp keep the order in which the database returns them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from pasand.data.encoding.column_roles import ColumnRoles, infer_roles
from pasand.data.log import BATCH, Log, Options
from pasand.errors import InputError
from pasand.sources.python_rows import column
from pasand.sources.tables import SAMPLE, first_line

POSTGRES = ("postgresql://", "postgres://")
TABLES = {
    "sqlite": "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' order by 1",
    "postgresql": "select table_name from information_schema.tables where table_schema = current_schema() order by 1",
}


def recognises(location: str) -> float:
    """Return 1 for database URLs and for files with the header of SQLite."""
    if location.startswith(("sqlite://", *POSTGRES)):
        return 1
    path = Path(location)
    if not path.is_file():
        return 0
    try:
        with path.open("rb") as file:
            return 1 if file.read(16) == b"SQLite format 3\0" else 0
    except OSError:
        return 0


def read(location: str, options: Options) -> Log:
    """Return the log of a query or table; the name of the table may be omitted where there is only one."""
    query = _query(location, options)
    with closing(_rows(location, query, SAMPLE)) as batches:
        sample = next(batches, None)
    if sample is None:
        raise InputError(
            _display_name(location), cause="the query returns no rows", cure="check it with the database's own tool"
        )
    column_roles = infer_roles(sample, options, _display_name(location))
    notes = (f"rows of {query}", *column_roles.notes)
    return Log(
        name=_display_name(location),
        events=partial(_batches, location, query, column_roles),
        values=column_roles.values,
        choice=column_roles.choice,
        order="time" if column_roles.time else "none",
        column_names=column_roles.column_names,
        notes=notes,
        unread=column_roles.unused,
    )


def _display_name(location: str) -> str:
    """Return the location without user and password, for messages; for SQLite the name of the file."""
    parts = urlsplit(location)
    if not location.startswith(POSTGRES):
        return Path(location.removeprefix("sqlite:///")).name
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _query(location: str, options: Options) -> str:
    """Return the SQL query for the events; raises InputError where the table must be named."""
    if options.query is not None and options.query.split()[1:]:
        return options.query
    table = options.table or options.query
    if table is None:
        kind = "postgresql" if location.startswith(POSTGRES) else "sqlite"
        frames = list(_rows(location, TABLES[kind], BATCH))
        names = frames[0].to_series().to_list() if frames else []
        if len(names) != 1:
            cause = f"the database has {len(names)} tables: {', '.join(names[:10])}" if names else "there are no tables"
            raise InputError(_display_name(location), cause=cause, cure="give a query, or name a table: --query NAME")
        table = names[0]
    return "select * from " + ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _batches(location: str, query: str, column_roles: ColumnRoles) -> Iterator[pl.DataFrame]:
    """Yield the rows with the columns of a log."""
    for frame in _rows(location, query, BATCH // 5):
        yield frame.select(column_roles.select())


def _rows(location: str, query: str, size: int) -> Generator[pl.DataFrame, None, None]:
    """Yield the rows of a query in frames of up to `size`; raises InputError with the error message of the database."""
    if location.startswith(POSTGRES):
        try:
            import psycopg
        except ImportError as error:
            cure = 'pip install "pasand[scale]"'
            raise InputError(_display_name(location), cause="psycopg is not installed", cure=cure) from error
        database_errors: tuple[type[Exception], ...] = (psycopg.Error,)
    else:
        database_errors = (sqlite3.Error,)
    try:
        if location.startswith(POSTGRES):
            # a named cursor is kept by the server, which then sends the rows in parts
            with psycopg.connect(location) as connection, connection.cursor(name="pasand") as cursor:
                cursor.execute(query.encode())
                yield from _frames(cursor, size, _display_name(location))
        else:
            path = Path(location.removeprefix("sqlite:///"))
            if not path.is_file():
                raise InputError(path, cause="there is no such file", cure="check the path")
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
                yield from _frames(database.execute(query), size, _display_name(location))
    except database_errors as error:
        cure = "check the address, the table and the query"
        raise InputError(
            _display_name(location), cause=f"the database reports: {first_line(error)}", cure=cure
        ) from error


def _frames(cursor: Any, size: int, where: str) -> Iterator[pl.DataFrame]:
    """Yield the rows of a cursor as frames of up to `size`; a statement that returns no rows yields none."""
    rows = cursor.fetchmany(size)
    if not rows and cursor.description is None:
        return
    names = [description[0] for description in cursor.description]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        cause = "the query returns two columns of this name"
        raise InputError(
            where, column=twice, cause=cause, cure=f'give one of them another name: select ... as "{twice}_2"'
        )
    while rows:
        cells = zip(*rows, strict=True)
        yield pl.DataFrame([column(name, list(part)) for name, part in zip(names, cells, strict=True)])
        rows = cursor.fetchmany(size)
