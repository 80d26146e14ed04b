"""`Simulation`: the figures of recipes in closed loops, their paired differences over seeds, and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import stats

from pasand.closed_loop.measures import MEASURES, VISITS, Measure, of_run
from pasand.evaluation.intervals import Interval, number_or_none
from pasand.evaluation.significance import LEVEL, holm
from pasand.simulation.market import Market
from pasand.types import Array

METHOD = (
    "Every seed is another market. In one market all recipes meet the same viewers, films, studios, visits and random "
    "numbers of the choices, so differences are paired by seed; the intervals and p values are those of Student's t "
    "over seeds, with Holm's correction for all measures and recipes."
)


@dataclass(frozen=True)
class Difference:
    """A recipe compared with the first one by one measure."""

    measure: Measure
    contender: str
    value: Interval
    reference: Interval
    difference: Interval
    """Mean over seeds of recipe - reference."""
    p_holm: float
    """nan with fewer than two seeds."""

    @property
    def verdict(self) -> Literal["higher", "lower", "equal", "not shown"]:
        """Whether a difference is shown; "equal" where all seeds are exactly equal."""
        if not any(self.difference.span):
            return "equal"
        if not self.p_holm < LEVEL:
            return "not shown"
        return "higher" if self.difference.mean > 0 else "lower"

    def text(self, value: Interval, *, sign: bool = False) -> str:
        """Return a figure with its interval, in percent where the measure is; "undefined" where it is."""
        if math.isnan(value.mean):
            return "undefined"
        scale, form = (100.0, ".1f") if self.measure.percent else (1.0, ".3f")
        mean, low, high = (f"{scale * number:{'+' if sign else ''}{form}}" for number in value.span)
        bounds = "" if math.isnan(value.low) else f" [{low}, {high}]"
        unit = "" if not self.measure.percent else " points" if sign else " %"
        return f"{mean}{bounds}{unit}"

    @property
    def sentence(self) -> str:
        """The difference in words."""
        name = self.measure.name
        if self.verdict == "equal":
            return f"{name}: exactly the same."
        if math.isnan(self.difference.mean):
            return f"{name}: undefined."
        relative = ""
        if not self.measure.percent and self.reference.mean > 0:
            relative = f" ({self.difference.mean / self.reference.mean:+.1%})"
        shown = "" if self.verdict != "not shown" else "; no difference is shown"
        from_to = f"{self.text(Interval(self.reference.mean))} to {self.text(Interval(self.value.mean))}"
        return f"{name}: {from_to}, {self.text(self.difference, sign=True)}{relative}{shown}."

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for JSON; nan is None."""
        return {
            "measure": self.measure.name,
            "recipe": self.contender,
            "value": self.value.as_json(),
            "reference": self.reference.as_json(),
            "difference": self.difference.as_json(),
            "p_holm": number_or_none(self.p_holm),
            "verdict": self.verdict,
        }


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What recipes did in closed loops; only seeds of which every recipe has been simulated count."""

    market: Market
    """That of the first seed; the others differ from it in the seed."""
    names: Sequence[str]
    """Of the recipes; the first is the reference."""
    k: int
    retrain_every: int
    n_seeds: int
    """Seeds wanted."""
    runs: Mapping[int, Mapping[str, Mapping[str, Array]]]
    """Figures of the rounds, (R,), by seed, recipe and measure."""
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def complete(self) -> bool:
        """Whether all wanted seeds have been simulated."""
        return len(self.seeds) == self.n_seeds

    @property
    def seeds(self) -> list[int]:
        """The seeds of which every recipe has been simulated."""
        return [seed for seed, runs in self.runs.items() if all(name in runs for name in self.names)]

    def rounds(self, name: str, measure: Measure) -> Array:
        """Return the mean over seeds of a measure in each round, (R,); nan where no seed defines it."""
        found = np.array([self.runs[seed][name][measure.name] for seed in self.seeds]).reshape(len(self.seeds), -1)
        known = np.isfinite(found)
        total = np.where(known, found, 0).sum(axis=0)
        return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)

    def values(self, name: str, measure: Measure) -> Array:
        """Return the figure of the run of each seed, (S,)."""
        runs = [self.runs[seed][name] for seed in self.seeds]
        return np.array([of_run(measure, run[measure.name], run[VISITS]) for run in runs])

    @cached_property
    def differences(self) -> list[Difference]:
        """Each recipe but the first compared with the first, by all measures."""
        pairs = [(name, measure) for name in self.names[1:] for measure in MEASURES]
        found = []
        for name, measure in pairs:
            values, reference = self.values(name, measure), self.values(self.names[0], measure)
            found.append((values, reference, values - reference))
        p_holm = holm(np.array([_p(difference) for _, _, difference in found]))
        return [
            Difference(measure, name, over_seeds(values), over_seeds(reference), over_seeds(difference), float(p))
            for (name, measure), (values, reference, difference), p in zip(pairs, found, p_holm, strict=True)
        ]

    @property
    def sentences(self) -> dict[str, list[str]]:
        """What each recipe but the first changes, in words, by recipe: measures with a direction first."""
        return {name: [one.sentence for one in self.differences if one.contender == name] for name in self.names[1:]}

    @property
    def verdicts(self) -> dict[str, str]:
        """Which measures each recipe but the first betters and worsens, as a sentence, by recipe."""
        return {name: _verdict([one for one in self.differences if one.contender == name]) for name in self.names[1:]}

    @property
    def loop_sentences(self) -> list[str]:
        """What the loop of the first recipe does over its rounds, in words; none without a finished seed."""
        if not self.seeds:
            return []
        lines = []
        for measure in MEASURES:
            known = [value for value in self.rounds(self.names[0], measure) if math.isfinite(value)]
            if measure.over == "last" or len(known) < 2:
                continue
            n = max(1, len(known) // 10)
            first, last = float(np.mean(known[:n])), float(np.mean(known[-n:]))
            form = ".1%" if measure.percent else ".3f"
            rounds = "round" if n == 1 else f"{n} rounds"
            lines.append(f"{measure.name}: {first:{form}} in the first {rounds}, {last:{form}} in the last.")
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return everything for JSON; nan is None."""
        measures = {measure.name: measure for measure in MEASURES}
        return {
            "market": asdict(self.market),
            "recipes": list(self.names),
            "reference": self.names[0],
            "k": self.k,
            "retrain_every": self.retrain_every,
            "seeds": self.seeds,
            "complete": self.complete,
            "notes": list(self.notes),
            "method": METHOD,
            "definitions": {name: measure.definition for name, measure in measures.items()},
            "differences": [one.as_json() for one in self.differences] if self.seeds else [],
            "rounds": {
                name: {
                    measure: [number_or_none(value) for value in self.rounds(name, one)]
                    for measure, one in measures.items()
                }
                for name in (self.names if self.seeds else ())
            },
            "verdicts": self.verdicts if self.seeds else {},
            "sentences": self.sentences if self.seeds else {},
        }


