"""A log becomes a dataset: in batches, so that ids are never all in memory as text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numba import njit

from pasand.data.dataset import Dataset
from pasand.data.encoding.cells import SECOND, Clock, absent, are_whole, as_ids, as_numbers
from pasand.data.encoding.dropped_rows import EARLY, Reading
from pasand.data.encoding.feature_kinds import features_of
from pasand.data.encoding.impressions import ImpressionEncoder
from pasand.data.features import Kind
from pasand.data.log import Log, Options
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.progress import step
from pasand.types import Array, Mask, Rows, Scores, Times


class Encoder:
    """Takes the batches of one log and keeps of them numbers alone."""

    def __init__(self, log: Log, options: Options) -> None:
        self.log, self.options = log, options
        self.reading = Reading()
        self.clock: Clock | None = None
        self.ids = {"user": pl.Categories.random(), "item": pl.Categories.random()}
        # categories are forgotten once no series holds them
        self.anchors = [pl.Series([""], dtype=pl.Categorical(ids)) for ids in self.ids.values()]
        self.whole: dict[str, bool] = {}
        self.parts: dict[str, list[Array]] = {}
        self.timed, self.valued = log.order == "time", log.values != "none"

    def column(self, name: str) -> str:
        """Return what the log itself calls a column."""
        return self.log.named.get(name, name)

    def start(self, frame: pl.DataFrame) -> None:
        """Look at the first batch: which columns there are, and how times and ids are written."""
        for name in ("user", "item", *["time"] * self.timed, *["value"] * self.valued):
            if name not in frame.columns:
                raise InputError(
                    self.log.name, cause=f"there is no column for the {name}", cure=f"name it: --column {name}=NAME"
                )
            self.parts[name] = []
        self.whole = {name: are_whole(frame[name]) for name in ("user", "item")}
        for name in frame.columns:
            if name not in ("user", "item", "time", "value"):
                self.parts[name] = []
        if self.timed:
            self.clock = Clock.of(frame["time"])
            if self.clock is None:
                there = (~absent(frame["time"])).arg_max()
                raise InputError(
                    self.log.name,
                    row=self.log.first_row + (there or 0),
                    column=self.column("time"),
                    value=frame["time"][there or 0],
                    cause="most times are neither numbers since 1970 nor ISO dates",
                    cure="name another column as the time, or write times as seconds since 1970",
                )

    def add(self, frame: pl.DataFrame) -> None:
        """Take one batch: keep its good rows as numbers, count its bad ones."""
        if not self.parts:
            self.start(frame)
        good = np.ones(len(frame), np.bool_)
        row = self.log.first_row + self.reading.rows

        def check(name: str, reason: str, bad: pl.Series) -> None:
            at = np.flatnonzero(good & bad.fill_null(False).to_numpy())
            if len(at):
                self.reading.drop(self.column(name), reason, row + at, frame[name][[int(at[0])]])
                good[at] = False

        kept: dict[str, pl.Series] = {}
        for name in ("user", "item"):
            ids = as_ids(frame[name], whole=self.whole[name])
            check(name, "is missing", ids.is_null())
            kept[name] = ids
        if self.clock is not None:
            check("time", "is missing", absent(frame["time"]))
            moments = kept["time"] = self.clock.read(frame["time"])
            check("time", "cannot be read", moments.is_null())
            check("time", "is before 1970", moments < 0)
        if self.valued:
            check("value", "is missing", absent(frame["value"]))
            numbers = kept["value"] = as_numbers(frame["value"])
            check("value", "is not a number", numbers.is_null())
            # beyond the range of float32 a number would turn infinite later
            check("value", "is infinite", numbers.abs() > float(np.finfo(np.float32).max))
        for name in self.parts:
            if name not in ("user", "item", "time", "value"):
                kept[name] = as_numbers(frame[name])
        self.reading.rows += len(frame)
        if self.reading.rows >= EARLY:
            self.refuse()
        self.keep(kept, good)
        step("reading", self.reading.rows, None)

    def keep(self, kept: Mapping[str, pl.Series], good: Mask) -> None:
        """Append the good rows of a batch as numbers."""
        chosen = None if good.all() else pl.Series(good)
        for name, cells in kept.items():
            cells = cells if chosen is None else cells.filter(chosen)
            if name in self.ids:
                codes = cells.cast(pl.Categorical(self.ids[name])).to_physical().to_numpy()
                self.parts[name].append(codes.astype(np.int32))
            elif name == "time":
                self.parts[name].append(cells.to_numpy().astype(np.int64))
            else:
                self.parts[name].append(cells.cast(pl.Float32).fill_null(float("nan")).to_numpy().astype(np.float32))

    def refuse(self, *, whole: bool = False) -> None:
        """Raise InputError where too many rows are bad, and for a whole log where all are."""
        cure = "mend the rows, or name the right columns: --column user=NAME, item=, time=, value="
        self.reading.refuse(self.log.name, self.options, cure, whole=whole)

    def take(self, name: str) -> Array:
        """Return a column whole, and let go of its parts."""
        parts = self.parts.pop(name)
        whole = np.concatenate(parts)
        return whole

    def rows(self, name: str, more: Rows | None) -> tuple[Vocabulary, Rows, Rows]:
        """Return the vocabulary of users or items, the column in its rows, and further codes in its rows."""
        codes, more = self.take(name), np.zeros(0, np.int32) if more is None else more
        counts = np.bincount(codes)
        if len(more):
            counts = np.bincount(more, minlength=len(counts)) + np.pad(
                counts, (0, max(0, more.max() + 1 - len(counts)))
            )
        used = np.flatnonzero(counts)
        ids = pl.Series(used, dtype=pl.UInt32).cat.to(pl.Categorical(self.ids.pop(name))).cast(pl.String)
        vocabulary = Vocabulary(ids)
        to_row = np.full(int(used.max(initial=-1)) + 1, -1, np.int32)
        to_row[used] = vocabulary.rows(ids)
        return vocabulary, to_row[codes], to_row[more]


def encode(log: Log, options: Options | None = None) -> Dataset:
    """Return the dataset of a log; raises InputError where it is empty or too many rows are bad.

    Events are sorted by time at its full resolution, ties in the order of the log. Rows that repeat another in every
    column are dropped, except where only the sequence is known: there a repetition is an event of its own.
    """
    return read(log, options or Options())[0]


def read(log: Log, options: Options) -> tuple[Dataset, Reading]:
    """Return the dataset of a log and what happened while it was read; like `encode` otherwise."""
    encoder = Encoder(log, options)
    for frame in log.batches():
        if len(frame):
            encoder.add(frame)
    reading = encoder.reading
    if not reading.rows:
        raise InputError(log.name, cause="there are no events in it", cure="give a log with at least one row")
    encoder.refuse(whole=True)
    step("reading", reading.rows, reading.rows)
    shown = None if log.impressions is None else ImpressionEncoder(log.impressions, options, encoder.ids)
    users, user, viewer = encoder.rows("user", None if shown is None else shown.codes["user"])
    items, item, film = encoder.rows("item", None if shown is None else shown.codes["item"])
    time: Times = encoder.take("time") if encoder.timed else np.zeros(0, np.int64)
    value: Scores | None = encoder.take("value") if encoder.valued else None
    columns = {name: encoder.take(name) for name in list(encoder.parts)}
    if encoder.timed and (time[1:] < time[:-1]).any():
        order = np.argsort(time, kind="stable").astype(np.uint32 if len(time) < 2**32 else np.int64)
        user, item, time = user[order], item[order], time[order]
        value = None if value is None else value[order]
        columns = {name: column[order] for name, column in columns.items()}
        del order
    if log.order != "sequence":
        repeated = _repeated(user, item, time, _bits(value), np.array([_bits(c) for c in columns.values()]))
        reading.duplicates = int(repeated.sum())
        if reading.duplicates:
            fresh = ~repeated
            user, item = user[fresh], item[fresh]
            time = time[fresh] if encoder.timed else time
            value = None if value is None else value[fresh]
            columns = {name: column[fresh] for name, column in columns.items()}
    if encoder.timed:
        time //= SECOND
    else:
        time = np.zeros(len(user), np.int64)
    positive_from = _positive_from(log, options, value)
    kinds: dict[str, Kind] = {**log.kinds, **options.kinds}
    user_features, user_notes = features_of(users, log.users, kinds, "users", set(options.kinds), log.name)
    item_features, item_notes = features_of(items, log.items, kinds, "items", set(options.kinds), log.name)
    notes = [*log.notes]
    if encoder.clock is not None:
        notes.append(f"time: {encoder.column('time')!r}, read as {encoder.clock}")
    notes += [str(dropped) for dropped in reading.dropped]
    if reading.duplicates:
        notes.append(f"{reading.duplicates:,} rows dropped: exact repetitions of another row")
    if value is not None and positive_from > -np.inf:
        notes.append(f"an event is a liking from {positive_from:g} of {value.min():g} to {value.max():g}")
    impressions = None
    if shown is not None and log.impressions is not None:
        impressions = shown.finish(viewer, film, item_features)
        notes += [*log.impressions.notes, *shown.notes]
        for name, vocabulary, rows in (("users", users, user), ("items", items, item)):
            without = len(vocabulary) - len(np.unique(rows))
            if without:
                notes.append(f"{name} known from impressions alone, without an event: {without:,}")
    dataset = Dataset(
        name=log.name,
        users=users,
        items=items,
        user=user,
        item=item,
        time=time,
        value=value,
        values=log.values,
        order=log.order,
        positive_from=positive_from,
        user_features=user_features,
        item_features=item_features,
        columns=columns,
        notes=(*notes, *user_notes, *item_notes),
        impressions=impressions,
    )
    return dataset, reading


def _positive_from(log: Log, options: Options, value: Scores | None) -> float:
    """Return the value from which an event is a liking: as told, as the source fixes it, or as the scale suggests."""
    if options.positive_from is not None:
        if value is not None and not options.positive_from <= value.max():
            cause = f"no event reaches it: values run from {value.min():g} to {value.max():g}"
            raise InputError(
                "positive_from", value=options.positive_from, cause=cause, cure="choose a value among them"
            )
        return options.positive_from
    if log.positive_from is not None:
        return log.positive_from
    return three_quarters(value) if value is not None and log.values == "rating" else -np.inf


def three_quarters(ratings: Scores) -> float:
    """Return the lowest rating given that reaches three quarters of the scale, and the highest rating if none does.

    The scale runs from the lowest to the highest rating given, but a scale up to 5 or 10 begins at 1 even if
    nobody gave that little.

    >>> three_quarters(np.array([1, 2, 3, 4, 5], np.float32)), three_quarters(np.arange(1, 11, dtype=np.float32) / 2)
    (4.0, 4.0)
    """
    low, high = float(ratings.min()), float(ratings.max())
    if high in (5.0, 10.0):
        low = min(low, 1.0)
    enough = ratings >= np.float32(low + 0.75 * (high - low))
    return float(np.min(ratings, where=enough, initial=np.float32(high)))


def _bits(column: Scores | None) -> Rows:
    """Return the bits of a column, so that nan equals nan; empty where there is no column."""
    return np.zeros(0, np.int32) if column is None else column.view(np.int32)


def _repeated(user: Rows, item: Rows, time: Times, value: Rows, further: Array) -> Mask:
    """Return which events equal an earlier one in all columns; (E,)."""
    further = further.reshape(len(further), len(user) if len(further) else 0).astype(np.int32, copy=False)
    slots = np.full(1 << max(4, int(1.5 * len(user)).bit_length()), -1, np.int32)
    repeated: Mask = _find_repeated(user, item, time, value, further, slots)
    return repeated


@njit(cache=True)
def _find_repeated(user: Rows, item: Rows, time: Times, value: Rows, further: Array, slots: Rows) -> Mask:
    """Look every event up in an open hash table of the events before it."""
    out = np.zeros(len(user), np.bool_)
    mask = np.uint64(len(slots) - 1)
    for e in range(len(user)):
        key = np.uint64(user[e]) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(item[e]) * np.uint64(0xC2B2AE3D27D4EB4F)
        if len(time):
            key ^= np.uint64(time[e]) * np.uint64(0xFF51AFD7ED558CCD)
        key ^= key >> np.uint64(31)
        key *= np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(29)
        slot = key & mask
        while True:
            other = slots[slot]
            if other < 0:
                slots[slot] = e
                break
            same = user[other] == user[e] and item[other] == item[e]
            if len(time):
                same = same and time[other] == time[e]
            if len(value):
                same = same and value[other] == value[e]
            for c in range(len(further)):
                same = same and further[c, other] == further[c, e]
            if same:
                out[e] = True
                break
            slot = (slot + np.uint64(1)) & mask
    return out
