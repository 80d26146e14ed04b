"""Finds the items that an attack pushes, and its profiles, without being given their number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pasand.attacks.behaviour import behaviour
from pasand.data.dataset import Dataset
from pasand.types import Array, Mask, Offsets, Scores

if TYPE_CHECKING:
    from scipy import sparse

NEIGHBOURS = 10
"""Number of nearest users by behaviour."""
ENRICHMENT = 5.0
"""Number of times that users of an item must be nearest users of each other as often as by chance."""
MIN_USERS = 6
"""Least number of profiles of an attack."""
LEAST = 1e-3
"""Least probability that a suspicious user is genuine."""
MIN_EVENTS = 5
"""Least number of items of a user whose behaviour is compared."""
MIN_NEIGHBOURS = 2
"""Number of nearest users with a positive event for a pushed item above which its user is suspicious."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspiciousItem:
    """An item that a group of users of almost the same behaviour pushes."""

    item: str
    positives: int
    """Number of users with a positive event for the item."""
    profiles: tuple[str, ...]
    """Ids of the suspicious ones among them."""
    near: float
    """Mean number of the nearest users of a suspicious profile that pushed the item as well, of `NEIGHBOURS`."""
    expected: float
    """The same by chance."""

    def __str__(self) -> str:
        return (
            f"{self.item}: {len(self.profiles):,} of {self.positives:,} users with a positive event behave alike: of "
            f"the {NEIGHBOURS} users with the most similar behaviour, {self.near:.1f} chose this item as well, where "
            f"{self.expected:.1f} are expected"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Items that seem to be pushed, the most suspicious first, and the suspicion of every user."""

    items: tuple[SuspiciousItem, ...]
    suspicion: Scores = field(repr=False)
    """(U,) in [0, 1): 1 - the probability that a genuine user has as many neighbours by chance; 0 for all others."""

    @property
    def flagged(self) -> Mask:
        """(U,) whether each user is suspicious."""
        return self.suspicion > 0

    def lines(self, shown: int = 10) -> list[str]:
        """Return the findings as lines of text."""
        n = int(self.flagged.sum())
        if not n:
            return ["no item seems to be pushed by fake profiles"]
        lines = [f"items that seem to be pushed by fake profiles {len(self.items):,}, suspicious profiles {n:,}"]
        for one in self.items[:shown]:
            more = f" and {len(one.profiles) - 5:,} more" if len(one.profiles) > 5 else ""
            lines += [f"  {one}", f"    profiles: {', '.join(one.profiles[:5])}{more}"]
        return lines

    def as_json(self) -> dict[str, object]:
        """Return the findings as values that JSON can hold."""
        return {"items": [asdict(one) for one in self.items], "suspicious_profiles": int(self.flagged.sum())}


def detect(data: Dataset) -> Detection:
    """Return the items that seem to be pushed and the profiles that push them.

    Genuine users of an item share a taste, not a way of choosing and rating. For each item the pairs of users are
    counted who have a positive event for it and are nearest users of each other by `behaviour`, and compared with the
    number by chance. The item that exceeds it most significantly is suspicious if it exceeds it `ENRICHMENT` times by
    three standard deviations, and if its users with more than `MIN_NEIGHBOURS` such neighbours are at least `MIN_USERS`
    and have on average half of their nearest users (or of these users, if there are fewer) among them. These users are
    then suspicious, with the probability that a genuine user of an item of this enrichment has fewer such neighbours
    (binomial; at most 1 - `LEAST`). They are left out, and the next item is sought. The order of events and their times
    have no influence. Users with fewer than `MIN_EVENTS` items are never suspicious.
    """
    suspicion: Scores = np.zeros(data.n_users, np.float32)
    found: list[SuspiciousItem] = []
    users = np.flatnonzero(np.bincount(data.user, minlength=data.n_users) >= MIN_EVENTS)
    if len(users) <= NEIGHBOURS:
        return Detection(items=(), suspicion=suspicion)
    near, chosen = _nearest(behaviour(data)[users]), data.matrix()[users].tocsc()
    left, untested = np.ones(len(users), np.bool_), np.ones(data.n_items, np.bool_)
    observed = (near @ chosen).multiply(chosen).tocsc()
    while True:
        item, expected = _most_suspicious(chosen, observed, int(left.sum()), untested)
        if item < 0:
            return Detection(items=tuple(found), suspicion=suspicion)
        untested[item] = False
        hits = observed[:, [item]].toarray().ravel()
        members = np.flatnonzero(hits > max(MIN_NEIGHBOURS, 2 * expected))
        if len(members) < MIN_USERS or hits[members].mean() < min(NEIGHBOURS, len(members) - 1) / 2:
            continue
        suspicion[users[members]] = 1 - _by_chance(hits[members], expected)
        found.append(
            SuspiciousItem(
                item=data.items.ids([item])[0],
                positives=int(chosen[:, [item]].sum()),
                profiles=tuple(data.users.ids(users[members])),
                near=float(hits[members].mean()),
                expected=expected,
            )
        )
        left[members] = False
        chosen = chosen.multiply(left[:, None]).tocsc()
        observed = (near @ chosen).multiply(chosen).tocsc()


def _by_chance(hits: Array, expected: float) -> Array:
    """Return the probability that a genuine user has that many neighbours among the users of an item, (n,)."""
    from scipy.special import bdtrc

    chance = min(ENRICHMENT * expected / NEIGHBOURS, 1.0)
    return np.maximum(bdtrc(hits - 1, NEIGHBOURS, chance), LEAST)


def _nearest(measures: Array) -> sparse.csr_array:
    """Return 1 for the nearest users of each user, (A, A), by measures in units of their median deviation."""
    from scipy import sparse
    from scipy.spatial import KDTree

    centred = measures - np.median(measures, axis=0)
    scale = 1.4826 * np.median(np.abs(centred), axis=0)
    scaled = centred / np.where(scale > 0, scale, 1)
    rows: Offsets = np.asarray(KDTree(scaled).query(scaled, k=NEIGHBOURS + 1)[1])
    user = np.repeat(np.arange(len(rows)), NEIGHBOURS + 1)
    others = rows.ravel() != user
    ones = np.ones(int(others.sum()))
    near = sparse.csr_array((ones, (user[others], rows.ravel()[others])), shape=(len(rows), len(rows)))
    return near


def _most_suspicious(
    chosen: sparse.csc_array, observed: sparse.csc_array, n_users: int, untested: Mask
) -> tuple[int, float]:
    """Return the most suspicious untested item and the neighbours expected of each user; -1 without such an item."""
    positives, hits = (np.asarray(counted.sum(axis=0)).ravel() for counted in (chosen, observed))
    each = NEIGHBOURS * np.maximum(positives - 1, 0) / max(n_users - 1, 1)
    expected = each * positives
    exceeds = untested & (positives >= MIN_USERS) & (hits - 3 * np.sqrt(hits) > ENRICHMENT * expected)
    score = np.where(exceeds, (hits - expected) / np.sqrt(expected + 1), -1)
    best = int(np.argmax(score))
    return (best, float(each[best])) if score[best] > 0 else (-1, 0.0)
