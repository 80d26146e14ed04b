"""Calibration of predicted watch minutes against the minutes watched after the cut."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from pasand.contracts import PredictsMinutes
from pasand.evaluation.split import Split
from pasand.training.calibration import Calibration, calibration
from pasand.training.ranking_examples import Examples, examples
from pasand.types import Array, Rows

MAX_IMPRESSIONS = 1_000_000
"""Most impressions that are predicted; of more, a random sample of requests is used."""


def predicted_and_watched(model: PredictsMinutes, requests: Examples) -> tuple[Array, Array, Rows]:
    """Return predicted minutes, watched minutes and user of each item, (n,) each, in order of request and position."""
    assert requests.minutes is not None
    predicted, users = [np.empty(0, np.float32)], np.repeat(requests.user, (requests.items >= 0).sum(axis=1))
    for part, queries in requests.batches():
        items = requests.items[part]
        predicted.append(model.minutes(queries, items)[items >= 0])
    return np.concatenate(predicted), requests.minutes[requests.items >= 0], users


def impressions_after_cut(split: Split) -> Examples | None:
    """Return the impressions from the cut of the split on, by request, with live histories.

    None if no impression has watched minutes, or if the histories of the split end at the cut.
    """
    test, log = split.test.impressions, split.test_queries.log
    if test is None or not len(test) or test.watched_seconds is None or log.impressions is None:
        return None
    requests = examples(log, "minutes", 1, len(log.impressions), np.random.default_rng(0))
    rows = np.flatnonzero(requests.time >= test.time[0])
    slate_size = max(1, requests.items.shape[1])
    if len(rows) * slate_size > MAX_IMPRESSIONS:
        rows = np.sort(np.random.default_rng(0).choice(rows, max(1, MAX_IMPRESSIONS // slate_size), replace=False))
    return requests.select(rows) if len(rows) else None


def minutes_calibration(model: object, split: Split) -> Calibration | None:
    """Return the calibration of predicted minutes on impressions from the cut on, by tenth of predicted minutes.

    The model is trained before the cut. Histories and popularity counts go up to each impression; a server
    renews the counts with each refresh. None if the model predicts no minutes or the split has no such impressions.
    """
    if not isinstance(model, PredictsMinutes):
        return None
    requests = impressions_after_cut(split)
    if requests is None:
        return None
    updated = copy.deepcopy(model)
    updated.follow(replace(split.test_queries.log, impressions=None))
    return calibration(*predicted_and_watched(updated, requests))
