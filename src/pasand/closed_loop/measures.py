"""Measures of the rounds of a closed loop: viewers, studios, concentration, filter bubbles and group gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pasand.simulation.counter_random import uniform
from pasand.simulation.market import Market
from pasand.simulation.market_state import MarketState
from pasand.types import Array, Mask, Rows

SALE_DAYS = 30
"""Days from its first day in which a new studio is to make its first sale."""
PAIRS = 10_000
"""Pairs of viewers at most whose lists are compared in a round."""
MIN_GROUP = 0.01
"""Share of the visits of a round that a group must have to count in a gap."""


@dataclass(frozen=True)
class Round:
    """What happened in a round: its number, from 0, and the lists of its visits."""

    number: int
    users: Rows
    """(B,)"""
    items: Rows
    """(B, K), -1 at padding."""
    clicked: Mask
    """(B, K)"""
    satisfaction: Array
    """(B,) expected sum of the true preferences of the films that are clicked."""
    total: float
    """Sum of the satisfaction of this round and all before."""
    state: MarketState
    """After the choices of the round."""


@dataclass(frozen=True)
class Measure:
    """A figure of each round, and how the rounds of a run become one figure."""

    name: str
    better: Literal["higher", "lower", ""]
    """The direction that is better; "": neither is."""
    percent: bool
    """Whether it is shown in percent."""
    over: Literal["visits", "last", "late"]
    """The figure of a run: the mean over all visits, that of the last round, or the mean of the last third."""
    definition: str
    figure: Callable[[Round], float]


def _visitors(one: Round) -> float:
    return float(one.satisfaction.mean()) if len(one.users) else np.nan


def _per_viewer(one: Round) -> float:
    return one.total / max(int(one.state.arrived(one.number).sum()), 1)


def _retention(one: Round) -> float:
    arrived = one.state.arrived(one.number)
    return float(one.state.active[arrived].mean()) if arrived.any() else np.nan


def _survival(one: Round) -> float:
    begun = one.state.begun(one.number)
    return float(one.state.selling[begun].mean()) if begun.any() else np.nan


def _first_sales(one: Round) -> float:
    market = one.state.market
    watched = market.is_new & (market.studio_since + SALE_DAYS <= market.day(one.number))
    waited = one.state.first_sale[watched] - market.studio_since[watched]
    return float((waited <= SALE_DAYS).mean()) if watched.any() else np.nan


def gini(counts: Array) -> float:
    """Return the Gini coefficient of counts, (N,): 0 if all are equal, towards 1 if one has all; nan without any.

    >>> gini(np.array([1, 1, 1])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    total, n = counts.sum(), len(counts)
    if not total > 0:
        return float("nan")
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float(ranks @ np.sort(counts) / (n * total))


def _gini_exposure(one: Round) -> float:
    shown = np.bincount(one.items[one.items >= 0], minlength=one.state.market.n_items)
    return gini(shown[one.state.available(one.number) | (shown > 0)].astype(np.float64))


def _gini_sales(one: Round) -> float:
    market = one.state.market
    sold = np.bincount(market.studio[one.items[one.clicked]], minlength=market.n_studios)
    return gini(sold[one.state.begun(one.number)].astype(np.float64))


def _exposure(inside: Callable[[Market], Mask]) -> Callable[[Round], float]:
    """Return the measure of the share of shown films whose studio is inside a group, (S,)."""

    def figure(one: Round) -> float:
        shown = one.items[one.items >= 0]
        market = one.state.market
        return float(inside(market)[market.studio[shown]].mean()) if len(shown) else np.nan

    return figure


def _genre_entropy(one: Round) -> float:
    watched = one.state.genres[one.users].astype(np.float64)
    total = watched.sum(axis=1, keepdims=True)
    share = watched[total[:, 0] > 0] / total[total > 0][:, None]
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
    return float(entropy.mean()) if len(entropy) else np.nan


def _overlap(one: Round) -> float:
    order = np.argsort(uniform(one.state.market.seed, one.number, one.users), kind="stable")[: 2 * PAIRS]
    half = len(order) // 2
    first, second = one.items[order[:half]], one.items[order[half : 2 * half]]
    common = ((first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]).sum(axis=(1, 2))
    length = (first >= 0).sum(axis=1)
    return float((common / np.maximum(length, 1)).mean()) if half else np.nan


def _language_distance(one: Round) -> float:
    world = one.state.market.world
    listed = np.zeros((len(one.users), len(world.languages)))
    row, column = np.nonzero(one.items >= 0)
    np.add.at(listed, (row, world.films.language[one.items[row, column]]), 1)
    filled = listed.sum(axis=1) > 0
    share = listed[filled] / listed[filled].sum(axis=1, keepdims=True)
    distance = np.abs(share - world.viewers.languages[one.users[filled]]).sum(axis=1) / 2
    return float(distance.mean()) if len(distance) else np.nan


def _gap(group: Callable[[Market], Rows]) -> Callable[[Round], float]:
    """Return the measure of the gap in satisfaction between the best and the worst of groups of viewers, (U,)."""

    def figure(one: Round) -> float:
        if not len(one.users):
            return np.nan
        codes = group(one.state.market)[one.users]
        visits = np.bincount(codes)
        large = visits >= max(MIN_GROUP * len(codes), 2)
        means = np.bincount(codes, one.satisfaction)[large] / visits[large]
        return float(np.ptp(means)) if len(means) > 1 else np.nan

    return figure


def _main_language(market: Market) -> Rows:
    return np.asarray(market.world.viewers.languages.argmax(axis=1), np.int32)


MEASURES = (
    Measure(
        "true satisfaction of a visit",
        *("higher", False, "visits"),
        "Expected sum of the true preferences, each in [0, 1], of the films that a viewer clicks in a list.",
        _visitors,
    ),
    Measure(
        "true satisfaction per viewer",
        *("higher", False, "last"),
        "That of all visits until a round, divided by the viewers who have arrived, so viewers who left count.",
        _per_viewer,
    ),
    Measure(
        "retention", "higher", True, "last", "Share of the viewers who have arrived that have not left.", _retention
    ),
    Measure(
        "survival of studios",
        *("higher", True, "last"),
        "Share of the studios that have begun that have not left; a studio leaves when it has not sold for long.",
        _survival,
    ),
    Measure(
        f"first sale in {SALE_DAYS} days",
        *("higher", True, "last"),
        f"Share of the new studios, {SALE_DAYS} days or more after their first day, that sold in their first "
        f"{SALE_DAYS} days.",
        _first_sales,
    ),
    Measure("exposure of new studios", "", True, "late", "Share in the lists.", _exposure(lambda one: one.is_new)),
    Measure("exposure of metros", "", True, "late", "Share in the lists.", _exposure(lambda one: one.metro)),
    Measure(
        "Gini of exposure",
        *("lower", False, "late"),
        "Gini coefficient of how often films are shown, over those that can be shown.",
        _gini_exposure,
    ),
    Measure(
        "Gini of sales",
        *("lower", False, "late"),
        "Gini coefficient of the sales of studios, over those that have begun.",
        _gini_sales,
    ),
    Measure(
        "genre entropy",
        *("higher", False, "late"),
        "Mean entropy of the genres that a viewer has watched in the rounds, recent ones first, in bits.",
        _genre_entropy,
    ),
    Measure(
        "overlap of lists", "lower", True, "late", "Share of a list that is in that of another viewer, mean.", _overlap
    ),
    Measure(
        "language distance",
        *("lower", False, "late"),
        "Distance (total variation) of the languages of a list from the viewer's own shares, mean.",
        _language_distance,
    ),
    Measure(
        "gap between languages",
        *("lower", False, "late"),
        "Satisfaction of a visit, best group of viewers minus worst, by main language.",
        _gap(_main_language),
    ),
    Measure(
        "gap between ages",
        *("lower", False, "late"),
        "Satisfaction of a visit, best group of viewers minus worst, by age band.",
        _gap(lambda one: one.world.viewers.age_band),
    ),
)
"""All measures, the most important ones first."""
VISITS = "visits"
"""Name of the number of visits among the figures of a round."""


def figures(one: Round) -> dict[str, float]:
    """Return the figure of each measure, and the number of visits; nan where it is undefined."""
    return {VISITS: float(len(one.users))} | {measure.name: measure.figure(one) for measure in MEASURES}


def of_run(measure: Measure, rounds: Array, visits: Array) -> float:
    """Return the figure of a run from those of its rounds, (R,), and their visits, (R,); nan if all are undefined."""
    known = np.isfinite(rounds)
    if measure.over == "late":
        known[: 2 * len(rounds) // 3] = False
    if not known.any():
        return float("nan")
    if measure.over == "last":
        return float(rounds[known][-1])
    return float(np.average(rounds[known], weights=visits[known] if measure.over == "visits" else None))
