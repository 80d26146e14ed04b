"""The results of a comparison as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pasand.evaluation.intervals import number_or_none

if TYPE_CHECKING:
    from pasand.evaluation.compare import Result
    from pasand.evaluation.evaluate import Evaluation


def result_json(result: Result) -> dict[str, Any]:
    """Return one result of a comparison for JSON; nan is None."""
    e, test = result.evaluation, result.paired_test
    return {
        "name": result.name,
        "hyperparameters": result.hyperparameters,
        "metrics": {name: value.as_json() for name, value in e.overall.items()},
        "warm": {"users": e.n_users["warm"]} | {name: value.as_json() for name, value in e.warm.items()},
        "cold": {"users": e.n_users["cold"]} | {name: value.as_json() for name, value in e.cold.items()},
        **({"cold_items": _cold_items(e)} if e.n_cold_items else {}),
        "groups": [
            {"name": g.name, "users": g.n_users, "metrics": {name: v.as_json() for name, v in g.metrics.items()}}
            for g in e.groups
        ],
        "fit_seconds": result.fit_seconds,
        "evaluate_seconds": e.seconds,
        "peak_memory_mb": result.peak_memory_mb,
        "beats_popularity": result.beats_popularity,
        "test_against_popularity": None
        if test is None
        else {
            "users": test.n_users,
            "difference": number_or_none(test.difference),
            "p_t": number_or_none(test.t),
            "p_wilcoxon": number_or_none(test.wilcoxon),
            "p_permutation": number_or_none(test.permutation),
            "p_holm": number_or_none(result.p_holm),
        },
        "curves": result.curves,
        **({"funnel": result.funnel.as_json()} if result.funnel is not None else {}),
        **({"minutes": result.minutes.as_json()} if result.minutes is not None else {}),
    }


def _cold_items(e: Evaluation) -> dict[str, Any]:
    counts = {"users": e.n_users["cold_items"], "items": e.n_cold_items}
    return counts | {name: value.as_json() for name, value in e.cold_items.items()}
