"""The verdict of a comparison in words: the best model, whether that is shown, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.evaluation.protocols import usable
from pasand.evaluation.significance import paired_comparisons
from pasand.evaluation.split import first_interactions
from pasand.types import Mask

if TYPE_CHECKING:
    from pasand.evaluation.compare import Comparison, Result


def verdict(comparison: Comparison) -> str:
    """Return which contender is best, by how much against popularity and the next one, and what it costs.

    Every "better" is a paired test over users at 5 %, corrected as in the table; what is not shown may be chance.
    Without a test query no model is best: then it is why there is none, and the cure.
    """
    metric, results = comparison.main_metric, comparison.results
    if not results[0].evaluation.n_users["overall"]:
        return _no_test_query(comparison)
    contenders = [result for result in results if result.against_popularity is not None]
    if not contenders:
        return f"Only popularity was compared; {comparison.best_baseline} is best."
    best = contenders[0]
    compared = best.against_popularity
    assert compared is not None
    figure = f"{metric} {best.evaluation.overall[metric].mean:.4f}"
    baseline = next(result for result in results if result.name == comparison.best_baseline)
    against = f"{comparison.best_baseline} ({baseline.evaluation.overall[metric].mean:.4f})"
    if compared.verdict == "better":
        words = (
            f"{best.name} is best ({figure}), and better than {against}, the best of popularity ({compared.p_text})."
        )
    elif compared.verdict == "worse":
        return (
            f"No model is as good as {against}: the best, {best.name} ({figure}), is worse ({compared.p_text}). "
            "Serve popularity, or tune the models first."
        )
    else:
        return (
            f"No model is shown to be better than {against}: the best, {best.name} ({figure}), may be so by chance "
            f"({compared.p_text}). More test users, or tuned models, can decide."
        )
    return f"{words} {_next(comparison, contenders)}".strip()


def _next(comparison: Comparison, contenders: list[Result]) -> str:
    """Return the sentence about the next contender: whether the best is shown to be better, and the costs of both."""
    if len(contenders) < 2:
        return ""
    best, second = contenders[:2]
    metric = comparison.main_metric
    values = {result.name: result.evaluation.user_values[metric] for result in (best, second)}
    found = paired_comparisons(values, {best.name: second.name}, seed=comparison.seed)[best.name]
    costs = f"{best.fit_seconds:.1f} s against {second.fit_seconds:.1f} s to fit"
    if found.verdict == "better":
        return f"It is better than the next, {second.name} ({found.p_text}; {costs})."
    return f"Whether it is better than the next, {second.name}, is not shown ({found.p_text}; {costs})."


def repeats(data: Dataset, test: Dataset) -> Mask:
    """Return which test events are on an item that their user has in another, earlier or training event; (E,).

    `test` are the test events of a split of `data`.
    """
    keys, test_keys = (log.user.astype(np.int64) * max(log.n_items, 1) + log.item for log in (data, test))
    pairs, pair, n_test = np.unique(test_keys, return_inverse=True, return_counts=True)
    all_pairs, n_all = np.unique(keys, return_counts=True)
    known = n_all[np.searchsorted(all_pairs, pairs)] > n_test
    repeated: Mask = known[pair] | ~first_interactions(test)
    return repeated


def _no_test_query(comparison: Comparison) -> str:
    """Return why none of the test events is relevant, and the cure."""
    data, tests = comparison.data, [split.test for split in comparison.splits]
    n_repeats = sum(int((repeats(data, test) & test.is_positive).sum()) for test in tests)
    counts = {
        "are not positive": sum(int((~test.is_positive).sum()) for test in tests),
        "are repeats of items that their user already had": n_repeats,
        "are on items that were not available yet": sum(split.n_unavailable for split in comparison.splits),
    }
    n_events = sum(map(len, tests))
    counts["are not relevant by the rules of the protocol"] = n_events - sum(counts.values())
    causes = ", ".join(f"{count:,} {cause}" for cause, count in counts.items() if count)
    cures = ["lower --positive-from"] if counts["are not positive"] > n_events / 2 else []
    cures += [f"choose --protocol {name}" for name in usable(data, "leave-last-out", "strong-generalisation")]
    cure = ", or ".join(cures) or "give events of more users and items"
    return f"There is no test query, so no model is best: of {n_events:,} test events, {causes}. Cure: {cure}."
