"""Encodes a table of impressions in batches; its ids share the codes of the events' ids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from pasand.data.encoding.batch_encoder import FLOAT32_MAX, Batch, BatchEncoder
from pasand.data.encoding.cells import as_booleans, as_numbers, is_missing
from pasand.data.encoding.times import SECOND
from pasand.data.features import Features
from pasand.data.impressions import Impressions
from pasand.data.log import ImpressionTable, Options
from pasand.errors import InputError
from pasand.types import Array, Mask, Rows, Scores, Times

STANDARD = ("user", "item", "time", "position", "clicked", "watched_seconds", "propensity")
"""Columns with a meaning; all others are extra numeric columns."""

MAX_WATCHED = 3.0
"""Longest watch time, in running times of the item; longer ones are clipped to it."""

RUNNING_TIME = ("minutes", "duration_minutes", "runtime", "duration", "duration_seconds", "seconds")
"""Item features that hold the running time, best first."""


class ImpressionEncoder(BatchEncoder):
    """Encodes the batches of one table of impressions, and keeps only numbers."""

    label = "reading impressions"
    prefix = "impressions."
    cure = "mend the rows, or name the right columns: --column impressions.clicked=NAME and so on"

    def __init__(self, table: ImpressionTable, options: Options, ids: Mapping[str, pl.Categories]) -> None:
        """Read the whole table; raises InputError where it is empty or too many rows are bad."""
        super().__init__(table, options, ids)
        self.notes: list[str] = []
        self._distinct = table.distinct
        self._unknown_positions = self._zero_positions = 0
        for frame in table.frames():
            if len(frame):
                self.add(frame)
        if not self.summary.rows:
            raise InputError(self.name, cause="there are no impressions in it", cure="give a table with rows")
        self.check(complete=True)
        self.codes = {name: self.take(name) for name in ("user", "item")}
        """(n,) codes of the ids, from which the caller computes rows."""
        self.notes += [f"impressions: {self.summary.blank:,} blank lines skipped"] * bool(self.summary.blank)
        for name, codes in self.codes.items():
            self.notes += [f"impressions: {note}" for note in self.space_notes(name, np.bincount(codes))]

    def start(self, frame: pl.DataFrame) -> None:
        """Inspect the first batch: require its columns, infer the format of times, and name all parts."""
        for name in ("user", "item", "time"):
            if name not in frame.columns:
                cause = f"there is no column for the {name} of impressions"
                raise InputError(self.name, cause=cause, cure=f"name it: --column impressions.{name}=NAME")
        if "clicked" not in frame.columns:
            if "watched_seconds" not in frame.columns:
                cause = "there is no column that shows whether an impression was clicked"
                raise InputError(self.name, cause=cause, cure="name it: --column impressions.clicked=NAME")
            self.notes.append("clicked: watched for more than 0 seconds")
        self.infer_time_format(frame["time"])
        self.parts = {name: [] for name in [*frame.columns, *["clicked"] * ("clicked" not in frame.columns)]}

    def encode(self, batch: Batch) -> dict[str, pl.Series]:
        """Return all columns but the ids, and drop rows with an invalid time, watch time, propensity or label."""
        frame = batch.frame
        columns = {"time": self.times(batch) // SECOND}
        numbers = {name: as_numbers(frame[name]) for name in self.parts if name not in (*STANDARD[:3], "clicked")}
        if "watched_seconds" in numbers:
            watched = numbers["watched_seconds"]
            batch.drop("watched_seconds", "is not a number", watched.is_null() & ~_is_missing(frame["watched_seconds"]))
            batch.drop("watched_seconds", "is negative", watched < 0)
            batch.drop("watched_seconds", "is infinite", watched > FLOAT32_MAX)
        if "propensity" in numbers:
            propensity = numbers["propensity"]
            batch.drop("propensity", "is not a number", propensity.is_null() & ~_is_missing(frame["propensity"]))
            batch.drop(
                "propensity", "is 0, though it was shown", (propensity == 0) | (propensity.cast(pl.Float32) == 0)
            )
            batch.drop("propensity", "is not a probability", (propensity < 0) | (propensity > 1))
        if "clicked" in frame.columns:
            columns["clicked"] = as_booleans(frame["clicked"])
            batch.drop("clicked", "is missing", is_missing(frame["clicked"]))
            batch.drop("clicked", "is neither 0 nor 1", columns["clicked"].is_null())
        else:
            columns["clicked"] = (numbers["watched_seconds"] > 0).fill_null(False)
        columns |= numbers
        if "position" in numbers:
            columns["position"] = self._positions(numbers["position"], batch.good)
        return columns

    def _positions(self, cells: pl.Series, good: Mask) -> pl.Series:
        """Return the positions, Int32, 0 where unknown, and count the unknown ones."""
        position = cells.fill_null(0).to_numpy()
        valid = (position >= 1) & (position == np.floor(position)) & (position < 2**31)
        self._unknown_positions += int((good & ~valid).sum())
        self._zero_positions += int((good & (cells == 0).fill_null(False).to_numpy()).sum())
        return pl.Series(np.where(valid, position, 0).astype(np.int32))

    def finish(self, user: Rows, item: Rows, items: Features) -> Impressions:
        """Return the impressions of users and items, given by row, (n,) each.

        `items` are the item features, for running times. Afterwards `notes` describe all corrections. Raises InputError
        if no impression is left.
        """
        clicked: Mask = self.take("clicked")
        time: Times = self.take("time")
        watched: Scores | None = self.take("watched_seconds") if "watched_seconds" in self.parts else None
        propensity: Scores | None = self.take("propensity") if "propensity" in self.parts else None
        position: Rows = self.take("position") if "position" in self.parts else np.zeros(len(user), np.int32)
        self.notes += [f"impressions: {dropped}" for dropped in self.summary.dropped]
        if watched is not None:
            watched = self._corrected(watched, clicked, item, items)
        keep = np.ones(len(user), np.bool_)
        if propensity is not None:
            keep = ~np.isnan(propensity)
            if not keep.any():
                propensity, keep = None, ~keep
            elif not keep.all():
                self._note(int((~keep).sum()), f"dropped: {self.column_name('propensity')} is missing")
        if not self._distinct:
            # of duplicates keep the one that was clicked and watched longest; unknown watch times sort last
            order = np.lexsort((-_sort_key(watched, clicked), ~clicked, position, item, user, time))
            same = np.ones(max(len(order) - 1, 0), np.bool_)
            for column in (time, user, item, position):
                same &= column[order[1:]] == column[order[:-1]]
            duplicates = order[1:][same]
            if len(duplicates):
                self._note(len(duplicates), "dropped: duplicates with the same user, item, time and position")
                keep[duplicates] = False
        if self._unknown_positions:
            zeros = self._zero_positions
            zero = f"; {zeros:,} are 0: if your positions start at 0, add one to all" if zeros else ""
            self._note(self._unknown_positions, f"of unknown position: missing or not a whole number from 1 on{zero}")
        order = np.lexsort((position, time))
        order = order[keep[order]]
        impressions = Impressions(
            user=user[order],
            item=item[order],
            time=time[order],
            position=position[order],
            clicked=clicked[order],
            watched_seconds=None if watched is None else watched[order],
            propensity=None if propensity is None else propensity[order],
            features={name: self.take(name)[order] for name in sorted(self.parts)},
        )
        if not len(impressions):
            raise InputError(self.name, cause="no impression is left", cure="see which columns are missing in rows")
        share = float(impressions.clicked.mean())
        self.notes.insert(0, f"impressions: {len(impressions):,}, {share:.1%} clicked")
        if share in (0.0, 1.0):
            count = "all" if share else "none"
            self.notes.append(f"impressions: {count} of them were clicked, so models cannot learn from the labels")
        return impressions

    def _note(self, count: int, text: str) -> None:
        self.notes.append(f"{count:,} impression{'s' * (count != 1)} {text}")

    def _corrected(self, watched: Scores, clicked: Mask, item: Rows, items: Features) -> Scores:
        """Return watched seconds, 0 where not clicked, and clipped to `MAX_WATCHED` running times where known."""
        contradicting = int((~clicked & (watched > 0)).sum())
        if contradicting:
            self._note(contradicting, "watched but not clicked: their watched seconds are set to 0")
        watched = np.where(clicked, watched, np.float32(0))
        name = next((name for name in RUNNING_TIME if name in items and items[name].kind == "number"), None)
        if name is None:
            return watched
        length = items[name].values.astype(np.float32)
        known = length[np.isfinite(length)]
        minutes = "second" not in name and not (name == "duration" and len(known) and np.median(known) > 600)
        limit = MAX_WATCHED * length[item] * (60 if minutes else 1)
        too_long = (watched > limit) & (limit > 0)
        if too_long.any():
            unit = "minutes" if minutes else "seconds"
            text = f"watched for more than {MAX_WATCHED:g} times the item's {name!r} (in {unit}): clipped to that"
            self._note(int(too_long.sum()), text)
        return np.where(too_long, limit, watched).astype(np.float32)


def _is_missing(cells: pl.Series) -> pl.Series:
    """Return whether each cell is missing, nan included."""
    return is_missing(cells) | cells.is_nan().fill_null(False) if cells.dtype.is_float() else is_missing(cells)


def _sort_key(watched: Scores | None, clicked: Mask) -> Array:
    """Return watched seconds, -1 where unknown; 0 without watch times."""
    return np.zeros(len(clicked), np.float32) if watched is None else np.nan_to_num(watched, nan=-1.0)
