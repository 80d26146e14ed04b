"""The results of a comparison as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pasand.evaluation.environment import environment
from pasand.evaluation.intervals import number_or_none
from pasand.evaluation.training_seeds import over_seeds
from pasand.evaluation.verdict import verdict

if TYPE_CHECKING:
    from pasand.evaluation.compare import Comparison, Result
    from pasand.evaluation.evaluate import Evaluation, Group


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison for JSON, with the versions and threads that made it; nan is None."""
    data, evaluation, ks = comparison.data, comparison.results[0].evaluation, comparison.ks
    return {
        "complete": comparison.complete,
        "protocol": comparison.protocol,
        "leakage": comparison.splits[0].leakage,
        "rules": comparison.rules,
        "k": ks[0] if len(ks) == 1 else list(ks),
        "seed": comparison.seed,
        "seeds": list(range(comparison.seed, comparison.seed + comparison.n_seeds)),
        **environment(),
        "main_metric": comparison.main_metric,
        "baselines": list(comparison.baselines),
        "best_baseline": comparison.best_baseline,
        "data": {
            "name": data.name,
            "users": data.n_users,
            "items": data.n_items,
            "events": len(data),
            "positive_from": data.positive_from if np.isfinite(data.positive_from) else None,
            "fingerprint": data.fingerprint,
            "train_events": [len(s.train) for s in comparison.splits],
            "test_events": [len(s.test) for s in comparison.splits],
            "test_users": evaluation.n_users,
            "cold_items": evaluation.n_cold_items,
        },
        "models": [result_json(result) for result in comparison.results],
        **({"hybrids": [hybrid.as_json() for hybrid in comparison.hybrids]} if comparison.hybrids else {}),
        "failed": comparison.failed,
        **({"verdict": verdict(comparison)} if comparison.complete else {}),
    }


def result_json(result: Result) -> dict[str, Any]:
    """Return one result of a comparison for JSON; nan is None."""
    e, compared = result.evaluation, result.against_popularity
    return {
        "name": result.name,
        "role": result.role,
        "hyperparameters": result.hyperparameters,
        **({"recipe": result.recipe} if result.recipe else {}),
        "metrics": {name: value.as_json() for name, value in e.overall.items()},
        "groups": [group_json(group) for group in e.groups],
        **({"cold_items": _cold_items(e)} if e.n_cold_items else {}),
        "fit_seconds": result.fit_seconds,
        "evaluate_seconds": e.seconds,
        "peak_memory_mb": result.peak_memory_mb,
        "against_popularity": None if compared is None else compared.as_json(),
        "is_random": result.is_random,
        "seeds": list(result.seeds),
        "over_seeds": {name: _over_seeds(means) for name, means in e.seed_means.items()},
        "curves": result.curves,
        **({"funnel": result.funnel.as_json()} if result.funnel is not None else {}),
        **({"minutes": result.minutes.as_json()} if result.minutes is not None else {}),
    }


def group_json(group: Group) -> dict[str, Any]:
    """Return a group of test queries for JSON; nan is None."""
    metrics = {name: value.as_json() for name, value in group.metrics.items()}
    return {"name": group.name, "users": group.n_users, "queries": group.n_queries, "metrics": metrics}


def _over_seeds(means: list[float]) -> dict[str, Any]:
    """Return a metric by training seed for JSON; the standard deviation of one seed is None."""
    deviation = over_seeds(means)[1]
    return {"means": [number_or_none(mean) for mean in means], "standard_deviation": number_or_none(deviation)}


def _cold_items(e: Evaluation) -> dict[str, Any]:
    counts = {"users": e.n_users["cold_items"], "items": e.n_cold_items}
    return counts | {name: value.as_json() for name, value in e.cold_items.items()}
