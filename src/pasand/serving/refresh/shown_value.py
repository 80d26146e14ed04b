"""Acceptance by counterfactual evaluation: what a recipe would have earned in the impressions of the service."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pasand import recipe
from pasand.bundle import Bundle
from pasand.errors import InputError
from pasand.off_policy.evaluate import Value, compare, evaluate
from pasand.off_policy.policies import Policy, of_bundle
from pasand.serving.logs.attribution import attribute
from pasand.serving.refresh.training_data import CHUNK, Gathered
from pasand.serving.states.contract import State
from pasand.sources.decision_tables import Decisions, decisions


def shown_value(
    folder: Path, state: State, gathered: Gathered, text: str, seed: int, margin: float
) -> tuple[dict[str, Any], str]:
    """Return what a recipe earns per list against what was shown, clicks of a week, and the reason not to publish.

    The recipe is fitted to the events before the middle of the logged lists, and evaluated on the lists since, whose
    random slots make that possible. `verdict` in the report is "no worse" if the 95 % interval of the difference lies
    above -margin of what the lists earned, "worse" if it lies below, else "inconclusive"; the reason is "" for "no
    worse". An empty log, one without random slots, and one that shows too little are inconclusive. `folder` is that of
    the impressions.
    """
    try:
        log = logged(folder, state)
        middle = int(np.median(log.time[log.first])) if log.time is not None else 0
        log = log.select((log.time >= middle)[log.first][log.list] if log.time is not None else log.list >= 0)
        assembly = recipe.build(text).fit(gathered.data.before(middle), seed=seed)
        served = Bundle(assembly=assembly, data=gathered.data, manifest={})
        new = evaluate(log, of_bundle(log, served, "the new recipe"), seed=seed)
        shown = evaluate(log, Policy(name="what was shown", probability=log.propensity), seed=seed)
    except InputError as error:
        return {"verdict": "inconclusive"}, f"the impressions cannot be used: {error}"
    return _judged(new, shown, margin)


def logged(folder: Path, state: State) -> Decisions:
    """Return the impressions of a service with the clicks that followed."""
    events, after = [], 0
    while found := state.events(after, CHUNK):
        events += [event for _, event in found]
        after = found[-1][0]
    with TemporaryDirectory() as temporary:
        table = Path(temporary, "shown.parquet")
        attribute(folder, events, table)
        return decisions(str(table))


def _judged(new: Value, shown: Value, margin: float) -> tuple[dict[str, Any], str]:
    allowed = -margin * shown.logged.mean
    comparison = compare(new, shown)
    low, high = comparison.difference.low, comparison.difference.high
    if new.status == "wide":
        low, high = new.safe.low - shown.logged.high, new.safe.high - shown.logged.low
    report = {
        "status": new.status,
        "lists": new.diagnosis.n,
        "new": new.usual.as_json() if new.status == "ok" else None,
        "safe": None if new.status == "refused" else new.safe.as_json(),
        "shown": shown.logged.as_json(),
    }
    if new.status == "refused":
        return {"verdict": "inconclusive", **report}, new.diagnosis.sentence
    verdict = "no worse" if low > allowed else "worse" if high < allowed else "inconclusive"
    cause = f"the value of the impressions changes by [{low:+.4f}, {high:+.4f}] per list of {shown.logged.mean:.4f}"
    return {"verdict": verdict, **report}, "" if verdict == "no worse" else cause