def over_seeds(values: Array) -> Interval:
    """Return the mean over seeds, (S,), with the bounds of Student's t; seeds with nan are left out.

    The bounds are nan with fewer than two seeds, unless all values are 0: what is exactly equal is so in one seed.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(math.nan)
    mean = float(known.mean())
    if not known.any():
        return Interval(0.0, 0.0, 0.0)
    if len(known) < 2:
        return Interval(mean)
    half = float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    return Interval(mean, mean - half, mean + half)


def _verdict(found: Sequence[Difference]) -> str:
    """Return which measures get better, get worse, or change without a better direction, as a sentence."""
    if all(one.verdict == "equal" or math.isnan(one.difference.mean) for one in found):
        return "Exactly the same in every measure."
    parts: dict[str, list[str]] = {"Better": [], "Worse": [], "Changed": []}
    for one in found:
        if one.verdict in ("higher", "lower"):
            kind = "Changed" if not one.measure.better else "Better" if one.verdict == one.measure.better else "Worse"
            change = one.text(Interval(one.difference.mean), sign=True)
            parts[kind].append(f"{one.measure.name} ({change})")
    shown = [f"{kind}: {', '.join(names)}." for kind, names in parts.items() if names]
    return " ".join(shown) or "No difference is shown."


def _p(difference: Array) -> float:
    """Return the two-sided p value of Student's t of paired differences, (S,); nan with fewer than two of them."""
    known = difference[np.isfinite(difference)]
    if len(known) and not known.any():
        return 1.0
    if len(known) < 2:
        return math.nan
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    return float(2 * stats.t.sf(abs(known.mean()) / error, len(known) - 1)) if error > 0 else 0.0
