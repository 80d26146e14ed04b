"""Attribution: which logged impressions were clicked, found by joining them with the events that followed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

from pasand.errors import InputError
from pasand.serving.logs.impressions import hash_user
from pasand.serving.logs.segments import log_files
from pasand.serving.states.contract import Event
from pasand.serving.states.undone import without_undone

WEEK = 7 * 86_400
"""Seconds of a week."""
KEY = ["request_id", "user", "item", "position", "shown"]
"""Columns that identify an impression; `shown` is its time."""


class Counts(NamedTuple):
    """Numbers of impressions in a table."""

    impressions: int
    clicked: int


def attribute(
    folder: str | Path, events: Iterable[Event], out: str | Path, *, window: int = WEEK, secret: bytes | None = None
) -> Counts:
    """Write the impressions of a log with a column `clicked` as a Parquet table for `load(..., impressions=...)`.

    An event is attributed to the latest impression of its user and item that was shown at its time or up to `window`
    seconds before. If it names the response that it came from, it is attributed to that response's impression or to
    none. Events that were undone do not count. If several events are attributed to one impression, the longest watch
    time counts. If a stage drew any items
    at random, impressions that were not drawn get propensity 1, since they were certain to be shown. If the log's users
    are hashed, pass its `secret`; the table's users are then hashed, and the event log that it is loaded with must use
    the same hashes (`impressions.hash_user`).

    The impressions may exceed the memory; the events may not. Raises InputError if there are no impressions, or the
    table cannot be written.
    """
    files = log_files(Path(folder))
    if not files:
        raise InputError(folder, cause="it holds no impressions", cure="name the folder that a server logs to")
    if window < 0:
        raise ValueError(f"window must be at least 0, got {window}")
    part = Path(out).with_name(f"{Path(out).name}.part")
    try:
        # files of earlier versions lack columns, and have propensities in single precision
        scans = [pl.scan_parquet(path, glob=False) for path in files]
        log = pl.concat(scans, how="diagonal_relaxed").rename({"time": "shown"})
        clicked = _clicked(log, _event_table(events, secret), window)
        table = _with_labels(log, clicked).rename({"shown": "time"})
        table.sink_parquet(part, compression="zstd")
        part.replace(out)
    except (OSError, pl.exceptions.PolarsError) as error:
        part.unlink(missing_ok=True)
        cause = f"the log cannot be read or the table cannot be written: {error}"
        raise InputError(out, cause=cause, cure="make room, or try again if the log just changed") from None
    counts = pl.scan_parquet(out, glob=False).select(pl.len(), pl.col("clicked").sum()).collect()
    return Counts(*counts.row(0))


def _event_table(events: Iterable[Event], secret: bytes | None) -> pl.DataFrame:
    """Return the events as a table with one row each, without rejections, undone events and those that undo others.

    Users are hashed if there is a secret.
    """
    rows = [msgspec.structs.astuple(event)[:7] for event in without_undone(list(events)) if not event.disliked]
    names = ("id", "user", "item", "time", "value", "request_id", "watched_seconds")
    types = (pl.String, pl.String, pl.String, pl.Int64, pl.Float64, pl.String, pl.Float32)
    table = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row").drop("value")
    if secret is not None:
        users = [hash_user(user, secret) for user in table["user"]]
        table = table.with_columns(pl.Series("user", users, pl.String))
    return table


def _clicked(log: pl.LazyFrame, events: pl.DataFrame, window: int) -> pl.DataFrame:
    """Return the clicked impressions, by `KEY`, with the longest watch time of their events."""
    pairs = events.select("user", "item").unique().lazy()
    shown = log.select(KEY).join(pairs, on=["user", "item"], how="semi").collect(engine="streaming").sort("shown")
    with_request = events.filter(pl.col("request_id").is_not_null())
    delay = pl.col("time") - pl.col("shown")
    by_request = (
        with_request.join(shown, on=["request_id", "user", "item"])
        .filter((delay >= 0) & (delay <= window))
        .sort("shown", "position")
        .unique("id", keep="last")
    )
    by_time = (
        events.filter(pl.col("request_id").is_null())
        .drop("request_id")
        .sort("time")
        .join_asof(
            shown.sort("shown", "position"),
            left_on="time",
            right_on="shown",
            by=["user", "item"],
            strategy="backward",
            tolerance=window,
            coalesce=False,
            check_sortedness=False,  # both were sorted just now
        )
        .filter(pl.col("shown").is_not_null())
    )
    columns = [*KEY, "watched_seconds"]
    both = pl.concat([by_request.select(columns), by_time.select(columns)])
    return both.group_by(KEY).agg(pl.col("watched_seconds").max())


def _with_labels(log: pl.LazyFrame, clicked: pl.DataFrame) -> pl.LazyFrame:
    """Return the log with the columns `clicked`, `watched_seconds` and those of propensities.

    All but the first are missing if none of their values is known.
    """
    marked = clicked.with_columns(clicked=pl.lit(True)).lazy()
    table = log.join(marked, on=KEY, how="left", maintain_order="left").with_columns(pl.col("clicked").fill_null(False))
    if clicked["watched_seconds"].is_not_null().any():
        watched = pl.when("clicked").then("watched_seconds").otherwise(0.0)
        table = table.with_columns(watched_seconds=watched.cast(pl.Float32))
    else:
        table = table.drop("watched_seconds")
    drawn = log.select(pl.col("propensity").is_not_null().any()).collect().item()
    further = ["slot_propensity", "list_propensity"]
    if not drawn:
        return table.drop("propensity", *further, strict=False)
    if "slot_propensity" in log.collect_schema().names():
        certain = pl.col("propensity").is_null()  # nothing of the list was drawn
        table = table.with_columns(pl.when(certain).then(1.0).otherwise(pl.col(*further)).name.keep())
    return table.with_columns(pl.col("propensity").fill_null(1.0))
