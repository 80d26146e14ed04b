"""Metrics by name: `metrics` turns `ndcg@10` into the class `NDCG` of this folder with k = 10.

Every class of the other modules of this folder is a metric. Its signature shows its kind: a rating metric has `loss`, a
run metric is called with the exposure alone, and a list metric with candidates and relevance.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import pasand.metrics
from pasand.contracts import ListMetric, RatingMetric, RunMetric
from pasand.data.dataset import Dataset
from pasand.errors import InputError


@dataclass(frozen=True)
class Metrics:
    """Metrics of a run by kind and name."""

    lists: dict[str, ListMetric]
    runs: dict[str, RunMetric]
    ratings: dict[str, RatingMetric]

    @property
    def k(self) -> int:
        """Length of the longest list that any metric needs; 0: the whole catalogue."""
        sizes = [int(metric.k) for metric in [*self.lists.values(), *self.runs.values()]]  # type: ignore[attr-defined]
        return 0 if 0 in sizes else max(sizes, default=0)


def metric_classes() -> dict[str, type]:
    """Return the metric classes of this folder by name: HitRate is hit_rate, NDCG is ndcg."""
    classes = {}
    for module in pkgutil.iter_modules(pasand.metrics.__path__):
        if module.name == "names":
            continue
        for value in vars(importlib.import_module(f"pasand.metrics.{module.name}")).values():
            if inspect.isclass(value) and value.__module__ == f"pasand.metrics.{module.name}":
                classes[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", value.__name__).lower()] = value
    return classes


def metrics(names: Sequence[str], train: Dataset) -> Metrics:
    """Return the named metrics, fitted to the train events where they have `fitted`.

    A name is of the form `ndcg@10`, `rmse`, or `auc` (without k: the whole catalogue). Raises InputError for others.
    """
    chosen = Metrics({}, {}, {})
    classes = metric_classes()
    for name in names:
        base, _, k = name.partition("@")
        if base not in classes:
            cure = f"choose from {', '.join(sorted(classes))}; with @k except for errors of ratings"
            raise InputError("metrics", value=name, cause="no such metric", cure=cure)
        has_k = any(field.name == "k" for field in fields(classes[base]))
        if k and not (has_k and k.isdecimal() and int(k) >= 1):
            cause = "k must be a whole number of at least 1" if has_k else "this metric has no k"
            raise InputError("metrics", value=name, cause=cause, cure=f"write {base}@10" if has_k else f"write {base}")
        if has_k and not k and base != "auc":
            raise InputError("metrics", value=name, cause="the list length k is missing", cure=f"write {base}@10")
        metric = classes[base](k=int(k or 0)) if has_k else classes[base]()
        if hasattr(metric, "fitted"):
            metric = metric.fitted(train)
        if hasattr(metric, "loss"):
            chosen.ratings[name] = metric
        elif len(inspect.signature(metric).parameters) == 1:
            chosen.runs[name] = metric
        else:
            chosen.lists[name] = metric
    return chosen
