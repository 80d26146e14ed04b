"""A comparison or a search, told as a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pasand.data.dataset import Dataset
from pasand.evaluation import intervals
from pasand.evaluation.compare import ALL_TIME, RECENT, Comparison, Result
from pasand.evaluation.report import html
from pasand.evaluation.split import COLD_ITEMS, Split
from pasand.evaluation.tune import LOWER_IS_BETTER, Tuning

BINS = 60


def of_comparison(comparison: Comparison) -> html.Report:
    """Return the report of a comparison: timeline, leaderboard, activity groups, popularity, learning curves."""
    split, k = comparison.splits[0], comparison.ks[0]
    names = [name for name in (f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"coverage@{k}", "rmse")]
    return html.Report(
        title=f"{comparison.data.name}: which recommender?",
        protocol=sentence(split),
        rules=comparison.rules,
        data=facts(comparison.data) | {"seed": str(comparison.seed)},
        timeline=timeline(split),
        leaderboard=[_entry(result, names) for result in comparison.results],
        activity=[_activity(comparison, comparison.decided_by), *_cold_items(comparison, comparison.decided_by)],
        popularity=_popularity(comparison),
        learning=_learning(comparison.results),
        notes=[
            f"“Beats popularity” compares {comparison.decided_by} with the better of popularity of all time and of the "
            f"last 30 days: here {comparison.best_popularity}.",
            "Bars are 95 % bootstrap intervals over users.",
        ],
    )


def of_tuning(tuning: Tuning) -> html.Report:
    """Return the report of a search: every configuration's validation curve in one plot, and the best one's test."""
    split, outer = tuning.inner, tuning.outer
    curves: dict[str, list[html.Curve]] = {}
    for trial in sorted(tuning.trials, key=lambda trial: _worth(tuning, trial.validation)):
        for name, values in trial.curves.items():
            metric = name.rpartition(" ")[2]
            if name.startswith("validation") and values:
                stop = int(np.argmin(values) if _falls(metric) else np.argmax(values)) + 1
                curve = html.Curve(name=_settings(trial.hyperparameters), values=values, stop=stop)
                curves.setdefault(metric, []).append(curve)
    board = [
        html.Entry(
            name=_settings(trial.hyperparameters),
            metrics={f"validation {tuning.metric}": trial.validation[tuning.metric]},
            fit_seconds=trial.fit_seconds,
        )
        for trial in sorted(tuning.trials, key=lambda trial: _worth(tuning, trial.validation))
    ]
    notes = [f"{tuning.search}; configurations were chosen on: {split.name}"]
    if tuning.test is not None:
        told = tuning.test.evaluation
        for name, part in (("all", told.overall), ("warm users", told.warm), ("cold users", told.cold)):
            value = part.get(tuning.metric)
            if value is not None and not np.isnan(value.mean):
                notes.append(f"test, {name}: {tuning.metric} {value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]")
    return html.Report(
        title=f"{tuning.model} on {tuning.data.name}",
        protocol=sentence(outer),
        rules=outer.rules,
        data=facts(tuning.data) | {"best": _settings(tuning.best.hyperparameters)},
        timeline=timeline(outer),
        leaderboard=board,
        lower_is_better=frozenset({f"validation {name}" for name in LOWER_IS_BETTER}),
        learning=[
            html.Learning(
                title=f"{metric} on the validation part, by epoch",
                metric=metric,
                curves=found,
                lower_is_better=_falls(metric),
            )
            for metric, found in curves.items()
        ],
        notes=notes,
    )


def sentence(split: Split) -> str:
    """Return how a split names itself, with what it leaks."""
    return f"{split.name}. {f'Leaks: {split.leaks}.' if split.leaks else 'Leaks nothing.'}"


def facts(data: Dataset) -> dict[str, str]:
    """Return what a reader must know of the data."""
    preference = "every event" if np.isneginf(data.positive_from) else f"{data.positive_from:g} and above"
    share = len(data) / max(data.n_users * data.n_items, 1)
    return {
        "users": f"{data.n_users:,}",
        "items": f"{data.n_items:,}",
        "events": f"{len(data):,}",
        "density": f"{share:.2%}",
        "a liking": preference,
        "fingerprint": data.fingerprint[:12],
    }


def timeline(split: Split) -> html.Timeline | None:
    """Return events by time of train and test; None where the log has no times."""
    train, test = split.train.time, split.test.time
    both = np.concatenate([train, test])
    if split.train.order != "time" or not len(train) or both.min() == both.max():
        return None
    edges = np.linspace(both.min(), both.max() + 1, BINS + 1)
    parts = {name: np.histogram(times, edges)[0].tolist() for name, times in (("train", train), ("test", test))}
    cut = float(test.min()) if len(test) and test.min() > train.max() else None
    return html.Timeline(edges=edges.tolist(), parts=parts, cut=cut)


def tenths(counts: np.ndarray, order: np.ndarray) -> list[float]:
    """Return the share of counts, (N,), that falls into each tenth of the items in the given order; (10,)."""
    total = max(float(counts.sum()), 1.0)
    return [float(counts[part].sum()) / total for part in np.array_split(order, 10)]


def _entry(result: Result, names: Sequence[str]) -> html.Entry:
    told = result.evaluation
    metrics = {name: told.overall[name] for name in names if name in told.overall}
    parts = {"warm": told.warm, "cold": told.cold, "cold items": told.cold_items}
    for name, part in parts.items():
        if names[0] in part and told.n_users[name.replace(" ", "_")]:
            metrics[f"{names[0]}, {name}"] = part[names[0]]
    return html.Entry(
        name=result.name,
        metrics=metrics,
        hyperparameters=_settings(result.hyperparameters),
        fit_seconds=result.fit_seconds,
        evaluate_seconds=told.seconds,
        peak_memory_mb=result.peak_memory_mb,
        beats_popularity=None if result.name in (ALL_TIME, RECENT) else result.beats_popularity,
    )


def _activity(comparison: Comparison, metric: str) -> html.Activity:
    groups = []
    for place, group in enumerate(comparison.results[0].evaluation.groups):
        values = {result.name: result.evaluation.groups[place].metrics[metric] for result in comparison.results}
        groups.append(html.Group(name=group.name, users=group.n_users, values=values))
    return html.Activity(metric=metric, groups=groups)


def _cold_items(comparison: Comparison, metric: str) -> list[html.Activity]:
    """Return the same of cold items alone; nothing where none is asked for."""
    told = comparison.results[0].evaluation
    if not told.n_cold_items:
        return []
    values = {result.name: result.evaluation.cold_items[metric] for result in comparison.results}
    name = f"{told.n_cold_items:,} items without an event in train"
    group = html.Group(name=name, users=told.n_users["cold_items"], values=values)
    return [html.Activity(metric=metric, groups=[group], by="for new items", about=COLD_ITEMS)]


def _popularity(comparison: Comparison) -> html.Popularity:
    split = comparison.splits[0]
    order = np.argsort(-np.bincount(split.train.item, minlength=split.train.n_items), kind="stable")
    shares = {result.name: tenths(result.evaluation.exposure, order) for result in comparison.results}
    chosen = np.bincount(split.test.positives().item, minlength=split.test.n_items)
    return html.Popularity(shares=shares, reference=tenths(chosen, order))


def _learning(results: Sequence[Result]) -> list[html.Learning]:
    plots = []
    for result in results:
        curves: dict[str, list[html.Curve]] = {}
        for name, values in result.curves.items():
            if len(values) > 1:
                curves.setdefault(name.rpartition(" ")[2], []).append(html.Curve(name=name, values=values))
        plots += [
            html.Learning(title=f"{result.name}: {metric}", metric=metric, curves=f, lower_is_better=_falls(metric))
            for metric, f in curves.items()
        ]
    return plots


def _falls(metric: str) -> bool:
    """Return whether learning makes the metric smaller."""
    return metric == "loss" or metric.partition("@")[0] in LOWER_IS_BETTER


def _worth(tuning: Tuning, validation: Mapping[str, intervals.Interval]) -> float:
    mean = validation[tuning.metric].mean
    return mean if tuning.metric.partition("@")[0] in LOWER_IS_BETTER else -mean


def _settings(hyperparameters: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in hyperparameters.items() if value is not None)
