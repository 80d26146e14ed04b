"""Tables of impressions in CSV, TSV, Parquet or JSON lines, a file or a folder, that accompany a log of events."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import polars as pl

from pasand.data.encoding.column_roles import NAMES as EVENT_NAMES
from pasand.data.encoding.column_roles import is_numeric
from pasand.data.encoding.impressions import STANDARD
from pasand.data.log import ImpressionTable, Options
from pasand.errors import InputError
from pasand.sources.tables import open_tables, read_batches, table_files

NAMES = {
    **{role: EVENT_NAMES[role] for role in ("user", "item", "time")},
    "position": "position pos place rank slot index",
    "clicked": "taken clicked click isclick clicks istaken chosen played watched bought converted response label y",
    "watched_seconds": "watchedseconds watchseconds seconds watchtime playtime dwell dwelltime",
    "propensity": "propensity propensityscore pscore probability prob",
}
"""Column names of each role, best first, compared by letters and digits alone."""


OF_EVALUATION = ("slot_propensity", "list_propensity")
"""Columns that counterfactual evaluation alone reads."""


def impression_table(location: str, options: Options) -> ImpressionTable:
    """Return the impressions at a path; raises InputError for an invalid table, or one without user, item or time.

    Roles follow from the names of the columns; `options.impression_columns` overrides them. Clicks are given by a
    column, or follow from the seconds watched.
    """
    path = Path(location)
    if not path.exists():
        raise InputError(location, cause="there is no such file or folder of impressions", cure="check the path")
    tables = open_tables(path, table_files(path) if path.is_dir() else [path], options, "impressions")
    first = tables[0]
    columns = first.sample.columns
    if not first.has_header:
        cause = "a table of impressions needs a header that names its columns"
        raise InputError(
            location, row=1, value=", ".join(columns)[:80], cause=cause, cure="write one: user,item,time,..."
        )
    column_names = _columns_by_role(first.sample, options, location)
    free = [name for name in columns if name not in column_names.values()]
    extra = [name for name in free if name not in OF_EVALUATION and is_numeric(first.sample[name])]
    unused = [name for name in free if name not in extra]
    notes = [f"impressions: {warning}" for table in tables for warning in table.warnings]
    notes += ["impressions: " + ", ".join(f"{role} is column {name!r}" for role, name in column_names.items())]
    notes += [f"impressions, extra numeric columns: {', '.join(extra)}"] * bool(extra)
    notes += [f"impressions, not used: {', '.join(unused)}"] * bool(unused)
    select = [pl.col(name).alias(role) for role, name in column_names.items()] + [pl.col(name) for name in extra]
    return ImpressionTable(
        name=str(path),
        frames=partial(read_batches, tables, [*column_names.values(), *extra], select),
        column_names=column_names,
        first_row=first.first_row,
        blank_lines=first.is_text,
        notes=tuple(notes),
    )


def _columns_by_role(sample: pl.DataFrame, options: Options, location: str) -> dict[str, str]:
    """Return the name of the column of each role; raises InputError for an unknown role or column, or a missing one."""
    given = dict(options.impression_columns)
    for role, name in given.items():
        if role not in STANDARD:
            cause = "impressions have no such column"
            raise InputError(location, value=role, cause=cause, cure="use " + ", ".join(STANDARD))
        if name not in sample.columns:
            cause = f"there is no column {name!r}; there are {', '.join(sample.columns)}"
            raise InputError(location, cause=cause, cure=f"name one of them: --column impressions.{role}=NAME")
    column_names: dict[str, str] = {}
    free = [name for name in sample.columns if name not in given.values()]
    for role in STANDARD:
        if role in given:
            column_names[role] = given[role]
            continue
        spellings = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(free)}
        found = next((spellings[name] for name in NAMES[role].split() if name in spellings), None)
        if found is not None:
            column_names[role] = found
            free.remove(found)
    for role in STANDARD[:3]:
        if role not in column_names:
            cause = f"no column of the impressions looks like the {role}; there are {', '.join(sample.columns)}"
            raise InputError(location, cause=cause, cure=f"name the column: --column impressions.{role}=NAME")
    return column_names
