"""The contents of the report of a comparison or of a tuning run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pasand.data.dataset import Dataset
from pasand.evaluation.compare import Comparison, Result
from pasand.evaluation.environment import environment_text
from pasand.evaluation.history_groups import GROUPS_RULE, NOT_IN_TRAIN
from pasand.evaluation.report import html
from pasand.evaluation.split import COLD_ITEMS_RULE, Split
from pasand.evaluation.training_seeds import spread_text
from pasand.evaluation.tune import LOWER_IS_BETTER, Tuning
from pasand.evaluation.verdict import verdict

BINS = 60
"""Bins of the timeline."""


def comparison_report(comparison: Comparison) -> html.Report:
    """Return the report of a comparison: leaderboard, timeline, groups of queries, popularity and learning curves."""
    split, k = comparison.splits[0], comparison.ks[0]
    names = [name for name in (f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"coverage@{k}", "rmse")]
    return html.Report(
        title=f"Comparison of recommenders on {comparison.data.name}",
        verdict=verdict(comparison) if comparison.complete else "",
        protocol=f"{comparison.protocol}.",
        leakage=describe_leakage(split),
        rules=comparison.rules,
        data=data_facts(comparison.data)
        | {"seeds": ", ".join(map(str, range(comparison.seed, comparison.seed + comparison.n_seeds)))},
        timeline=timeline(split),
        leaderboard=[_row(result, names) for result in comparison.results],
        grouped_metrics=[_by_history(comparison), *_cold_items(comparison)],
        popularity=_popularity(comparison),
        learning_curves=_learning_curves(comparison.results),
        notes=[
            *(
                f"{hybrid.name} compared with {hybrid.best_part}, the best of its parts: {hybrid.verdict}; "
                f"{comparison.main_metric} {hybrid.comparison.difference_text}, {hybrid.comparison.p_text}."
                for hybrid in comparison.hybrids
            ),
            f"Made with {environment_text()}.",
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
        for name, part in (("all users", test.overall), *((group.name, group.metrics) for group in test.groups)):
            value = part.get(tuning.metric)
            if value is not None and not np.isnan(value.mean):
                notes.append(f"Test, {name}: {tuning.metric} {value}.")
    notes.append(f"Made with {environment_text()}.")
    return html.Report(
        title=f"Tuning of {tuning.model} on {tuning.data.name}",
        protocol=f"{outer.name}.",
        leakage=describe_leakage(outer),
        rules=tuning.rules,
        data=data_facts(tuning.data)
        | {"seeds": str(tuning.seed), "best configuration": _settings(tuning.best.hyperparameters)},
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
    return f"{split.name}. {describe_leakage(split)}"


def describe_leakage(split: Split) -> str:
    """Return the leakage of a split in words, as every output shows it."""
    return f"Leakage: {split.leakage}." if split.leakage else "No leakage."


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
    if names[0] in evaluation.cold_items and evaluation.n_users["cold_items"]:
        metrics[f"{names[0]}, cold items"] = evaluation.cold_items[names[0]]
    spreads = {name: spread_text(evaluation.seed_means[name]) for name in metrics if name in evaluation.seed_means}
    compared = result.against_popularity
    return html.LeaderboardRow(
        name=result.name,
        role=result.role,
        metrics=metrics,
        hyperparameters=_settings(result.hyperparameters),
        fit_seconds=result.fit_seconds,
        evaluate_seconds=evaluation.seconds,
        peak_memory_mb=result.peak_memory_mb,
        spreads={name: spread for name, spread in spreads.items() if spread},
        against_popularity=None
        if compared is None
        else html.Verdict(
            verdict=compared.verdict,
            p=compared.p_text,
            difference=f"{compared.difference.mean:+.4f}" if compared.test.n_users else "",
            interval=compared.interval_text if compared.test.n_users else "",
        ),
    )


def _by_history(comparison: Comparison) -> html.GroupedMetric:
    groups, metric = [], comparison.main_metric
    for i, group in enumerate(comparison.results[0].evaluation.groups):
        if group.n_users:
            values = {result.name: result.evaluation.groups[i].metrics[metric] for result in comparison.results}
            groups.append(html.Group(name=group.name, users=group.n_users, queries=group.n_queries, values=values))
    about = f"Groups: {GROUPS_RULE}. All panels share one axis."
    if any(group.name == NOT_IN_TRAIN for group in groups):
        about += f" The last panel is a further group: {NOT_IN_TRAIN}, whatever the length of their history."
    return html.GroupedMetric(metric=metric, groups=groups, about=about)


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
