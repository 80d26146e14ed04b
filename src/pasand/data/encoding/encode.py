"""Encodes a log as a `Dataset`, in batches, so that ids are never all in memory as text."""

from __future__ import annotations

import numpy as np
import polars as pl
from numba import njit

from pasand.data.dataset import Dataset
from pasand.data.encoding.batch_encoder import FLOAT32_MAX, Batch, BatchEncoder
from pasand.data.encoding.cells import as_numbers, as_values, comma_evidence, is_missing
from pasand.data.encoding.chosen_rows import ChosenRows
from pasand.data.encoding.dropped_rows import HEADER, ReadSummary
from pasand.data.encoding.feature_kinds import described_ids, features_of, join_notes
from pasand.data.encoding.impressions import ImpressionEncoder
from pasand.data.encoding.positives import positive_threshold
from pasand.data.encoding.times import SECOND, TimeFormat, time_notes
from pasand.data.features import Kind
from pasand.data.log import Log, Options
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.progress import step
from pasand.types import Array, Mask, Rows, Scores, Times

MIN_EVENTS, MOST_USERS = 50, 0.98
"""Events from which on, and users as a share of them above which, the user may be the number of a row or a visit."""


PLACEHOLDERS = ("null", "none", "nan", "n/a", "#n/a", "\\n", "undefined", "(null)", "<null>")
"""Ids in lower case that programs write where there is none."""
SHORTENED = r"^\d(\.\d+)?E\+\d+$"
DECIMAL = "value with decimal commas"
"""Column of the values as they are if a comma before three digits is a decimal one; only where there are any."""


EITHER = r"^\D*\d{1,3}([.,]\d{3})\D*$"
"""Values whose comma or point may be decimal, or between thousands."""


class EventEncoder(BatchEncoder):
    """Encodes the batches of one log of events, and keeps only numbers."""

    label = "reading"
    cure = (
        "mend the rows, name the right columns: --column user=NAME, item=, time=, value=, or read no values: "
        "--value-as none"
    )

    def __init__(self, log: Log, options: Options, *, exact_types: bool = False) -> None:
        ids = {"user": pl.Categories.random(), "item": pl.Categories.random()}
        super().__init__(log, options, ids)
        # polars drops categories once no series uses them
        self._keep_alive = [pl.Series([""], dtype=pl.Categorical(categories)) for categories in ids.values()]
        self.notes: list[str] = []
        self.chosen = ChosenRows(log.choice, exact=exact_types)
        self.timed, self.valued = log.order == "time", log.values != "none"
        self._comma_evidence, self._comma_example = 0, ""

    def add(self, frame: pl.DataFrame) -> None:
        """Encode one batch: keep its chosen good rows as numbers, and count the bad ones."""
        super().add(self.chosen.marked(frame))

    def start(self, frame: pl.DataFrame) -> None:
        """Inspect the first batch: require its columns, infer the format of times, and name all parts."""
        for name in ("user", "item", *["time"] * self.timed, *["value"] * self.valued):
            if name not in frame.columns:
                cause = f"there is no column for the {name}"
                raise InputError(self.name, cause=cause, cure=f"name it: --column {name}=NAME")
            self.parts[name] = []
        for name in frame.columns:
            if name not in ("user", "item", "time", "value"):
                self.parts[name] = []
        if self.timed:
            self.infer_time_format(frame["time"])

    def encode(self, batch: Batch) -> dict[str, pl.Series]:
        """Return all columns but the ids, and drop rows with an invalid time or value."""
        frame = batch.frame
        batch.drop("user", HEADER, self._repeats_header(frame))
        columns = {"time": self.times(batch)} if self.timed else {}
        if self.valued:
            values = self._values(frame["value"], columns)
            batch.drop("value", "is missing", is_missing(frame["value"]))
            batch.drop("value", "is not a number", values.is_null())
            batch.drop("value", "is infinite", values.abs() > FLOAT32_MAX)
        extra = [name for name in self.parts if name not in ("user", "item", "time", "value", DECIMAL)]
        return columns | {name: as_numbers(frame[name]) for name in extra}

    def _values(self, cells: pl.Series, columns: dict[str, pl.Series]) -> pl.Series:
        """Return values, and put them into `columns`; from the first that may have a decimal comma on, twice."""
        values = columns["value"] = as_values(cells, decimal_comma=False)
        if cells.dtype == pl.String and cells.str.contains(r",|\.\d{3}(\D|$)").any():
            self._comma_evidence += comma_evidence(cells)
            either = cells.str.contains(EITHER)
            if either.any() and DECIMAL not in self.parts:
                self.parts[DECIMAL] = list(self.parts["value"])
            commas = cells.filter(either & cells.str.contains(",", literal=True))
            self._comma_example = self._comma_example or (commas[0].strip() if len(commas) else "")
        if DECIMAL in self.parts:
            columns[DECIMAL] = as_values(cells, decimal_comma=True)
        return values

    def take_values(self) -> Scores:
        """Return the values, (good rows,), with the meaning of commas that all rows show together, and note it."""
        values = self.take("value")
        decimal = self.take(DECIMAL) if DECIMAL in self.parts else values
        if self._comma_example:
            meaning = "decimal ones" if self._comma_evidence > 0 else "between thousands"
            open_yet = "" if self._comma_evidence else "warning: no value shows what commas are; "
            cure = "" if self._comma_evidence else "; if they are decimal ones, write points"
            column = self.column_name("value")
            self.notes.append(f"{open_yet}commas in column {column}, as in {self._comma_example}, are {meaning}{cure}")
        return decimal if self._comma_evidence > 0 else values

    def _repeats_header(self, frame: pl.DataFrame) -> pl.Series:
        """Return whether each row holds the names of the columns, (rows,), as joined files have it."""
        if any(frame[name].dtype != pl.String for name in ("user", "item")):
            return pl.repeat(False, len(frame), eager=True)
        texts = [cells.name for cells in frame.get_columns() if cells.dtype == pl.String]
        same = [pl.col(name).str.strip_chars() == self.column_name(name) for name in texts]
        return frame.select(pl.all_horizontal(same).alias("same"))["same"]

    def rows(self, name: str, other: Rows | None, table: pl.DataFrame | None) -> tuple[Vocabulary, Rows, Rows]:
        """Return the vocabulary of "user" or "item", the column as rows, (E,), and other codes as rows, (n,).

        The vocabulary also holds the ids of a table with a column `id`, which need no event.
        """
        codes, other = self.take(name), np.zeros(0, np.int32) if other is None else other
        counts = np.bincount(codes)
        self.notes += self.space_notes(name, counts)
        if len(other):
            counts = np.bincount(other, minlength=len(counts)) + np.pad(
                counts, (0, max(0, other.max() + 1 - len(counts)))
            )
        used = np.flatnonzero(counts)
        ids = pl.Series(used, dtype=pl.UInt32).cat.to(pl.Categorical(self.ids.pop(name))).cast(pl.String)
        self.notes += id_warnings(ids, pl.Series(counts[used]), name, self.column_name(name))
        more = described_ids(table, ids)
        vocabulary = Vocabulary(pl.concat([ids, more]))
        if len(more):
            n_more = len(vocabulary) - len(ids)
            self.notes += [f"{name}s in the catalogue without an event: {n_more:,}"] * bool(n_more)
        row_of_code = np.full(int(used.max(initial=-1)) + 1, -1, np.int32)
        row_of_code[used] = vocabulary.rows(ids)
        return vocabulary, row_of_code[codes], row_of_code[other]


