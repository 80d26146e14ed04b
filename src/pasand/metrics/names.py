"""Finds a metric by its name: `ndcg@10` is the class `NDCG` of this folder with k = 10.

Any class of any module of the folder is a metric. What kind it is shows in its shape: a rating metric has `loss`, a run
metric is called with the exposure alone, a list metric with candidates and relevance.
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
    """The metrics of a run by kind, each under its name."""

    lists: dict[str, ListMetric]
    runs: dict[str, RunMetric]
    ratings: dict[str, RatingMetric]

    @property
    def k(self) -> int:
        """The longest list that any of them looks at; 0: the whole catalogue."""
        sizes = [int(metric.k) for metric in [*self.lists.values(), *self.runs.values()]]  # type: ignore[attr-defined]
        return 0 if 0 in sizes else max(sizes, default=0)


def known() -> dict[str, type]:
    """Return the classes of the folder by name: HitRate is hit_rate, NDCG is ndcg."""
    found = {}
    for module in pkgutil.iter_modules(pasand.metrics.__path__):
        if module.name == "naming":
            continue
        for value in vars(importlib.import_module(f"pasand.metrics.{module.name}")).values():
            if inspect.isclass(value) and value.__module__ == f"pasand.metrics.{module.name}":
                found[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", value.__name__).lower()] = value
    return found


def metrics(names: Sequence[str], train: Dataset) -> Metrics:
    """Return the named metrics, told about the train events where they ask for it.

    A name is `ndcg@10`, `rmse`, or `auc` (without k: the whole catalogue). Raises InputError for any other name.
    """
    out = Metrics({}, {}, {})
    classes = known()
    for name in names:
        base, _, size = name.partition("@")
        if base not in classes:
            cure = f"choose from {', '.join(sorted(classes))}; with @k except for errors of ratings"
            raise InputError("metrics", value=name, cause="no such metric", cure=cure)
        sized = any(field.name == "k" for field in fields(classes[base]))
        if size and not (sized and size.isdecimal() and int(size) >= 1):
            cause = "k must be a whole number of at least 1" if sized else "this metric has no k"
            raise InputError("metrics", value=name, cause=cause, cure=f"write {base}@10" if sized else f"write {base}")
        if sized and not size and base != "auc":
            raise InputError("metrics", value=name, cause="the length of the list is missing", cure=f"write {base}@10")
        metric = classes[base](k=int(size or 0)) if sized else classes[base]()
        if hasattr(metric, "knowing"):
            metric = metric.knowing(train)
        if hasattr(metric, "loss"):
            out.ratings[name] = metric
        elif len(inspect.signature(metric).parameters) == 1:
            out.runs[name] = metric
        else:
            out.lists[name] = metric
    return out
