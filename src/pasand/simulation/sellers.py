"""Sellers of the simulated marketplace: craft, town, size and first day; new ones join at the start of a week."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.simulation.crafts import CRAFTS, METROS, REGION_OF_TOWN, SIZES, TOWNS
from pasand.types import Array, Rows

WEEK = 7
"""Days between two dates on which new sellers join."""
AT_HOME = 0.75
"""Share of the sellers of a craft who are in its town; the others are elsewhere in its region."""


@dataclass(frozen=True, kw_only=True)
class Sellers:
    """Attributes of the S sellers, established ones first, then new ones in order of their first day."""

    craft: Rows
    """(S,) code of the craft; a seller has one."""
    town: Rows
    """(S,) code of the town."""
    size: Rows
    """(S,) code of the size; new sellers are small."""
    since: Array
    """(S,) first day, before the first day of the log (negative) or at the start of one of its later weeks."""
    weight: Array
    """(S,) share of the later products that are of this seller; adds up to 1."""
    skill: Array
    """(S,) hidden: mean quality of the products."""

    def __len__(self) -> int:
        return len(self.craft)


def draw_sellers(n: int, new: float, days: int, rng: Generator) -> Sellers:
    """Return n sellers; a share `new` of them joins after the first day, as many in each of the weeks as in another.

    There are as many sellers of one craft as of another, up to one. The tenth with the most products is large, the
    next three tenths are medium. A log of a week or less has no new sellers.
    """
    weeks = np.arange(WEEK, days, WEEK)
    n_new = min(round(new * n), n - 1) if len(weeks) else 0
    n_old = n - n_new
    craft = rng.permutation(np.arange(n) % len(CRAFTS)).astype(np.int32)
    at_home = rng.random(n) < AT_HOME
    towns = [_town(int(code), bool(home), rng) for code, home in zip(craft, at_home, strict=True)]
    weight = np.append(rng.lognormal(0, 1, n_old), np.full(n_new, 0.3))
    rank = np.argsort(np.argsort(-weight, kind="stable"), kind="stable")
    size = np.where(rank < max(1, n // 10), 0, np.where(rank < max(2, 2 * n // 5), 1, 2))
    size[n_old:] = SIZES.index("small")
    joins = weeks[np.arange(n_new) * len(weeks) // max(n_new, 1)]
    return Sellers(
        craft=craft,
        town=np.array(towns, np.int32),
        size=size.astype(np.int32),
        since=np.append(-np.floor(rng.uniform(60, 3650, n_old)), joins).astype(np.float64),
        weight=weight / weight.sum(),
        skill=rng.standard_normal(n),
    )


def _town(craft: int, at_home: bool, rng: Generator) -> int:
    """Return the town of a seller of a craft: that of the craft, another one of its region, or for none a metro."""
    made = CRAFTS[craft]
    if made.town and at_home:
        return TOWNS.index(made.town)
    others = [town for town in TOWNS if town != made.town and REGION_OF_TOWN[town] == made.region]
    chosen = others if made.town else list(METROS)
    return TOWNS.index(chosen[rng.integers(len(chosen))])
