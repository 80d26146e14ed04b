"""The contents of the report of a comparison or of a tuning run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pasand.data.dataset import Dataset
from pasand.evaluation.compare import ALL_TIME, RECENT, Comparison, Result
from pasand.evaluation.report import html
from pasand.evaluation.split import COLD_ITEMS_RULE, Split
from pasand.evaluation.tune import LOWER_IS_BETTER, Tuning

BINS = 60
"""Bins of the timeline."""


def comparison_report(comparison: Comparison) -> html.Report:
    """Return the report of a comparison: leaderboard, timeline, user groups, popularity and learning curves."""
    split, k = comparison.splits[0], comparison.ks[0]
    names = [name for name in (f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"coverage@{k}", "rmse")]
    return html.Report(
        title=f"Comparison of recommenders on {comparison.data.name}",
        protocol=describe_split(split),
        rules=comparison.rules,
        data=data_facts(comparison.data) | {"seed": str(comparison.seed)},
        timeline=timeline(split),
        leaderboard=[_row(result, names) for result in comparison.results],
        grouped_metrics=[_by_activity(comparison), *_cold_items(comparison)],
        popularity=_popularity(comparison),
        learning_curves=_learning_curves(comparison.results),
        notes=[
            f"“Beats popularity” compares {comparison.main_metric} with the better of the two baselines, popularity of "
            f"all time and of the last 30 days; here this is {comparison.best_baseline}.",
            "Intervals are 95 % bootstrap intervals over users.",
            *([] if comparison.complete else ["The comparison was stopped before its end."]),
            *(f"{name} failed: {cause}" for name, cause in comparison.failed.items()),
        ],
    )


def tuning_report(tuning: Tuning) -> html.Report:
    """Return the report of a tuning run: leaderboard, validation curves of all trials, and the test of the best one."""
    outer = tuning.outer
    curves: dict[str, list[html.Curve]] = {}
    for trial in tuning.ranked:
        for name, values in trial.curves.items():
            metric = name.rpartition(" ")[2]
            if name.startswith("validation") and values:
                stop = int(np.argmin(values) if _lower_is_better(metric) else np.argmax(values)) + 1
                curve = html.Curve(name=_settings(trial.hyperparameters), values=values, stop=stop)
                curves.setdefault(metric, []).append(curve)
    board = [
        html.LeaderboardRow(
            name=_settings(trial.hyperparameters),
            metrics={f"validation {tuning.metric}": trial.validation[tuning.metric]},
            fit_seconds=trial.fit_seconds,
        )
        for trial in tuning.ranked
        if trial.failure is None
    ]
    notes = [f"Search: {tuning.search}.", f"Validation split: {tuning.inner.name}."]
    notes += [f"{_settings(trial.hyperparameters)} failed: {trial.failure}" for trial in tuning.trials if trial.failure]
    if tuning.test_failure is not None:
        notes.append(f"The test of the best configuration failed: {tuning.test_failure}")
    if tuning.test is not None:
        test = tuning.test.evaluation
        for name, part in (("all users", test.overall), ("warm users", test.warm), ("cold users", test.cold)):
            value = part.get(tuning.metric)
            if value is not None and not np.isnan(value.mean):
                notes.append(f"Test, {name}: {tuning.metric} {value}.")
    return html.Report(
        title=f"Tuning of {tuning.model} on {tuning.data.name}",
        protocol=describe_split(outer),
        rules=outer.rules,
        data=data_facts(tuning.data) | {"best configuration": _settings(tuning.best.hyperparameters)},
        timeline=timeline(outer),
        leaderboard=board,
        lower_is_better=frozenset({f"validation {name}" for name in LOWER_IS_BETTER}),
        learning_curves=[
            html.LearningCurves(
                title=f"Validation {metric} by epoch",
                metric=metric,
                curves=metric_curves,
                lower_is_better=_lower_is_better(metric),
            )
            for metric, metric_curves in curves.items()
        ],
        notes=notes,
    )


def describe_split(split: Split) -> str:
    """Return the protocol of a split and its leakage, in words."""
    return f"{split.name}. {f'Leakage: {split.leakage}.' if split.leakage else 'No leakage.'}"


def data_facts(data: Dataset) -> dict[str, str]:
    """Return the key figures of the data, ready to display."""
    positive = "every event" if np.isneginf(data.positive_from) else f"{data.positive_from:g} and above"
    share = len(data) / max(data.n_users * data.n_items, 1)
    return {
        "users": f"{data.n_users:,}",
        "items": f"{data.n_items:,}",
        "events": f"{len(data):,}",
        "density": f"{share:.2%}",
        "positive": positive,
        "fingerprint": data.fingerprint[:12],
    }


def timeline(split: Split) -> html.Timeline | None:
    """Return the numbers of train and test events over time; None for a log without times."""
    train, test = split.train.time, split.test.time
    both = np.concatenate([train, test])
    if split.train.order != "time" or not len(train) or both.min() == both.max():
        return None
    edges = np.linspace(both.min(), both.max() + 1, BINS + 1)
    parts = {name: np.histogram(times, edges)[0].tolist() for name, times in (("train", train), ("test", test))}
    cut = float(test.min()) if len(test) and test.min() > train.max() else None
    return html.Timeline(edges=edges.tolist(), parts=parts, cut=cut)


def decile_shares(counts: np.ndarray, order: np.ndarray) -> list[float]:
    """Return the share of the counts, (N,), in each tenth of the items, (N,) rows in order; (10,)."""
    total = max(float(counts.sum()), 1.0)
    return [float(counts[part].sum()) / total for part in np.array_split(order, 10)]


def _row(result: Result, names: Sequence[str]) -> html.LeaderboardRow:
    evaluation = result.evaluation
    metrics = {name: evaluation.overall[name] for name in names if name in evaluation.overall}
    parts = {"warm": evaluation.warm, "cold": evaluation.cold, "cold items": evaluation.cold_items}
    for name, part in parts.items():
        if names[0] in part and evaluation.n_users[name.replace(" ", "_")]:
            metrics[f"{names[0]}, {name}"] = part[names[0]]
    return html.LeaderboardRow(
        name=result.name,
        metrics=metrics,
        hyperparameters=_settings(result.hyperparameters),
        fit_seconds=result.fit_seconds,
        evaluate_seconds=evaluation.seconds,
        peak_memory_mb=result.peak_memory_mb,
        beats_popularity=None if result.name in (ALL_TIME, RECENT) else result.beats_popularity,
    )


def _by_activity(comparison: Comparison) -> html.GroupedMetric:
    groups, metric = [], comparison.main_metric
    for i, group in enumerate(comparison.results[0].evaluation.groups):
        values = {result.name: result.evaluation.groups[i].metrics[metric] for result in comparison.results}
        groups.append(html.Group(name=group.name, users=group.n_users, values=values))
    return html.GroupedMetric(metric=metric, groups=groups)


def _cold_items(comparison: Comparison) -> list[html.GroupedMetric]:
    """Return the main metric on cold items; [] if no test query has a relevant cold item."""
    evaluation, metric = comparison.results[0].evaluation, comparison.main_metric
    if not evaluation.n_cold_items:
        return []
    values = {result.name: result.evaluation.cold_items[metric] for result in comparison.results}
    name = f"{evaluation.n_cold_items:,} items without an event in train"
    group = html.Group(name=name, users=evaluation.n_users["cold_items"], values=values)
    about = f"Cold items: {COLD_ITEMS_RULE}."
    return [html.GroupedMetric(metric=metric, groups=[group], by="on cold items", about=about)]


def _popularity(comparison: Comparison) -> html.PopularityShares:
    split = comparison.splits[0]
    order = np.argsort(-np.bincount(split.train.item, minlength=split.train.n_items), kind="stable")
    shares = {result.name: decile_shares(result.evaluation.exposure, order) for result in comparison.results}
    positives = np.bincount(split.test.positives().item, minlength=split.test.n_items)
    return html.PopularityShares(shares=shares, reference=decile_shares(positives, order))


def _learning_curves(results: Sequence[Result]) -> list[html.LearningCurves]:
    plots = []
    for result in results:
        curves: dict[str, list[html.Curve]] = {}
        for name, values in result.curves.items():
            if len(values) > 1:
                curves.setdefault(name.rpartition(" ")[2], []).append(html.Curve(name=name, values=values))
        plots += [
            html.LearningCurves(
                title=f"{result.name}: {metric}", metric=metric, curves=f, lower_is_better=_lower_is_better(metric)
            )
            for metric, f in curves.items()
        ]
    return plots


def _lower_is_better(metric: str) -> bool:
    return metric == "loss" or metric.partition("@")[0] in LOWER_IS_BETTER


def _settings(hyperparameters: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in hyperparameters.items() if value is not None)
