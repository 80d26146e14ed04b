"""A table of what was shown becomes impressions, in batches, its ids coded with those of the events."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from pasand.data.encoding.cells import SECOND, Clock, absent, are_whole, as_ids, as_numbers
from pasand.data.encoding.dropped_rows import EARLY, Reading
from pasand.data.features import Features
from pasand.data.impressions import Impressions
from pasand.data.log import ImpressionTable, Options
from pasand.errors import InputError
from pasand.progress import step
from pasand.types import Array, Mask, Rows, Scores, Times

STANDARD = ("user", "item", "time", "position", "clicked", "watched_seconds", "propensity")
"""Columns that mean something; all others are further numbers."""

LONGEST = 3.0
"""Running times of an item that a watched time may have; what is beyond was not watched and is cut to it."""

MINUTES = ("minutes", "duration_minutes", "runtime", "duration", "duration_seconds", "seconds")
"""Item features that tell the running time."""

YES_NO = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class ImpressionEncoder:
    """Takes the batches of one table of impressions and keeps of them numbers alone."""

    def __init__(self, log: ImpressionTable, options: Options, ids: Mapping[str, pl.Categories]) -> None:
        self.log, self.options, self.ids = log, options, dict(ids)
        self.reading = Reading()
        self.notes: list[str] = []
        self.parts: dict[str, list[Array]] = {}
        self.whole: dict[str, bool] = {}
        self.clock = Clock()
        self.unknown = self.zeros = 0
        for frame in log.frames():
            if len(frame):
                self.add(frame)
        cure = "mend the rows, or name the right columns: --column impressions.taken=NAME and so on"
        if not self.reading.rows:
            raise InputError(log.name, cause="there are no impressions in it", cure="give a table with rows")
        self.reading.refuse(log.name, options, cure, whole=True)
        self.codes = {name: self._take(name) for name in ("user", "item")}
        """(n,) ids by code, to be turned into rows."""

    def column(self, name: str) -> str:
        """Return what the table itself calls a column."""
        return self.log.named.get(name, name)

    def start(self, frame: pl.DataFrame) -> None:
        """Look at the first batch: which columns there are, and how times and ids are written."""
        for name in ("user", "item", "time"):
            if name not in frame.columns:
                cause = f"there is no column for the {name} of impressions"
                raise InputError(self.log.name, cause=cause, cure=f"name it: --column impressions.{name}=NAME")
        if "clicked" not in frame.columns:
            if "watched_seconds" not in frame.columns:
                cause = "there is no column that tells whether what was shown was taken"
                raise InputError(self.log.name, cause=cause, cure="name it: --column impressions.taken=NAME")
            self.notes.append("taken: whatever was watched for more than 0 seconds")
        clock = Clock.of(frame["time"])
        if clock is None:
            there = (~absent(frame["time"])).arg_max() or 0
            raise InputError(
                self.log.name,
                row=self.log.first_row + there,
                column=self.column("time"),
                value=frame["time"][there],
                cause="most times are neither numbers since 1970 nor ISO dates",
                cure="name another column, --column impressions.time=NAME, or write seconds since 1970",
            )
        self.clock = clock
        self.whole = {name: are_whole(frame[name]) for name in ("user", "item")}
        self.parts = {name: [] for name in [*frame.columns, *["clicked"] * ("clicked" not in frame.columns)]}

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

        kept: dict[str, Array] = {}
        ids = {name: as_ids(frame[name], whole=self.whole[name]) for name in ("user", "item")}
        for name, cells in ids.items():
            check(name, "is missing", cells.is_null())
        check("time", "is missing", absent(frame["time"]))
        moments = self.clock.read(frame["time"])
        check("time", "cannot be read", moments.is_null())
        check("time", "is before 1970", moments < 0)
        kept["time"] = moments.fill_null(0).to_numpy() // SECOND
        numbers = {name: as_numbers(frame[name]) for name in self.parts if name not in (*STANDARD[:3], "clicked")}
        if "watched_seconds" in numbers:
            watched = numbers["watched_seconds"]
            check("watched_seconds", "is not a number", watched.is_null() & ~_missing(frame["watched_seconds"]))
            check("watched_seconds", "is negative", watched < 0)
            check("watched_seconds", "is infinite", watched > float(np.finfo(np.float32).max))
        if "propensity" in numbers:
            chance = numbers["propensity"]
            check("propensity", "is not a number", chance.is_null() & ~_missing(frame["propensity"]))
            check("propensity", "is 0, though it was shown", (chance == 0) | (chance.cast(pl.Float32) == 0))
            check("propensity", "is not a probability", (chance < 0) | (chance > 1))
        if "clicked" in frame.columns:
            clicked = as_truth(frame["clicked"])
            check("clicked", "is missing", absent(frame["clicked"]))
            check("clicked", "is neither 0 nor 1", clicked.is_null())
            kept["clicked"] = clicked.fill_null(False).to_numpy()
        else:
            kept["clicked"] = (numbers["watched_seconds"] > 0).fill_null(False).to_numpy()
        for name, cells in numbers.items():
            kept[name] = cells.cast(pl.Float32).fill_null(float("nan")).to_numpy()
        if "position" in numbers:
            place = numbers["position"].fill_null(0).to_numpy()
            fits = (place >= 1) & (place == np.floor(place)) & (place < 2**31)
            kept["position"] = np.where(fits, place, 0).astype(np.int32)
            self.unknown += int((good & ~fits).sum())
            self.zeros += int((good & (numbers["position"] == 0).fill_null(False).to_numpy()).sum())
        for name, cells in ids.items():
            codes = cells.cast(pl.Categorical(self.ids[name])).to_physical().fill_null(0)
            kept[name] = codes.to_numpy().astype(np.int32)
        for name, values in kept.items():
            self.parts[name].append(values if good.all() else values[good])
        self.reading.rows += len(frame)
        if self.reading.rows >= EARLY:
            self.reading.refuse(self.log.name, self.options, "mend the rows, or name the right columns")
        step("reading impressions", self.reading.rows, None)

    def _take(self, name: str) -> Array:
        whole: Array = np.concatenate(self.parts.pop(name))
        return whole

    def finish(self, user: Rows, item: Rows, items: Features) -> Impressions:
        """Return the impressions of users and items given in rows, (n,); `notes` then tell what was done to them."""
        clicked: Mask = self._take("clicked")
        time: Times = self._take("time")
        watched: Scores | None = self._take("watched_seconds") if "watched_seconds" in self.parts else None
        chance: Scores | None = self._take("propensity") if "propensity" in self.parts else None
        place: Rows = self._take("position") if "position" in self.parts else np.zeros(len(user), np.int32)
        self.notes += [f"impressions: {dropped}" for dropped in self.reading.dropped]
        if watched is not None:
            watched = self._watched(watched, clicked, item, items)
        keep = np.ones(len(user), np.bool_)
        if chance is not None:
            keep = ~np.isnan(chance)
            if not keep.any():
                chance, keep = None, ~keep
            elif not keep.all():
                self._told(int((~keep).sum()), f"dropped: {self.column('propensity')} is missing")
        # what cannot be compared must not come first: the row kept of several is the one that was taken, longest
        if not self.log.distinct:
            order = np.lexsort((-_known(watched, clicked), ~clicked, place, item, user, time))
            same = np.ones(max(len(order) - 1, 0), np.bool_)
            for column in (time, user, item, place):
                same &= column[order[1:]] == column[order[:-1]]
            again = order[1:][same]
            if len(again):
                self._told(len(again), "dropped: they repeat another of the same user, item, time and position")
                keep[again] = False
        if self.unknown:
            zero = f"; {self.zeros:,} are 0: if your first place is 0, add one to all" if self.zeros else ""
            self._told(self.unknown, f"of unknown position: missing or not a whole number from 1 on{zero}")
        order = np.lexsort((place, time))
        order = order[keep[order]]
        made = Impressions(
            user=user[order],
            item=item[order],
            time=time[order],
            position=place[order],
            clicked=clicked[order],
            watched_seconds=None if watched is None else watched[order],
            propensity=None if chance is None else chance[order],
            features={name: self._take(name)[order] for name in sorted(self.parts)},
        )
        if not len(made):
            raise InputError(self.log.name, cause="no impression is left", cure="see which columns are missing in rows")
        share = float(made.clicked.mean())
        self.notes.insert(0, f"impressions: {len(made):,}, {share:.1%} taken")
        if share in (0.0, 1.0):
            fate = "all" if share else "none"
            self.notes.append(f"impressions: {fate} of them were taken, so nothing can be learnt from what was not")
        return made

    def _told(self, count: int, what: str) -> None:
        self.notes.append(f"{count:,} impression{'s' * (count != 1)} {what}")

    def _watched(self, watched: Scores, clicked: Mask, item: Rows, items: Features) -> Scores:
        """Return the watched seconds made to fit the rest: 0 where not taken, and not beyond `LONGEST` times."""
        contrary = int((~clicked & (watched > 0)).sum())
        if contrary:
            self._told(contrary, "watched but not taken: their watched seconds are set to 0")
        watched = np.where(clicked, watched, np.float32(0))
        name = next((name for name in MINUTES if name in items and items[name].kind == "number"), None)
        if name is None:
            return watched
        length = items[name].values.astype(np.float32)
        known = length[np.isfinite(length)]
        minutes = "second" not in name and not (name == "duration" and len(known) and np.median(known) > 600)
        limit = LONGEST * length[item] * (60 if minutes else 1)
        beyond = (watched > limit) & (limit > 0)
        if beyond.any():
            unit = "minutes" if minutes else "seconds"
            what = f"watched for more than {LONGEST:g} times the item's {name!r} (in {unit}): cut to that"
            self._told(int(beyond.sum()), what)
        return np.where(beyond, limit, watched).astype(np.float32)


def _missing(cells: pl.Series) -> pl.Series:
    return absent(cells) | cells.is_nan().fill_null(False) if cells.dtype.is_float() else absent(cells)


def _known(watched: Scores | None, clicked: Mask) -> Scores:
    return np.zeros(len(clicked), np.float32) if watched is None else np.nan_to_num(watched, nan=-1.0)


def as_truth(cells: pl.Series) -> pl.Series:
    """Return whether each cell says yes, null where it says neither yes nor no.

    >>> as_truth(pl.Series(["1", "no", "TRUE", "2"])).to_list()
    [True, False, True, None]
    """
    if cells.dtype == pl.Boolean:
        return cells
    if cells.dtype.is_numeric():
        return (cells == 1).set(~((cells == 0) | (cells == 1)).fill_null(False), None)
    text = cells.cast(pl.String).str.strip_chars().str.to_lowercase().str.replace(r"^([01])\.0+$", "${1}")
    return text.replace_strict(YES_NO, default=None, return_dtype=pl.Boolean)