def _all_batches(log: Log, encoder: EventEncoder) -> EventEncoder:
    """Return the encoder after it encoded all rows of the log."""
    for frame in log.batches():
        if len(frame):
            encoder.add(frame)
    return encoder


def encode(log: Log, options: Options | None = None) -> Dataset:
    """Return the dataset of a log; raises InputError where it is empty or too many rows are bad.

    Events are sorted by time at full resolution; ties keep the order of the log. Rows that repeat another row in all
    columns are dropped, unless only the sequence is known: there a repetition is an event of its own, as it is with
    `keep_duplicates`.
    """
    return read(log, options or Options())[0]


def read(log: Log, options: Options) -> tuple[Dataset, ReadSummary]:
    """Return the dataset of a log, as `encode` does, and the summary of the rows read and dropped."""
    encoder = _all_batches(log, EventEncoder(log, options))
    if encoder.chosen.differ_in_case:
        encoder = _all_batches(log, EventEncoder(log, options, exact_types=True))
    summary = encoder.summary
    if not summary.rows:
        raise InputError(log.name, cause="there are no events in it", cure="give a log with at least one row")
    encoder.chosen.check(log.name)
    encoder.check(complete=True)
    step("reading", summary.rows, summary.rows)
    shown = None if log.impressions is None else ImpressionEncoder(log.impressions, options, encoder.ids)
    users, user, shown_user = encoder.rows("user", None if shown is None else shown.codes["user"], None)
    items, item, shown_item = encoder.rows("item", None if shown is None else shown.codes["item"], log.items)
    for side, table, ids, rows in (
        ("users", log.users, users, np.append(user, shown_user)),
        ("items", log.items, items, np.append(item, shown_item)),
    ):
        if table is not None:
            encoder.notes += join_notes(ids.series.gather(np.unique(rows)), table, side, log.column_names.get(side))
        elif side in options.id_columns:
            cause, cure = f"there is no table of {side}", f"add --{side} FILE"
            raise InputError("--column", value=f"{side}.id", cause=cause, cure=cure)
    time: Times = encoder.take("time") if encoder.timed else np.zeros(0, np.int64)
    value: Scores | None = encoder.take_values() if encoder.valued else None
    columns = {name: encoder.take(name) for name in list(encoder.parts)}
    if encoder.timed and (time[1:] < time[:-1]).any():
        order = np.argsort(time, kind="stable").astype(np.uint32 if len(time) < 2**32 else np.int64)
        user, item, time = user[order], item[order], time[order]
        value = None if value is None else value[order]
        columns = {name: column[order] for name, column in columns.items()}
        del order
    if log.order != "sequence" and not options.keep_duplicates:
        duplicate = _duplicates(user, item, time, _bits(value), np.array([_bits(c) for c in columns.values()]))
        summary.duplicates = int(duplicate.sum())
        if summary.duplicates:
            keep = ~duplicate
            user, item = user[keep], item[keep]
            time = time[keep] if encoder.timed else time
            value = None if value is None else value[keep]
            columns = {name: column[keep] for name, column in columns.items()}
    if encoder.timed:
        time //= SECOND
    else:
        time = np.zeros(len(user), np.int64)
    if len(user) >= MIN_EVENTS and len(np.unique(user)) > MOST_USERS * len(user):
        encoder.notes.append(
            f"warning: {len(np.unique(user)):,} users in {len(user):,} events, so hardly any user has a history: is "
            f"column {encoder.column_name('user')!r} the number of a row, an order or a visit? Name the user: --column "
            "user=NAME"
        )
    positive_from, scale_notes = positive_threshold(log, options, value)
    kinds: dict[str, Kind] = {**log.kinds, **options.kinds}
    given = None if options.time_format is None else TimeFormat.named(options.time_format)
    user_features, user_notes = features_of(users, log.users, kinds, "users", set(options.kinds), log.name, given)
    item_features, item_notes = features_of(items, log.items, kinds, "items", set(options.kinds), log.name, given)
    notes = [*log.notes]
    if encoder.time_format is not None:
        notes += time_notes(encoder.column_name("time"), encoder.time_format, time) + encoder.zone_notes()
    notes += [str(dropped) for dropped in summary.dropped]
    notes += [f"{summary.blank:,} blank lines skipped"] * bool(summary.blank)
    notes += [f"{summary.left_out:,} of {summary.rows:,} rows left out by choice"] * bool(summary.left_out)
    notes += encoder.chosen.notes()
    notes += encoder.notes
    if summary.duplicates:
        dropped = f"{summary.duplicates:,} rows dropped: exact duplicates of another row"
        if log.unread:
            unread = ", ".join(log.unread[:3]) + ", ..." * (len(log.unread) > 3)
            dropped = f"warning: {dropped} in all columns that are read, to which {unread} do not belong"
            dropped += "; to keep them as events, add --keep-duplicates"
        notes.append(dropped)
    if value is not None and positive_from > -np.inf:
        scale = f"values run from {value.min():g} to {value.max():g}"
        notes.append(f"an event is positive if its value is at least {positive_from:g}; {scale}")
    notes += scale_notes
    impressions = None
    if shown is not None and log.impressions is not None:
        impressions = shown.finish(shown_user, shown_item, item_features)
        notes += [*log.impressions.notes, *shown.notes]
        for name, shown_rows, rows in (("users", shown_user, user), ("items", shown_item, item)):
            without = len(np.setdiff1d(shown_rows, rows))
            if without:
                notes.append(f"{name} with impressions but without an event: {without:,}")
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
    return dataset, summary


