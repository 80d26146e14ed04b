"""Folders of published data sets: the events by the general reader, with the tables of items and users beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from pasand.data.encoding.column_roles import with_id
from pasand.data.encoding.text_files import find_file
from pasand.data.log import Log, Options
from pasand.sources import tables


def events_file(location: str, *names: str) -> Path | None:
    """Return the first file of these names in a folder, or in its folder `data`; None for anything else."""
    folder = Path(location)
    return find_file(folder, *names) or find_file(folder / "data", *names) if folder.is_dir() else None


def columns(path: Path | None, role: str, names: Sequence[str]) -> pl.DataFrame | None:
    """Return those of these columns that a table has, with the column "id"; None without a table."""
    if path is None:
        return None
    table, _ = with_id(tables.feature_table(path, Options()), role)
    return table.select("id", *[name for name in names if name in table.columns])


def log(file: Path, options: Options, items: pl.DataFrame | None, users: pl.DataFrame | None, *notes: str) -> Log:
    """Return the log of a file of events with these features of items and users, and notes on what was chosen."""
    read = tables.read(str(file), options)
    name = file.parent.parent.name if file.parent.name == "data" else file.parent.name
    return replace(read, name=name, items=items, users=users, notes=(*read.notes, *notes))
