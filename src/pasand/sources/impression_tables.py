"""Tables of impressions: CSV, TSV, Parquet and JSON lines, a file or a folder of them, beside the log of events."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import polars as pl

from pasand.data.encoding.column_roles import NAMES as EVENT_NAMES
from pasand.data.encoding.column_roles import numeric
from pasand.data.encoding.impressions import STANDARD
from pasand.data.log import ImpressionTable, Options
from pasand.errors import InputError
from pasand.sources.tables import batches_of, tables_in, tables_of

NAMES = {
    **{role: EVENT_NAMES[role] for role in ("user", "item", "time")},
    "position": "position pos place rank slot index",
    "clicked": "taken clicked click isclick clicks istaken chosen played watched bought converted response label y",
    "watched_seconds": "watchedseconds watchseconds seconds watchtime playtime dwell dwelltime",
    "propensity": "propensity propensityscore pscore probability prob",
}
"""Names that say what a column is, best first; letters and digits alone count."""


def impression_table(place: str, options: Options) -> ImpressionTable:
    """Return the impressions at a path; raises InputError for what is no table or lacks a user, item or time.

    `options.impression_columns` overrides what names tell. Whether something was taken must be told by a column, or
    follow from the seconds watched.
    """
    path = Path(place)
    if not path.exists():
        raise InputError(place, cause="there is no such file or folder of impressions", cure="check the path")
    tables = tables_of(path, tables_in(path) if path.is_dir() else [path], options, "impressions")
    first = tables[0]
    columns = first.sample.columns
    if not first.headed:
        cause = "a table of impressions needs a header that names its columns"
        raise InputError(place, row=1, value=", ".join(columns)[:80], cause=cause, cure="write one: user,item,time,...")
    named = _named(first.sample, options, place)
    free = [name for name in columns if name not in named.values()]
    further = [name for name in free if numeric(first.sample[name])]
    left = [name for name in free if name not in further]
    notes = ["impressions: " + ", ".join(f"{role} is column {name!r}" for role, name in named.items())]
    notes += [f"impressions, further numbers: {', '.join(further)}"] * bool(further)
    notes += [f"impressions, not used: {', '.join(left)}"] * bool(left)
    select = [pl.col(name).alias(role) for role, name in named.items()] + [pl.col(name) for name in further]
    return ImpressionTable(
        name=str(path),
        frames=partial(batches_of, tables, [*named.values(), *further], select),
        named=named,
        first_row=first.first_row,
        notes=tuple(notes),
    )


def _named(sample: pl.DataFrame, options: Options, place: str) -> dict[str, str]:
    """Return the columns' names by role."""
    told = dict(options.impression_columns)
    for role, name in told.items():
        if role not in STANDARD:
            cause = "no such part of an impression"
            raise InputError(place, value=role, cause=cause, cure="use " + ", ".join(STANDARD))
        if name not in sample.columns:
            cause = f"there is no column {name!r}; there are {', '.join(sample.columns)}"
            raise InputError(place, cause=cause, cure=f"name one of them: --column impressions.{role}=NAME")
    named: dict[str, str] = {}
    free = [name for name in sample.columns if name not in told.values()]
    for role in STANDARD:
        if role in told:
            named[role] = told[role]
            continue
        spelt = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(free)}
        found = next((spelt[name] for name in NAMES[role].split() if name in spelt), None)
        if found is not None:
            named[role] = found
            free.remove(found)
    for role in STANDARD[:3]:
        if role not in named:
            cause = f"no column of the impressions looks like the {role}; there are {', '.join(sample.columns)}"
            raise InputError(place, cause=cause, cure=f"name the column: --column impressions.{role}=NAME")
    return named