def id_warnings(ids: pl.Series, counts: pl.Series, name: str, column: str) -> list[str]:
    """Return warnings about ids that may mean none or several, given their numbers of events.

    >>> id_warnings(pl.Series(["NULL", "7"]), pl.Series([12, 3]), "user", "client")[0][:60]
    "warning: 12 events have the user 'NULL', which counts as one"
    """
    warnings = []
    for row in ids.str.to_lowercase().is_in(PLACEHOLDERS).arg_true().to_list():
        found = ids[row]
        warnings.append(
            f"warning: {counts[row]:,} events have the {name} {found!r}, which counts as one {name}; if it "
            f"means none, leave them out: --where '{column} != {found}'"
        )
    shortened = ids.filter(ids.str.contains(SHORTENED))
    if len(shortened):
        warnings.append(
            f"warning: {name}s such as {shortened[0]} look like numbers that a spreadsheet has rounded, so that "
            f"several may have become one: export column {column} as text"
        )
    return warnings


def _bits(column: Scores | None) -> Rows:
    """Return the bits of a column, so that nan equals nan; empty without a column."""
    return np.zeros(0, np.int32) if column is None else column.view(np.int32)


def _duplicates(user: Rows, item: Rows, time: Times, value: Rows, extra: Array) -> Mask:
    """Return whether each event equals an earlier one in all columns; (E,)."""
    extra = extra.reshape(len(extra), len(user) if len(extra) else 0).astype(np.int32, copy=False)
    slots = np.full(1 << max(4, int(1.5 * len(user)).bit_length()), -1, np.int32)
    duplicate: Mask = _find_duplicates(user, item, time, value, extra, slots)
    return duplicate


@njit(cache=True)
def _find_duplicates(user: Rows, item: Rows, time: Times, value: Rows, extra: Array, slots: Rows) -> Mask:
    """Look up each event in an open-addressing hash table of the events before it."""
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
            for c in range(len(extra)):
                same = same and extra[c, other] == extra[c, e]
            if same:
                out[e] = True
                break
            slot = (slot + np.uint64(1)) & mask
    return out
