"""Formats that a log may come in, one file each; the folder is the register.

A file of this folder is a source when it has the two functions of `Source`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from pasand.data.dataset import Dataset, Values
from pasand.data.encoding.encode import encode
from pasand.data.features import Kind
from pasand.data.log import Log, Options
from pasand.errors import InputError


class Source(Protocol):
    """What a file of this folder promises: two functions."""

    def recognises(self, place: str) -> float:
        """Return how surely the place (a path, a database URL, a name) is of this format, 0 to 1; it must be cheap.

        1: certain, by its name or its files; .5: a general format that more special ones go before; 0: not.
        """

    def read(self, place: str, options: Options) -> Log:
        """Return the log that is there; raises InputError where it cannot."""


def sources() -> Mapping[str, Source]:
    """Return the sources of this folder by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(loaded, "recognises") and hasattr(loaded, "read"):
            found[module.name] = cast(Source, loaded)
    return found


def folder_of_data() -> Path:
    """Return the folder where downloaded data sets lie: PASAND_DATA, or pasand in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("PASAND_DATA", cache / "pasand"))


def open_log(place: str, options: Options | None = None) -> Log:
    """Return the log at a path, a database URL or under a name, before it is encoded, with the impressions told.

    A name is a world that pasand makes itself ("bollywood") or a folder of `folder_of_data`. Raises InputError where
    nothing is there, or nothing that a source recognises.
    """
    options = options or Options()
    members = sources()
    sure = {name: member.recognises(place) for name, member in members.items()}
    if not any(sure.values()) and not Path(place).exists() and (folder_of_data() / place).is_dir():
        place = str(folder_of_data() / place)
        sure = {name: member.recognises(place) for name, member in members.items()}
    best = max(sure, key=lambda name: sure[name])
    if sure[best] > 0:
        log = members[best].read(place, options)
        if options.impressions == "none":
            return replace(log, impressions=None)
        if options.impressions is not None:
            from pasand.sources.impression_tables import impression_table

            return replace(log, impressions=impression_table(options.impressions, options))
        return log
    if "://" in place:
        cure = "give sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        raise InputError(place.split("@")[-1], cause="no source knows this kind of database", cure=cure)
    if Path(place).is_dir():
        raise InputError(place, cause="this folder is no data set that pasand knows", cure="name the file of events")
    if Path(place).exists():
        cure = "give CSV, TSV, Parquet, JSON lines (each also .gz) or SQLite, with the usual ending of its name"
        raise InputError(place, cause="no source knows this kind of file", cure=cure)
    if re.fullmatch(r"[a-z0-9-]+", place):
        cure = f"fetch it: pasand data get {place}; or name a path"
        raise InputError(place, cause="there is no such path, and no data set of this name has been fetched", cure=cure)
    raise InputError(place, cause="there is no such file or folder", cure="check the path")


def load(
    source: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    value: str | None = None,
    values: Values | None = None,
    delimiter: str | None = None,
    kinds: Mapping[str, Kind] | None = None,
    query: str | None = None,
    table: str | None = None,
    positive_from: float | None = None,
    bad_rows: float = 0.05,
    impressions: str | Path | None = None,
    impression_columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Return the dataset at a path, a database URL or under a name; what is not told is found out, and noted in it.

    Parameters as in `Options`. Raises InputError where it cannot be read.
    """
    options = Options(
        user=user,
        item=item,
        time=time,
        value=value,
        values=values,
        delimiter=delimiter,
        kinds=kinds or {},
        query=query,
        table=table,
        positive_from=positive_from,
        bad_rows=bad_rows,
        impressions=None if impressions is None else str(impressions),
        impression_columns=impression_columns or {},
    )
    return encode(open_log(str(source), options), options)
