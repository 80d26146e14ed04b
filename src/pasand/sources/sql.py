"""Databases: a SQLite file or `sqlite:///PATH`, and `postgresql://...`; the events are a query's rows or a table's.

Events of one moment stand in the order in which the database returns them.
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

from pasand.data.encoding.column_roles import Roles, roles
from pasand.data.log import BATCH, Log, Options
from pasand.errors import InputError
from pasand.sources.tables import SAMPLE, column

POSTGRES = ("postgresql://", "postgres://")
TABLES = {
    "sqlite": "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' order by 1",
    "postgresql": "select table_name from information_schema.tables where table_schema = current_schema() order by 1",
}


def recognises(place: str) -> float:
    """Return 1 for database URLs and for files that begin as SQLite's do."""
    if place.startswith(("sqlite://", *POSTGRES)):
        return 1
    path = Path(place)
    if not path.is_file():
        return 0
    try:
        with path.open("rb") as file:
            return 1 if file.read(16) == b"SQLite format 3\0" else 0
    except OSError:
        return 0


def read(place: str, options: Options) -> Log:
    """Return the log of a query or table; a table need not be named where there is only one."""
    query = _query(place, options)
    with closing(_rows(place, query, SAMPLE)) as batches:
        sample = next(batches, None)
    if sample is None:
        raise InputError(_shown(place), cause="the query returns no rows", cure="check it with the database's own tool")
    meaning = roles(sample, options, _shown(place))
    notes = (f"rows of {query}", *meaning.notes)
    return Log(
        name=_shown(place),
        events=partial(_batches, place, query, meaning),
        values=meaning.values,
        order="time" if meaning.time else "none",
        named=meaning.named,
        notes=notes,
    )


def _shown(place: str) -> str:
    """Return the place without its password."""
    parts = urlsplit(place)
    if not place.startswith(POSTGRES):
        return Path(place.removeprefix("sqlite:///")).name
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _query(place: str, options: Options) -> str:
    """Return the query for the events."""
    if options.query is not None and options.query.split()[1:]:
        return options.query
    table = options.table or options.query
    if table is None:
        kind = "postgresql" if place.startswith(POSTGRES) else "sqlite"
        frames = list(_rows(place, TABLES[kind], BATCH))
        names = frames[0].to_series().to_list() if frames else []
        if len(names) != 1:
            cause = f"the database has {len(names)} tables: {', '.join(names[:10])}" if names else "there are no tables"
            raise InputError(_shown(place), cause=cause, cure="give a query, or name a table: --query NAME")
        table = names[0]
    return "select * from " + ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _batches(place: str, query: str, meaning: Roles) -> Iterator[pl.DataFrame]:
    """Yield the rows under the columns of a log."""
    for frame in _rows(place, query, BATCH // 5):
        yield frame.select(meaning.select())


def _rows(place: str, query: str, size: int) -> Generator[pl.DataFrame, None, None]:
    """Yield the rows of a query, so many a frame; raises InputError with what the database says."""
    if place.startswith(POSTGRES):
        try:
            import psycopg
        except ImportError as error:
            cure = 'pip install "pasand[scale]"'
            raise InputError(_shown(place), cause="psycopg is not installed", cure=cure) from error
        faults: tuple[type[Exception], ...] = (psycopg.Error,)
    else:
        faults = (sqlite3.Error,)
    try:
        if place.startswith(POSTGRES):
            # a cursor with a name stays in the server, which then sends the rows in parts
            with psycopg.connect(place) as connection, connection.cursor(name="pasand") as cursor:
                cursor.execute(query.encode())
                yield from _frames(cursor, size)
        else:
            path = Path(place.removeprefix("sqlite:///"))
            if not path.is_file():
                raise InputError(path, cause="there is no such file", cure="check the path")
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
                yield from _frames(base.execute(query), size)
    except faults as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        cure = "check the address, the table and the query"
        raise InputError(_shown(place), cause=f"the database says: {said}", cure=cure) from error


def _frames(cursor: Any, size: int) -> Iterator[pl.DataFrame]:
    """Yield what a cursor returns as frames."""
    rows = cursor.fetchmany(size)
    if not rows and cursor.description is None:
        return
    names = [described[0] for described in cursor.description]
    while rows:
        cells = zip(*rows, strict=True)
        yield pl.DataFrame([column(name, list(part)) for name, part in zip(names, cells, strict=True)])
        rows = cursor.fetchmany(size)
