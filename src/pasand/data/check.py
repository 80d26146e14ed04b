"""What a log is like before anything is learnt from it: faults, size, activity, and how cold a fair test will be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.encoding.dropped_rows import Reading
from pasand.data.encoding.encode import read
from pasand.data.log import Options
from pasand.sources import open_log
from pasand.types import Array, Rows

QUANTILES = (0, 10, 25, 50, 75, 90, 99, 100)
"""Percentiles of activity that are shown."""

TRAIN = 0.8
"""Share of events before the cut of the default split."""

FASTEST = 60
"""Events within one minute above which a user is suspected to be a program."""

AT_ONCE = 5
"""Mean events at one and the same second above which a user is suspected to be a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Rows that were dropped for one reason."""

    column: str
    reason: str
    rows: int
    first_row: int
    first_value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A user who behaves like a program."""

    user: str
    events: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """How much of the test under the default split concerns users and items without training events."""

    users: float
    """Share of test users, in [0, 1]."""
    items: float
    """Share of test items."""
    user_events: float
    """Share of test events whose user is cold."""
    item_events: float
    """Share of test events whose item is cold."""
    cut: str
    """First moment of the test, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpressionReport:
    """What a log tells of impressions."""

    impressions: int
    clicked: float
    """Share taken, in [0, 1]."""
    clicks_by_position: Mapping[str, float]
    """Share taken at positions "1" to "5", those that occur."""
    unknown_position: float
    """Share whose position is not known."""
    users: int
    items: int
    events_found: float | None
    """Share of the events whose user and item are found among what was taken; None without events."""
    propensity: bool
    """Whether it is known how probable each was."""
    watched_seconds: bool
    """Whether it is known how long what was taken was watched."""

    def lines(self) -> list[str]:
        """Return the report as a person reads it."""
        absent = [name for name in ("propensity", "watched_seconds") if not getattr(self, name)]
        told = ", ".join(f"{place}: {share:.2%}" for place, share in self.clicks_by_position.items())
        found = [] if self.events_found is None else [f"{self.events_found:.0%} of the events are among those taken"]
        unknown = [f"unknown of {self.unknown_position:.1%}"] if self.unknown_position else []
        return [
            f"impressions {self.impressions:,} of {self.items:,} items to {self.users:,} users, taken {self.clicked:.2%}",
            "  taken by position: " + ", ".join([told] * bool(told) + unknown),
            "  " + "; ".join(found + [f"no {name.replace('_', ' ')}" for name in absent]),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The validation report of a log."""

    name: str
    rows_read: int
    rows_dropped: int
    faults: tuple[Fault, ...]
    duplicates: int
    events: int
    users: int
    items: int
    density: float
    """Share of all pairs of a user and an item that have an event."""
    first: str | None
    """Moment of the first event, UTC; None without time."""
    last: str | None
    values: str
    order: str
    positive_from: float | None
    """None where every event is a liking."""
    likings: int
    events_per_user: Mapping[str, float]
    """Percentiles, "0" to "100"."""
    events_per_item: Mapping[str, float]
    suspects: tuple[Suspect, ...]
    """Suspicious users, most events first, at most 20."""
    n_suspects: int
    cold: Cold | None
    """None without time."""
    shown: ImpressionReport | None
    """None without impressions."""
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Return the report as a person reads it."""
        lines = [
            f"{self.name}: {self.events:,} events of {self.users:,} users and {self.items:,} items",
            f"rows read {self.rows_read:,}, dropped {self.rows_dropped:,}, exact repetitions {self.duplicates:,}",
        ]
        lines += [
            f"  {fault.rows:,} {'row' if fault.rows == 1 else 'rows'}: {fault.column} {fault.reason}"
            f" (first: row {fault.first_row}, {fault.first_value!r})"
            for fault in self.faults
        ]
        lines.append(f"density {self.density:.4%}")
        lines.append(f"time {self.first} to {self.last}, UTC" if self.first else f"no time, order: {self.order}")
        scale = "every event" if self.positive_from is None else f"{self.values} of {self.positive_from:g} and more"
        lines.append(f"likings {self.likings:,} ({scale})")
        for side, found in (("user", self.events_per_user), ("item", self.events_per_item)):
            shares = {"0": "least", "50": "median", "100": "most"}
            told = ", ".join(f"{shares.get(q, f'{q} %')} {count:g}" for q, count in found.items())
            lines.append(f"events per {side}, percentiles: {told}")
        lines.append(f"suspicious users {self.n_suspects:,}")
        lines += [f"  {suspect.user}: {suspect.events:,} events, {suspect.reason}" for suspect in self.suspects]
        if self.cold:
            cold = self.cold
            lines.append(
                f"default split, test from {cold.cut}: cold are {cold.users:.0%} of its users ({cold.user_events:.0%} "
                f"of its events) and {cold.items:.0%} of its items ({cold.item_events:.0%} of its events)"
            )
        if self.shown:
            lines += self.shown.lines()
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def check(source: str | Path | Dataset, options: Options | None = None) -> Report:
    """Return the report of the log at a path, a database URL or under a name; raises InputError as `load` does.

    Bad rows are reported whatever their share, unless no good row is left. Of a dataset that is encoded already the
    dropped rows are known from its notes alone.
    """
    if isinstance(source, Dataset):
        return report(source, Reading(rows=len(source)))
    options = replace(options or Options(), bad_rows=1)
    return report(*read(open_log(str(source), options), options))


def report(data: Dataset, reading: Reading) -> Report:
    """Return the report of a dataset and of how it was read."""
    per_user = np.bincount(data.user, minlength=data.n_users)
    per_item = np.bincount(data.item, minlength=data.n_items)
    pairs = len(np.unique(data.user.astype(np.int64) * data.n_items + data.item))
    timed = data.order == "time"
    suspects = _suspects(data, per_user)
    return Report(
        name=data.name,
        rows_read=reading.rows,
        rows_dropped=reading.bad,
        faults=tuple(
            Fault(
                column=dropped.column,
                reason=dropped.reason,
                rows=dropped.count,
                first_row=dropped.row,
                first_value="" if dropped.value is None else str(dropped.value),
            )
            for dropped in reading.dropped
        ),
        duplicates=reading.duplicates,
        events=len(data),
        users=data.n_users,
        items=data.n_items,
        density=pairs / (data.n_users * data.n_items),
        first=_utc(int(data.time[0])) if timed else None,
        last=_utc(int(data.time[-1])) if timed else None,
        values=data.values,
        order=data.order,
        positive_from=None if np.isinf(data.positive_from) else float(data.positive_from),
        likings=int(data.liked.sum()),
        events_per_user=_quantiles(per_user),
        events_per_item=_quantiles(per_item),
        suspects=tuple(suspects[:20]),
        n_suspects=len(suspects),
        cold=_cold(data) if timed else None,
        shown=_shown(data),
        notes=data.notes,
    )


def _shown(data: Dataset) -> ImpressionReport | None:
    """Return what is known of impressions; None where there are none."""
    shown = data.impressions
    if shown is None or not len(shown):
        return None
    many = max(data.n_items, 1)
    events = data.user.astype(np.int64) * many + data.item
    clicked = shown.user[shown.clicked].astype(np.int64) * many + shown.item[shown.clicked]
    counts = np.bincount(np.minimum(shown.position, 6), minlength=7)
    hits = np.bincount(np.minimum(shown.position, 6), weights=shown.clicked, minlength=7)
    return ImpressionReport(
        impressions=len(shown),
        clicked=float(shown.clicked.mean()),
        clicks_by_position={str(place): float(hits[place] / counts[place]) for place in range(1, 6) if counts[place]},
        unknown_position=float(counts[0] / len(shown)),
        users=len(np.unique(shown.user)),
        items=len(np.unique(shown.item)),
        events_found=float(np.isin(events, clicked).mean()) if len(events) else None,
        propensity=shown.propensity is not None,
        watched_seconds=shown.watched_seconds is not None,
    )


def _utc(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).replace("T", " ")


def _quantiles(counts: Array) -> dict[str, float]:
    found = np.percentile(counts, QUANTILES)
    return {str(q): float(count) for q, count in zip(QUANTILES, found, strict=True)}


def _suspects(data: Dataset, per_user: Array) -> list[Suspect]:
    """Return the users who act faster than people do, or far more than all others, most events first."""
    reasons: dict[int, str] = {}
    logs = np.log(np.maximum(per_user, 1))
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.5)
    # in logarithms activity is about normal; six deviations is one user in 10^9
    for user in np.flatnonzero(logs > middle + 6 * spread):
        reasons[int(user)] = f"{per_user[user] / np.exp(middle):.0f} times the median"
    if data.order == "time":
        grouped = data.by_user
        who, when = data.user[grouped.event], data.time[grouped.event]
        if len(who) > FASTEST:
            hasty = (who[FASTEST:] == who[:-FASTEST]) & (when[FASTEST:] - when[:-FASTEST] < 60)
            for user in np.unique(who[FASTEST:][hasty]):
                reasons[int(user)] = f"more than {FASTEST} events within a minute"
        new = np.ones(len(who), np.bool_)
        new[1:] = (who[1:] != who[:-1]) | (when[1:] != when[:-1])
        moments = np.bincount(who[new], minlength=data.n_users)
        crowd = per_user / np.maximum(moments, 1)
        for user in np.flatnonzero((crowd > AT_ONCE) & (per_user > FASTEST)):
            reasons[int(user)] = f"{crowd[user]:.1f} events at the same second on average"
    order = sorted(reasons, key=lambda user: (-int(per_user[user]), user))
    names = data.users.ids(np.array(order, np.int64))
    return [
        Suspect(user=name, events=int(per_user[user]), reason=reasons[user])
        for name, user in zip(names, order, strict=True)
    ]


def _cold(data: Dataset) -> Cold | None:
    """Return how cold the test is when the log is cut in time; None where all events share one moment."""
    if data.time[0] == data.time[-1]:
        return None
    moment = data.time[min(int(TRAIN * len(data)), len(data) - 1)]
    cut = int(np.searchsorted(data.time, moment)) or int(np.searchsorted(data.time, moment, side="right"))

    def share(rows: Rows) -> tuple[float, float]:
        unknown = ~np.isin(rows[cut:], rows[:cut])
        return len(np.unique(rows[cut:][unknown])) / len(np.unique(rows[cut:])), float(unknown.mean())

    users, user_events = share(data.user)
    items, item_events = share(data.item)
    return Cold(
        users=users, items=items, user_events=user_events, item_events=item_events, cut=_utc(int(data.time[cut]))
    )
