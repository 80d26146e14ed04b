"""Sources: readers of event logs, one file for each format, and `load`, which reads a log with the right one.

Every module of this folder that has the two functions of `Source` is a source; there is no other registry.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from pasand.data.dataset import Dataset, Values
from pasand.data.download import data_folder
from pasand.data.encoding.encode import encode
from pasand.data.encoding.unpacking import standard_input
from pasand.data.features import Kind
from pasand.data.log import Log, Options
from pasand.errors import InputError

CHOOSING = ("goodreads", "hm", "kuairec", "retailrocket", "sql", "steam", "tables", "yelp")
"""Sources whose rows and types of events can be chosen."""


class Source(Protocol):
    """Interface of a source module: two functions."""

    def recognises(self, location: str) -> float:
        """Return the confidence, 0 to 1, that a location (a path, database URL or name) has this format; must be cheap.

        1: certain from the name or the files; .5: a general format, which yields to specific ones; 0: another format.
        """

    def read(self, location: str, options: Options) -> Log:
        """Return the log at the location; raises InputError where it cannot be read."""


def sources() -> Mapping[str, Source]:
    """Return the source modules of this folder by name."""
    modules = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(loaded, "recognises") and hasattr(loaded, "read"):
            modules[module.name] = cast(Source, loaded)
    return modules


def open_log(location: str, options: Options | None = None) -> Log:
    """Return the log at a path or database URL or of a named data set, not yet encoded, with the chosen impressions.

    "-" is standard input, and a name that of a simulated world ("bollywood", "market") or of a folder in `data_folder`.
    `options.impressions` replaces the impressions of the source by another table, or by none. Raises InputError where
    the location does not exist or no source recognises it.
    """
    options = options or Options()
    if location == "-":
        file, keep_alive = standard_input()
        log = open_log(str(file), options)
        return replace(log, name="standard input", keep_alive=(*log.keep_alive, keep_alive))
    modules = sources()
    confidence = {name: module.recognises(location) for name, module in modules.items()}
    if not any(confidence.values()) and not Path(location).exists() and (data_folder() / location).is_dir():
        location = str(data_folder() / location)
        confidence = {name: module.recognises(location) for name, module in modules.items()}
    best = max(confidence, key=lambda name: confidence[name])
    if confidence[best] > 0:
        if best not in CHOOSING and (options.where or options.events or options.header is not None):
            given = "--where" if options.where else "--events" if options.events else "--no-header"
            cause = f"{location} has a layout of its own ({best}), of which every row is an event"
            raise InputError(given, cause=cause, cure=f"leave {given} out, or write the rows that you want to a table")
        log = described(modules[best].read(location, options), options)
        if options.impressions == "none":
            return replace(log, impressions=None)
        if options.impressions is not None:
            from pasand.sources.impression_tables import impression_table

            return replace(log, impressions=impression_table(options.impressions, options))
        return log
    if "://" in location:
        cure = "give sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        raise InputError(location.split("@")[-1], cause="no source reads this kind of database", cure=cure)
    if Path(location).is_dir():
        raise InputError(
            location, cause="this folder has no data set that pasand can read", cure="name the file of events"
        )
    if Path(location).exists():
        cure = (
            "give CSV, TSV, Parquet, JSON lines, a JSON array (each also .gz, .bz2, .xz or .zip), .inter or SQLite, "
            "with the usual file extension"
        )
        raise InputError(location, cause="no source reads this kind of file", cure=cure)
    if re.fullmatch(r"[a-z0-9-]+", location):
        cure = f"download it: pasand data get {location}; or give a path"
        cause = "there is no such path, and no data set of this name has been downloaded"
        raise InputError(location, cause=cause, cure=cure)
    raise InputError(location, cause="there is no such file or folder", cure="check the path")


def described(log: Log, options: Options) -> Log:
    """Return the log with the tables of items and users that were named, in place of its own."""
    from pasand.sources.tables import feature_table, with_features

    named = {"items": options.items, "users": options.users}
    frames = {side: feature_table(Path(file), options) for side, file in named.items() if file is not None}
    return with_features(log, frames, options)


def load(
    source: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    value: str | None = None,
    values: Values | None = None,
    time_format: str | None = None,
    events: Mapping[str, float] | None = None,
    event: str | None = None,
    where: str | Sequence[str] = (),
    header: bool | None = None,
    items: str | Path | None = None,
    users: str | Path | None = None,
    id_columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    kinds: Mapping[str, Kind] | None = None,
    query: str | None = None,
    table: str | None = None,
    positive_from: float | None = None,
    bad_rows: float = 0.05,
    keep_duplicates: bool = False,
    impressions: str | Path | None = None,
    impression_columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Return the dataset at a path or database URL or of a name; settings left at None are inferred, and noted in it.

    Parameters as in `Options`. Raises InputError where it cannot be read.
    """
    options = Options(
        user=user,
        item=item,
        time=time,
        value=value,
        values=values,
        time_format=time_format,
        events=events or {},
        event=event,
        where=(where,) if isinstance(where, str) else tuple(where),
        header=header,
        items=None if items is None else str(items),
        users=None if users is None else str(users),
        id_columns=id_columns or {},
        delimiter=delimiter,
        kinds=kinds or {},
        query=query,
        table=table,
        positive_from=positive_from,
        bad_rows=bad_rows,
        keep_duplicates=keep_duplicates,
        impressions=None if impressions is None else str(impressions),
        impression_columns=impression_columns or {},
    )
    return encode(open_log(str(source), options), options)
