"""`Log` and `ImpressionTable`: data of a source with external ids, before encoding; `Options`: how to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import polars as pl

from pasand.data.dataset import Order, Values
from pasand.data.encoding.chosen_rows import Choice
from pasand.data.encoding.times import TimeFormat
from pasand.data.features import Kind
from pasand.errors import InputError

Batches: TypeAlias = Callable[[], Iterator[pl.DataFrame]]
"""Function that yields all events again at each call, in their order, in frames small enough for memory."""

BATCH = 250_000
"""Number of events held as text at a time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """User's choices for reading a log. None: infer from the data."""

    user: str | None = None
    """Name of the column with the user."""
    item: str | None = None
    """Name of the column with the item."""
    time: str | None = None
    """Name of the column with the time."""
    value: str | None = None
    """Name of the column with the rating or strength."""
    values: Values | None = None
    """Meaning of the value."""
    time_format: str | None = None
    """How times are written: dmy or mdy, a unit such as milliseconds, spreadsheet, or a pattern such as %d/%m/%Y."""
    events: Mapping[str, float] = field(default_factory=dict)
    """Weights of types of events, such as {"purchase": 3}, which are then the values; other types are left out."""
    event: str | None = None
    """Name of the column with the type of the event."""
    where: tuple[str, ...] = ()
    """Conditions that a row must meet to be an event, such as "event = purchase"."""
    header: bool | None = None
    """Whether the first line of a text file names the columns."""
    items: str | None = None
    """Table of items with their features, a file."""
    users: str | None = None
    """Table of users with their features, a file."""
    id_columns: Mapping[str, str] = field(default_factory=dict)
    """Names of the columns of these tables that hold the ids, by "items" and "users"."""
    delimiter: str | None = None
    """Character between the columns of a text file."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Kinds of features, by name."""
    query: str | None = None
    """Query whose rows are the events of a database."""
    table: str | None = None
    """Table whose rows are the events of a database."""
    positive_from: float | None = None
    """Lowest value of a positive event."""
    bad_rows: float = 0.05
    """Share of bad rows, in [0, 1], above which the log is rejected."""
    keep_duplicates: bool = False
    """Whether rows that repeat another one in all columns that are read are events of their own."""
    impressions: str | None = None
    """Table of impressions, a file or a folder; None: those of the source, if any; "none": no impressions at all."""
    impression_columns: Mapping[str, str] = field(default_factory=dict)
    """Names of the columns of that table, by role: user, clicked, propensity ..."""

    def __post_init__(self) -> None:
        if not 0 <= self.bad_rows <= 1:
            raise ValueError(f"bad_rows must be between 0 and 1, got {self.bad_rows}")
        if self.time_format is not None:
            TimeFormat.named(self.time_format)
        if self.values not in (None, "rating", "strength", "none"):
            raise ValueError(f"values must be rating, strength or none, got {self.values}")


@dataclass(frozen=True, kw_only=True)
class ImpressionTable:
    """A table of impressions before it is encoded."""

    name: str
    """Name of the table in messages."""
    frames: Batches
    """Columns `user`, `item`, `time`, and `clicked` or `watched_seconds`; optionally `position`, `propensity` and extra
    numeric columns. Cells are as in a `Log`; `clicked` is 0 or 1, true or false."""
    column_names: Mapping[str, str] = field(default_factory=dict)
    """Original name of each of these columns, for messages."""
    first_row: int = 1
    """Number of the first row in messages."""
    blank_lines: bool = False
    """Whether a row without any cell is a blank line, which is skipped."""
    distinct: bool = False
    """Whether the impressions are known to have no duplicates."""
    notes: tuple[str, ...] = ()
    """Sentences about the meaning of each column."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log before it is encoded; `pasand.data.encoding.encode.encode` turns it into a `Dataset`."""

    name: str
    """Name of the data in reports and messages."""
    events: pl.LazyFrame | Batches
    """Columns `user`, `item`, and where the log has them `time` and `value`; all other columns must hold numbers.

    Ids may be text, whole numbers or floats (12.0 is id "12"). Time may be numbers since 1970 in seconds, milli-,
    micro- or nanoseconds (the unit is inferred from the magnitude), dates, datetimes (UTC where no zone is given) or
    ISO text. Values may be numbers or text of numbers.
    """
    values: Values = "none"
    """Meaning of the value."""
    choice: Choice = field(default_factory=Choice)
    """Which rows are events; its columns are in `events` as `Choice.select` copies them; weights give the values."""
    order: Order = "time"
    """Meaning of the order of events; "time" needs a column `time`."""
    users: pl.DataFrame | None = None
    """Column `id` and a column per feature; users without events or impressions are left out."""
    items: pl.DataFrame | None = None
    """Column `id` and a column per feature; its items are in the catalogue, with or without events."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Kinds of features, by name; the kinds of the others are inferred from their values."""
    positive_from: float | None = None
    """Lowest value of a positive event, where the source fixes it; None: three quarters of the observed scale."""
    column_names: Mapping[str, str] = field(default_factory=dict)
    """Original names of `user`, `item`, `time` and `value`, for messages; by "users" and "items", of the `id` of these
    tables."""
    first_row: int = 1
    """Number of the first event in messages."""
    blank_lines: bool = False
    """Whether a row without any cell is a blank line, which is skipped."""
    notes: tuple[str, ...] = ()
    """Sentences about how the source was read: which column is which."""
    unread: tuple[str, ...] = ()
    """Columns of the source that are not read, in which rows that are otherwise equal may differ."""
    impressions: ImpressionTable | None = None
    """Impressions; their users and items belong to the data, with or without events."""
    keep_alive: tuple[object, ...] = ()
    """Objects that must live as long as the log, such as temporary folders."""

    def batches(self, size: int = BATCH) -> Iterator[pl.DataFrame]:
        """Yield frames of events, in order, from the first; about `size` events each where the source can choose."""
        if isinstance(self.events, pl.LazyFrame):
            try:
                yield from self.events.collect_batches(chunk_size=size, maintain_order=True)
            except pl.exceptions.PolarsError as error:
                cause = f"it cannot be read: {str(error).splitlines()[0]}"
                raise InputError(self.name, cause=cause, cure="check the file") from error
        else:
            yield from self.events()
