"""`tradeoff`: what accuracy each strength of a policy costs, what it buys, and how much of it is free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

import numpy as np

from pasand.audit.dials import Dial, chosen, dials, turned
from pasand.audit.estimates import POWER, Finding, compared, corrected, mean_of
from pasand.audit.groups import HISTORY, MOST, item_grouping, user_grouping
from pasand.audit.later_events import later_events
from pasand.audit.lists import KnownUsers, Lists, recommend
from pasand.audit.tradeoff_measures import Measure, measures
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.evaluation.intervals import number_or_none

ACCURACY = ("ndcg", "recall")
"""Metrics of accuracy; the first one is tested."""
CORRECTION = "Holm's correction for all tests of the tradeoff, level 5 %"


@dataclass(frozen=True, kw_only=True)
class Point:
    """The lists at one value of a dial, compared with those without its table, paired by user."""

    value: float
    current: bool
    """Whether it is the value in the recipe."""
    accuracy: Sequence[Finding]
    fairness: Sequence[Finding]

    @property
    def loss(self) -> Finding:
        """The metric that is tested."""
        return self.accuracy[0]

    @property
    def findings(self) -> list[Finding]:
        """All findings, those of accuracy first."""
        return [*self.accuracy, *self.fairness]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The points of one dial, from the weakest to the strongest value."""

    dial: Dial
    points: Sequence[Point]
    measures: Sequence[Measure]

    @property
    def free(self) -> Point | None:
        """The strongest point of which, as of all weaker ones, no loss of accuracy is shown; None if there is none.

        None as well if the table has no effect.
        """
        found = None
        for point in () if self.idle else self.points:
            if point.loss.verdict == "lower":
                break
            found = point
        return found

    @property
    def own(self) -> list[int]:
        """Positions of the measures that the table is there to change."""
        return [m for m, measure in enumerate(self.measures) if measure.dial == self.dial.name]

    @property
    def idle(self) -> bool:
        """Whether the table has no effect: figures are the same at all points, and its own those without it.

        Others may differ from those without it, as rules read more candidates.
        """
        same = len({tuple(finding.value.mean for finding in point.findings) for point in self.points}) == 1
        concerned = [[point.fairness[m] for m in self.own] or point.findings for point in self.points]
        return same and all(finding.difference.mean == 0 for findings in concerned for finding in findings)

    @property
    def sentence(self) -> str:
        """What is free, in words, with the smallest loss that would have been found."""
        name, free = f"{self.dial.name}: {self.dial.field}", self.free
        if self.idle:
            empty = self.dial.field in ("min_share", "min_count") and self.points[-1].value > 0
            empty = empty and any(self.points[0].fairness[m].value.mean == 0 for m in self.own)
            cause = "its group has no candidates" if empty else "lists are the same at every value"
            return f"{self.dial.name} had no effect: {cause}."
        if free is None:
            return f"{name} {self.points[0].value:g} already costs {self.points[0].loss.measure}; nothing is free."
        loss = free.loss
        if not loss.detectable > 0:
            changed = any(finding.difference.mean for finding in free.findings)
            instead = "lists are as accurate as without it for every user" if changed else "it changes nothing"
            return f"{name} {free.value:g} is free: {instead}."
        lost = -loss.difference.low
        within = f", and the 95 % interval includes losses up to {lost:.2g}" if lost > 0 else ""
        shown = f"no loss of {loss.measure} ({loss.reference.mean:.3g} without it) is shown"
        found = f"a loss of {loss.detectable:.2g} would have been found in {100 * POWER:.0f} of 100 such tests"
        return f"{name} {free.value:g} is free: {shown}; {found}{within}."

    def as_json(self) -> dict[str, Any]:
        """Return the curve for JSON; nan is None."""
        free = self.free
        return {
            "policy": self.dial.name,
            "kind": self.dial.kind,
            "field": self.dial.field,
            "in_recipe": self.dial.current,
            "free": None if free is None else free.value,
            "minimum_detectable_loss": None if free is None else number_or_none(free.loss.detectable),
            "sentence": self.sentence,
            "points": [
                {
                    "value": point.value,
                    "accuracy": [finding.as_json() for finding in point.accuracy],
                    "fairness": [
                        finding.as_json() | {"fairer": measure.fairer}
                        for finding, measure in zip(point.fairness, self.measures, strict=True)
                    ],
                }
                for point in self.points
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """Accuracy against fairness over the strength of each table of a policy; nothing in it is random."""

    bundle: str
    """sha256 of the files of the bundle."""
    source: str
    known: Sequence[str]
    """What the bundle was fitted to and what it is measured on, in sentences."""
    rules: Mapping[str, str]
    """The rules of the evaluation protocol, by term."""
    k: int
    n_users: int
    n_queries: int
    curves: Sequence[Curve]

    @property
    def n_tests(self) -> int:
        """Number of tests that the correction is for."""
        return sum(not np.isnan(point.loss.p_holm) for curve in self.curves for point in curve.points)

    def as_json(self) -> dict[str, Any]:
        """Return the tradeoff for JSON; nan is None."""
        return {
            "bundle": self.bundle,
            "source": self.source,
            "known": list(self.known),
            "protocol": dict(self.rules),
            "k": self.k,
            "users": self.n_users,
            "queries": self.n_queries,
            "tests": self.n_tests,
            "correction": CORRECTION,
            "curves": [curve.as_json() for curve in self.curves],
        }


def tradeoff(
    bundle: Bundle,
    source: Dataset,
    *,
    policies: Sequence[str] = (),
    strengths: Sequence[float] = (),
    user_groups: Sequence[str] = (),
    item_groups: Sequence[str] = (),
    k: int = 10,
    typed: str | None = None,
) -> Tradeoff:
    """Return the tradeoff of a bundle on the events of a log that are later than all events it was fitted to.

    Each table of the policy, or those named by `policies`, is turned from its weakest to its strongest value, with the
    others as in the recipe; nothing but the components that it concerns is fitted again. `strengths` replaces the
    values of `Dial.grid`, for one table. Every point is compared with the lists without the table, paired by user; the
    losses of accuracy share one correction. Groups are named as in `audit`, and measures that are undefined are left
    out. The components of the bundle are changed where the log has new items. Raises InputError for a recipe without
    policy, an unknown name, a strength out of range, and as `audit` does.
    """
    known, wanted = dials(bundle.assembly.text), chosen(bundle.assembly.text, policies)
    if strengths and len(wanted) > 1:
        cause = f"they are values of one table, and the policy has {len(wanted)}"
        raise InputError("--strengths", cause=cause, cure=f"name it: --policy {quote(wanted[0].name)}")
    grids = [dial.checked(strengths) if strengths else dial.grid(k) for dial in wanted]
    n_known, digest = bundle.data.n_users, bundle.digest
    bundle, split, sentences = later_events(bundle, source, typed or quote(source.name))
    train = split.train
    if not len(split.test_queries):
        cause = "none of its later events is a user's first positive with an item that was available"
        raise InputError(source.name, cause=cause, cure="use a log with more later events")
    of_users = [user_grouping(name, train) for name in user_groups or [*_categories(train.user_features), HISTORY]]
    of_items = [item_grouping(name, train) for name in item_groups or _categories(train.item_features)]

    def lists(dial: Dial, value: float | None) -> Lists:
        """Return the lists with one value of a dial."""
        recommender = turned(bundle, dial, value, train).recommender
        return recommend(KnownUsers(recommender, n_known), split, [f"{name}@{k}" for name in ACCURACY], k)

    curves, done = [], None
    for dial, grid in zip(wanted, grids, strict=True):
        done = without = lists(dial, None)
        found = measures(bundle, without, known, of_users, of_items)
        found = [measure for measure in found if math.isfinite(measure.estimate(without).value)]
        points = [_point(dial, value, lists(dial, value), without, found) for value in grid]
        curves.append(Curve(dial=dial, points=points, measures=found))
    assert done is not None
    return Tradeoff(
        bundle=digest,
        source=source.name,
        known=sentences,
        rules={"protocol": split.name, **split.rules},
        k=done.k,
        n_users=len(done.users),
        n_queries=len(split.test_queries),
        curves=_corrected(curves),
    )


def _point(dial: Dial, value: float, lists: Lists, without: Lists, known: Sequence[Measure]) -> Point:
    accuracy = [
        compared(
            mean_of(lists.metrics[name]),
            mean_of(without.metrics[name]),
            measure=name,
            reference_name=f"without {dial.name}",
            attribute=dial.name,
            group=f"{value:g}",
            tested=name == next(iter(lists.metrics)),
        )
        for name in lists.metrics
    ]
    fairness = [
        compared(
            measure.estimate(lists),
            measure.estimate(without),
            measure=measure.name,
            reference_name=f"without {dial.name}",
            attribute=dial.name,
            group=f"{value:g}",
            tested=False,
        )
        for measure in known
    ]
    return Point(value=value, current=value == dial.current, accuracy=accuracy, fairness=fairness)


def _corrected(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves with one correction for the losses of all their points."""
    done = iter(corrected([point.loss for curve in curves for point in curve.points]))
    return [
        replace(curve, points=[replace(point, accuracy=[next(done), *point.accuracy[1:]]) for point in curve.points])
        for curve in curves
    ]


def _categories(features: Features) -> list[str]:
    return [name for name, one in features.items() if one.kind in ("categorical", "bag") and len(one.names) <= MOST]
