"""Validation report of a log: dropped rows, size, user activity, suspected bots, cold-start share, impressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.encoding.dropped_rows import ReadSummary
from pasand.data.encoding.encode import read
from pasand.data.log import Log, Options
from pasand.types import Array, Rows

QUANTILES = (0, 10, 25, 50, 75, 90, 99, 100)
"""Percentiles of activity in the report."""

TRAIN_SHARE = 0.8
"""Share of events before the cut of the default split."""

MAX_PER_MINUTE = 60
"""Events within one minute above which a user is suspected to be a bot."""

MAX_PER_SECOND = 5
"""Mean number of events with the same timestamp above which a user is suspected to be a bot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Rows dropped for one reason."""

    column: str
    reason: str
    rows: int
    first_row: int
    first_value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A user whose activity looks automated."""

    user: str
    events: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Share of the test part of the default split whose users or items have no training events."""

    users: float
    """Share of test users that are cold, in [0, 1]."""
    items: float
    """Share of test items that are cold."""
    user_events: float
    """Share of test events whose user is cold."""
    item_events: float
    """Share of test events whose item is cold."""
    cut: str
    """First time of the test part, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpressionReport:
    """Summary of the impressions of a log."""

    impressions: int
    clicked: float
    """Share clicked, in [0, 1]."""
    clicks_by_position: Mapping[str, float]
    """Share clicked at positions "1" to "5", those that occur."""
    unknown_position: float
    """Share without a known position."""
    users: int
    items: int
    events_found: float | None
    """Share of the events whose user and item have a clicked impression; None without events."""
    propensity: bool
    """Whether the impressions have propensities."""
    watched_seconds: bool
    """Whether the impressions have watched seconds."""

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        absent = [name for name in ("propensity", "watched_seconds") if not getattr(self, name)]
        rates = [f"{position}: {share:.2%}" for position, share in self.clicks_by_position.items()]
        rates += [f"{self.unknown_position:.1%} have no position"] if self.unknown_position else []
        facts = [] if self.events_found is None else [f"{self.events_found:.0%} of events have a clicked impression"]
        return [
            f"impressions {self.impressions:,} of {self.items:,} items to {self.users:,} users, "
            f"clicked {self.clicked:.2%}",
            "  clicked by position: " + ", ".join(rates),
            "  " + "; ".join(facts + [f"no {name.replace('_', ' ')}" for name in absent]),
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
    items_without_events: int
    """Items of the catalogue that the log never shows as an event."""
    density: float
    """Share of all pairs of a user and an item that have an event."""
    first: str | None
    """Time of the first event, UTC; None without timestamps."""
    last: str | None
    values: str
    order: str
    positive_from: float | None
    """None where every event is positive."""
    positives: int
    """Number of positive events."""
    events_per_user: Mapping[str, float]
    """Percentiles, "0" to "100"."""
    events_per_item: Mapping[str, float]
    suspects: tuple[Suspect, ...]
    """Suspicious users, most events first, at most 20."""
    n_suspects: int
    cold: ColdStart | None
    """None without timestamps, and where all events have the same one."""
    impressions: ImpressionReport | None
    """None without impressions."""
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the report as values that JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Return the report as readable text."""
        without = f", {self.items_without_events:,} of them without an event" if self.items_without_events else ""
        lines = [
            f"{self.name}: {self.events:,} events of {self.users:,} users and {self.items:,} items{without}",
            f"rows read {self.rows_read:,}, dropped {self.rows_dropped:,}, exact duplicates {self.duplicates:,}",
        ]
        lines += [
            f"  {fault.rows:,} {'row' if fault.rows == 1 else 'rows'}: {fault.column} {fault.reason}"
            f" (first: row {fault.first_row}, {fault.first_value!r})"
            for fault in self.faults
        ]
        lines.append(f"density {self.density:.4%}")
        lines.append(f"time {self.first} to {self.last}, UTC" if self.first else f"no time, order: {self.order}")
        scale = "every event" if self.positive_from is None else f"{self.values} of {self.positive_from:g} and more"
        lines.append(f"positive events {self.positives:,} ({scale})")
        for side, quantiles in (("user", self.events_per_user), ("item", self.events_per_item)):
            labels = {"0": "least", "50": "median", "100": "most"}
            values = ", ".join(f"{labels.get(q, f'{q} %')} {count:g}" for q, count in quantiles.items())
            lines.append(f"events per {side}, percentiles: {values}")
        lines.append(f"suspicious users {self.n_suspects:,}")
        lines += [f"  {suspect.user}: {suspect.events:,} events, {suspect.reason}" for suspect in self.suspects]
        if self.cold:
            cold = self.cold
            lines.append(
                f"default split, test from {cold.cut}: {cold.users:.0%} of its users are cold ({cold.user_events:.0%} "
                f"of its events) and {cold.items:.0%} of its items ({cold.item_events:.0%} of its events)"
            )
        if self.impressions:
            lines += self.impressions.lines()
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def check(log: Log | Dataset, options: Options | None = None) -> Report:
    """Return the report of a log; raises InputError as `encode` does.

    Bad rows are reported whatever their share, unless no good row is left. For a dataset that is encoded already, only
    its notes name the dropped rows.
    """
    if isinstance(log, Dataset):
        return report(log, ReadSummary(rows=len(log)))
    return report(*read(log, replace(options or Options(), bad_rows=1)))


def report(data: Dataset, summary: ReadSummary) -> Report:
    """Return the report of a dataset and of the rows read and dropped."""
    per_user = np.bincount(data.user, minlength=data.n_users)
    per_item = np.bincount(data.item, minlength=data.n_items)
    pairs = len(np.unique(data.user.astype(np.int64) * data.n_items + data.item))
    timed = data.order == "time"
    suspects = _suspects(data, per_user)
    return Report(
        name=data.name,
        rows_read=summary.rows,
        rows_dropped=summary.bad,
        faults=tuple(
            Fault(
                column=dropped.column,
                reason=dropped.reason,
                rows=dropped.count,
                first_row=dropped.row,
                first_value="" if dropped.value is None else str(dropped.value),
            )
            for dropped in summary.dropped
        ),
        duplicates=summary.duplicates,
        events=len(data),
        users=data.n_users,
        items=data.n_items,
        items_without_events=int(np.count_nonzero(per_item == 0)),
        density=pairs / (data.n_users * data.n_items),
        first=_utc(int(data.time[0])) if timed else None,
        last=_utc(int(data.time[-1])) if timed else None,
        values=data.values,
        order=data.order,
        positive_from=None if np.isinf(data.positive_from) else float(data.positive_from),
        positives=int(data.is_positive.sum()),
        events_per_user=_quantiles(per_user),
        events_per_item=_quantiles(per_item),
        suspects=tuple(suspects[:20]),
        n_suspects=len(suspects),
        cold=_cold(data) if timed else None,
        impressions=_impressions(data),
        notes=data.notes,
    )


def _impressions(data: Dataset) -> ImpressionReport | None:
    """Return the summary of the impressions; None where there are none."""
    shown = data.impressions
    if shown is None or not len(shown):
        return None
    n_items = max(data.n_items, 1)
    events = data.user.astype(np.int64) * n_items + data.item
    clicked = shown.user[shown.clicked].astype(np.int64) * n_items + shown.item[shown.clicked]
    counts = np.bincount(np.minimum(shown.position, 6), minlength=7)
    clicks = np.bincount(np.minimum(shown.position, 6), weights=shown.clicked, minlength=7)
    return ImpressionReport(
        impressions=len(shown),
        clicked=float(shown.clicked.mean()),
        clicks_by_position={str(i): float(clicks[i] / counts[i]) for i in range(1, 6) if counts[i]},
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
    values = np.percentile(counts, QUANTILES)
    return {str(q): float(value) for q, value in zip(QUANTILES, values, strict=True)}


def _suspects(data: Dataset, per_user: Array) -> list[Suspect]:
    """Return the users who act faster than people can, or far more than all others, most events first."""
    reasons: dict[int, str] = {}
    logs = np.log(np.maximum(per_user, 1))
    median = float(np.median(logs))
    deviation = max(1.4826 * float(np.median(np.abs(logs - median))), 0.5)
    # the logarithm of activity is roughly normal; six deviations is one user in 10^9
    for user in np.flatnonzero(logs > median + 6 * deviation):
        reasons[int(user)] = f"{per_user[user] / np.exp(median):.0f} times the median"
    if data.order == "time":
        grouped = data.by_user
        users, times = data.user[grouped.event], data.time[grouped.event]
        if len(users) > MAX_PER_MINUTE:
            same_user = users[MAX_PER_MINUTE:] == users[:-MAX_PER_MINUTE]
            too_fast = same_user & (times[MAX_PER_MINUTE:] - times[:-MAX_PER_MINUTE] < 60)
            for user in np.unique(users[MAX_PER_MINUTE:][too_fast]):
                reasons[int(user)] = f"more than {MAX_PER_MINUTE} events within a minute"
        new = np.ones(len(users), np.bool_)
        new[1:] = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
        timestamps = np.bincount(users[new], minlength=data.n_users)
        simultaneous = per_user / np.maximum(timestamps, 1)
        for user in np.flatnonzero((simultaneous > MAX_PER_SECOND) & (per_user > MAX_PER_MINUTE)):
            reasons[int(user)] = f"{simultaneous[user]:.1f} events at the same second on average"
    order = sorted(reasons, key=lambda user: (-int(per_user[user]), user))
    names = data.users.ids(np.array(order, np.int64))
    return [
        Suspect(user=name, events=int(per_user[user]), reason=reasons[user])
        for name, user in zip(names, order, strict=True)
    ]


def _cold(data: Dataset) -> ColdStart | None:
    """Return the cold-start shares of the default split in time; None where all events have the same timestamp."""
    if data.time[0] == data.time[-1]:
        return None
    time = data.time[min(int(TRAIN_SHARE * len(data)), len(data) - 1)]
    cut = int(np.searchsorted(data.time, time)) or int(np.searchsorted(data.time, time, side="right"))

    def share(rows: Rows) -> tuple[float, float]:
        cold = ~np.isin(rows[cut:], rows[:cut])
        return len(np.unique(rows[cut:][cold])) / len(np.unique(rows[cut:])), float(cold.mean())

    users, user_events = share(data.user)
    items, item_events = share(data.item)
    return ColdStart(
        users=users, items=items, user_events=user_events, item_events=item_events, cut=_utc(int(data.time[cut]))
    )
