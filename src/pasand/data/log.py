"""What a source gives: events with external ids, and what the source knows of users and items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import polars as pl

from pasand.data.dataset import Order, Values
from pasand.data.features import Kind
from pasand.errors import InputError

Batches: TypeAlias = Callable[[], Iterator[pl.DataFrame]]
"""Gives the events anew at each call, in their order, in frames small enough for memory."""

BATCH = 250_000
"""Events that are held as text at a time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person may say about a log instead of leaving it to be found out; None: find out."""

    user: str | None = None
    """Name of the column with the user."""
    item: str | None = None
    """Name of the column with the item."""
    time: str | None = None
    """Name of the column with the time."""
    value: str | None = None
    """Name of the column with the rating or strength."""
    values: Values | None = None
    """What the value means."""
    delimiter: str | None = None
    """Character between the columns of a text file."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Kinds of features, by name."""
    query: str | None = None
    """Query whose rows are the events of a database."""
    table: str | None = None
    """Table whose rows are the events of a database."""
    positive_from: float | None = None
    """Value from which an event is a liking."""
    bad_rows: float = 0.05
    """Share of bad rows, in [0, 1], above which the log is refused."""
    impressions: str | None = None
    """Table of what was shown, a file or a folder; "none": not even what the source has; None: what it has."""
    impression_columns: Mapping[str, str] = field(default_factory=dict)
    """Names of the columns of that table, by what they are: user, taken, propensity ..."""

    def __post_init__(self) -> None:
        if not 0 <= self.bad_rows <= 1:
            raise ValueError(f"bad_rows must be between 0 and 1, got {self.bad_rows}")
        if self.values not in (None, "rating", "strength", "none"):
            raise ValueError(f"values must be rating, strength or none, got {self.values}")


@dataclass(frozen=True, kw_only=True)
class ImpressionTable:
    """A table of impressions before it is encoded."""

    name: str
    """How it calls itself in messages."""
    frames: Batches
    """Columns `user`, `item`, `time`, `clicked` or `watched_seconds`, and where there are any `position`, `propensity`
    and further numbers; cells as in a `Log`, `clicked` 0 or 1, true or false."""
    named: Mapping[str, str] = field(default_factory=dict)
    """What the table itself calls these columns, for messages."""
    first_row: int = 1
    """Number by which messages call the first row."""
    distinct: bool = False
    """Whether it is known that no impression comes twice."""
    notes: tuple[str, ...] = ()
    """What was taken for what, in sentences."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log before it is encoded; `pasand.data.encoding.encode.encode` makes a `Dataset` of it."""

    name: str
    """How the data call themselves in outputs."""
    events: pl.LazyFrame | Batches
    """Columns `user`, `item`, and where the log has them `time` and `value`; every other column must hold numbers.

    Ids may be text, whole numbers or floats (12.0 is id "12"). Time may be numbers since 1970 in seconds, milli-,
    micro- or nanoseconds (the unit is found by magnitude), dates, datetimes (UTC where no zone is given) or ISO text.
    Values may be numbers or text of numbers.
    """
    values: Values = "none"
    """What the value means."""
    order: Order = "time"
    """What the order of events means; "time" needs a column `time`."""
    users: pl.DataFrame | None = None
    """Column `id` and a column per feature; users without events or impressions are left out."""
    items: pl.DataFrame | None = None
    """Column `id` and a column per feature; items without events or impressions are left out."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Kinds of those features that are known, by name; the others are found by their contents."""
    positive_from: float | None = None
    """Value from which an event is a liking where the source fixes it; None: three quarters of the observed scale."""
    named: Mapping[str, str] = field(default_factory=dict)
    """What the log itself calls `user`, `item`, `time` and `value`, for messages."""
    first_row: int = 1
    """Number by which messages call the first event."""
    notes: tuple[str, ...] = ()
    """What the source took for what, in sentences."""
    impressions: ImpressionTable | None = None
    """What was shown; its users and items belong to the data whether they have events or not."""
    holds: tuple[object, ...] = ()
    """Things that must live as long as the log, such as temporary folders."""

    def batches(self, size: int = BATCH) -> Iterator[pl.DataFrame]:
        """Yield the events in their order, from the first; about `size` a frame where the source lets one choose."""
        if isinstance(self.events, pl.LazyFrame):
            try:
                yield from self.events.collect_batches(chunk_size=size, maintain_order=True)
            except pl.exceptions.PolarsError as error:
                cause = f"it cannot be read: {str(error).splitlines()[0]}"
                raise InputError(self.name, cause=cause, cure="check the file") from error
        else:
            yield from self.events()
