"""The recommender that a comparison chose: the recipe that fits it, and the quality to expect of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pasand.errors import InputError

CURE = "write one with: pasand compare SOURCE --json report.json"


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best recommender of a comparison, with its held-out quality beside that of popularity."""

    name: str
    recipe: str
    """The recipe as TOML, which fits it to other events."""
    metric: str
    mean: float
    """Mean over test users of the metric."""
    low: float | None
    high: float | None
    """Bounds of the 95 % interval over users; None with fewer than two users."""
    users: int
    """Test users."""
    protocol: str
    baseline: str
    """The best popularity baseline; the same as `name` where no model is as good."""
    baseline_mean: float
    verdict: str
    """Against that baseline: better, not shown or worse; "baseline" where it is the baseline."""
    compared: int
    """Recommenders of which it is the best; 1: nothing was chosen on the test queries."""
    data: str
    fingerprint: str
    """Fingerprint of the data that were split."""

    def as_json(self) -> dict[str, Any]:
        """Return everything but the recipe for JSON, as the manifest of a bundle keeps it."""
        return {name: value for name, value in asdict(self).items() if name != "recipe"}

    @property
    def sentence(self) -> str:
        """What quality to expect, how it was estimated, and how popularity does."""
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.4f}, {self.high:.4f}]"
        figure = f"expect {self.metric} {self.mean:.4f}{bounds} for a user"
        how = f"held out: fitted to a part of the log ({self.protocol}) and tested on the rest, {self.users:,} users"
        if self.compared > 1:
            how += f"; it is the best of {self.compared} on these test queries, which flatters it a little"
        if self.name == self.baseline:
            return f"{figure} ({how})"
        shown = {"better": "which it beats", "worse": "which is better", "not shown": "a difference that is not shown"}
        against = f"{self.baseline} has {self.baseline_mean:.4f}, {shown.get(self.verdict, self.verdict)}"
        return f"{figure} ({how}); {against}"


def winner(report: Mapping[str, Any], where: object = "comparison", name: str | None = None) -> Winner:
    """Return the best recommender of a comparison, as `Comparison.as_json` returns it.

    That is the best contender, or the best popularity baseline if the contender is worse than that; with `name` it is
    the recommender of this name. Raises InputError for anything else than a complete comparison, and where no recipe
    can fit the best.
    """
    try:
        if not report["complete"]:
            raise InputError(where, cause="the comparison was stopped before its end", cure=f"run it again; {CURE}")
        metric, results, first = report["main_metric"], report["models"], report["best_baseline"]
        baseline = next(result for result in results if result["name"] == first)
        best = next((result for result in results if result["role"] == "contender"), baseline)
        if best is not baseline and best["against_popularity"]["verdict"] == "worse":
            best = baseline
        if name is not None:
            best = next(result for result in results if result["name"] == name)
        value, against = best["metrics"][metric], best["against_popularity"]
        if value["mean"] is None:
            cause, _, cure = report.get("verdict", "there is no test query").partition(" Cure: ")
            raise InputError(where, cause=cause, cure=f"compare again, and {cure or 'give more events'}")
        return Winner(
            name=best["name"],
            recipe=_checked(best.get("recipe", ""), best["name"], where),
            metric=metric,
            mean=value["mean"],
            low=value["low"],
            high=value["high"],
            users=report["data"]["test_users"]["overall"],
            protocol=report["protocol"],
            baseline=first,
            baseline_mean=baseline["metrics"][metric]["mean"],
            verdict="baseline" if against is None else against["verdict"],
            compared=1 if name is not None else sum(result["role"] != "for cold items" for result in results),
            data=report["data"]["name"],
            fingerprint=report["data"]["fingerprint"],
        )
    except (KeyError, TypeError, StopIteration, AttributeError) as error:
        raise InputError(where, cause=f"no comparison as JSON ({error!r} is missing)", cure=CURE) from None


def _checked(recipe: object, name: str, where: object) -> str:
    if not isinstance(recipe, str) or not recipe:
        cause = f"it has no recipe for {name}, the best"
        raise InputError(where, cause=cause, cure="compare again with this version, or name a --model or --recipe")
    return recipe


def read(path: Path) -> Winner:
    """Return the best recommender of a file that `pasand compare --json` wrote; raises InputError for another file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError:
        raise InputError(path, cause="no such file", cure=CURE) from None
    except ValueError:
        cause = "a report to look at, not the results" if path.suffix == ".html" else "not JSON"
        raise InputError(path, cause=cause, cure=CURE) from None
    if not isinstance(content, dict):
        raise InputError(path, cause="no comparison as JSON", cure=CURE)
    return winner(content, path)
