"""Whether the minutes that a model foresees of what was shown later were watched."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from pasand.contracts import PredictsMinutes
from pasand.evaluation.split import Split
from pasand.training.calibration import Calibration, calibration
from pasand.training.ranking_examples import Examples, examples
from pasand.types import Array, Rows

MOST = 1_000_000
"""Impressions asked about at most; of more, requests are drawn."""


def predicted_and_watched(model: PredictsMinutes, asked: Examples) -> tuple[Array, Array, Rows]:
    """Return minutes foreseen, minutes watched and user of each pair, (n,) each, in order of request and place."""
    assert asked.minutes is not None
    told, users = [np.empty(0, np.float32)], np.repeat(asked.user, (asked.items >= 0).sum(axis=1))
    for part, queries in asked.batches():
        items = asked.items[part]
        told.append(model.minutes(queries, items)[items >= 0])
    return np.concatenate(told), asked.minutes[asked.items >= 0], users


def later(split: Split) -> Examples | None:
    """Return the impressions from the split's cut on, with live histories.

    None: there are none with minutes, or the split's histories stop at the cut.
    """
    test, log = split.test.impressions, split.lists.log
    if test is None or not len(test) or test.watched_seconds is None or log.impressions is None:
        return None
    whole = examples(log, "minutes", 1, len(log.impressions), np.random.default_rng(0))
    asked = np.flatnonzero(whole.time >= test.time[0])
    width = max(1, whole.items.shape[1])
    if len(asked) * width > MOST:
        asked = np.sort(np.random.default_rng(0).choice(asked, max(1, MOST // width), replace=False))
    return whole.select(asked) if len(asked) else None


def of_minutes(model: object, split: Split) -> Calibration | None:
    """Return minutes foreseen beside minutes watched, in tenths, of what was shown from the cut on.

    The network is the one learnt before the cut; histories, and the counts of what is popular, go up to each
    impression, as in a system in use. None where the model foresees no minutes or the split has no such impressions.
    """
    if not isinstance(model, PredictsMinutes):
        return None
    asked = later(split)
    if asked is None:
        return None
    following = copy.deepcopy(model)
    following.follow(replace(split.lists.log, impressions=None))
    return calibration(*predicted_and_watched(following, asked))
