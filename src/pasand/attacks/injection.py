"""Injects the profiles of an attack into a log: the original events and the attackers', in order of time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from pasand.attacks.kinds import KINDS, NEED_RATINGS
from pasand.attacks.ratings import rating_statistics
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.types import Array, Mask, Rows, Times

GAP = 60
"""Longest time between two events of an attacker, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A shilling attack that pushes one item."""

    kind: str = "bandwagon"
    """Name of a kind of `KINDS`."""
    share: float = 0.03
    """Number of attackers, as a share of the users of the log."""
    filler: float = 0.05
    """Items that each attacker interacts with beside the target, as a share of the items with events."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        for name in ("share", "filler"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """A log with the profiles of an attack."""

    data: Dataset
    """The log with the attackers as its last users."""
    attack: Attack
    target: int
    """Row of the item that the attack pushes."""
    attackers: Rows
    """(A,) rows of the attackers."""
    injected: Mask = field(repr=False)
    """(E,) whether each event of `data` is an attacker's."""


def inject(data: Dataset, attack: Attack, target: int, *, rng: Generator) -> Attacked:
    """Return the log with the profiles of an attack; without the events injected it is the log as it was.

    Every attacker interacts with the target, with the highest rating, and with the filler that its kind draws. Their
    first events are at the first events of genuine users drawn at random, so that no time gives them away; the
    others follow within a minute each. Attackers have no user features, and further columns are unknown (nan, or 0 in
    columns of whole numbers). Raises InputError for a kind that needs ratings where the log has none.
    """
    if attack.kind in NEED_RATINGS and data.values != "rating":
        cause, cure = "this kind of attack rates items, and the log has no ratings", "use --kind random or bandwagon"
        raise InputError(data.name, value=attack.kind, cause=cause, cure=cure)
    known = rating_statistics(data)
    others = known.items != target
    n_filler = min(max(round(attack.filler * len(known.items)), 1), int(others.sum()))
    n_attackers = max(round(attack.share * data.n_users), 1)
    known = replace(known, items=known.items[others], mean=known.mean[others], deviation=known.deviation[others])
    filled = [KINDS[attack.kind](known, n_filler, rng) for _ in range(n_attackers)]
    item = np.column_stack([np.full(n_attackers, target), *np.array([known.items[at] for at, _ in filled]).T])
    value = np.column_stack([np.full(n_attackers, known.highest), *np.array([values for _, values in filled]).T])
    shuffled = rng.permuted(np.broadcast_to(np.arange(n_filler + 1), item.shape), axis=1)
    item, value = np.take_along_axis(item, shuffled, axis=1), np.take_along_axis(value, shuffled, axis=1)
    attackers = np.arange(data.n_users, data.n_users + n_attackers, dtype=np.int32)
    return _joined(data, attack, target, attackers, item.astype(np.int32), value, _times(data, item.shape, rng))


def _times(data: Dataset, shape: tuple[int, int], rng: Generator) -> Times:
    """Return the times of the attackers' events, none after the last of the log; 0 without times."""
    if data.order != "time" or not len(data):
        return np.zeros(shape, np.int64)
    _, first = np.unique(data.user, return_index=True)
    times = rng.choice(data.time[first], (shape[0], 1)) + np.cumsum(rng.integers(1, GAP + 1, shape), axis=1)
    within_log: Times = np.minimum(times, data.time[-1])
    return within_log


def _joined(
    data: Dataset, attack: Attack, target: int, attackers: Rows, item: Rows, value: Array, time: Times
) -> Attacked:
    """Return the log with events of the attackers, (A, filler + 1) each."""
    n = item.size
    times = np.append(data.time, time.ravel())
    order = np.argsort(times, kind="stable")
    injected = (np.arange(len(data) + n) >= len(data))[order]
    values = None
    if data.value is not None:
        strength = float(np.nanmedian(data.value)) if len(data) else 1.0
        given = np.where(np.isnan(value), strength, value) if data.values == "strength" else value
        values = np.append(data.value, given.ravel().astype(np.float32))[order]
    columns = {
        name: np.append(column, np.full(n, np.nan if column.dtype.kind == "f" else 0, column.dtype))[order]
        for name, column in data.columns.items()
    }
    named = [f"attacker-{number:06}" for number in range(1, len(attackers) + 1)]
    attacked = replace(
        data,
        users=data.users.appended(named),
        user=np.append(data.user, np.repeat(attackers, item.shape[1]))[order],
        item=np.append(data.item, item.ravel())[order],
        time=times[order],
        value=values,
        columns=columns,
        user_features={name: one.extended(None, len(attackers)) for name, one in data.user_features.items()},
    )
    return Attacked(data=attacked, attack=attack, target=target, attackers=attackers, injected=injected)
