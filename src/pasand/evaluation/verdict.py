"""The verdict of a comparison in words: the best model, whether that is shown, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pasand.evaluation.significance import paired_comparisons

if TYPE_CHECKING:
    from pasand.evaluation.compare import Comparison, Result


def verdict(comparison: Comparison) -> str:
    """Return which contender is best, by how much against popularity and the next one, and what it costs.

    Every "better" is a paired test over users at 5 %, corrected as in the table; what is not shown may be chance.
    """
    metric, results = comparison.main_metric, comparison.results
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
