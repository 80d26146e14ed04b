"""Logs that are tables in memory: data frames of polars, pandas or Arrow, with the same rules as files."""

from __future__ import annotations

from typing import Any

import polars as pl

from pasand.data.encoding.column_roles import infer_roles
from pasand.data.log import Log, Options
from pasand.errors import InputError
from pasand.sources.tables import SAMPLE, with_features


def is_frame(source: object) -> bool:
    """Return whether an object is a table: of polars, pandas, Arrow or anything with Arrow's table interface."""
    kinds = ("DataFrame", "LazyFrame", "Table", "RecordBatch")
    return type(source).__name__ in kinds or hasattr(source, "__arrow_c_stream__")


def as_polars(frame: Any) -> pl.DataFrame:
    """Return a table of any kind as one of polars; raises InputError where it is none.

    An index of pandas is left out unless it has a name.
    """
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        if type(frame).__module__.startswith("pandas"):
            named = any(name is not None for name in frame.index.names)
            return pl.from_pandas(frame.reset_index() if named else frame)
        return pl.DataFrame(frame)
    except (ImportError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        cause = f"a {type(frame).__name__} that is no table ({error})"
        raise InputError("data", cause=cause, cure="give a path, or a data frame with a row for each event") from error


def read(frame: Any, options: Options, name: str = "data frame") -> Log:
    """Return the log of a table with a row for each event; columns are recognised as in files.

    Raises InputError where a column for the user or the item is missing.
    """
    table = as_polars(frame)
    if not len(table):
        raise InputError(name, cause="the table has no rows", cure="give a table with a row for each event")
    roles = infer_roles(table.head(SAMPLE), options, name)
    return Log(
        name=name,
        events=lambda: iter([table.select(roles.select())]),
        values=roles.values,
        choice=roles.choice,
        order="time" if roles.time else "none",
        column_names=roles.column_names,
        notes=roles.notes,
        unread=roles.unused,
    )


def with_tables(log: Log, items: Any, users: Any, options: Options) -> Log:
    """Return the log with tables in memory that describe its items and users; None: none."""
    given = {"items": items, "users": users}
    return with_features(log, {side: as_polars(one) for side, one in given.items() if one is not None}, options)


def roles(frame: pl.DataFrame, where: str) -> dict[str, str]:
    """Return the columns of the user and the item of a table, by role; raises InputError where one is missing."""
    found = infer_roles(frame.head(SAMPLE), Options(values="none"), where)
    return {"user": found.user, "item": found.item}
