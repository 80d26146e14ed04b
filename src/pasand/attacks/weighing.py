"""Suspicious interactions as weights of training: none is deleted, models are given how much each event counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pasand.attacks.detection import Detection, detect
from pasand.data.dataset import Dataset
from pasand.evaluation.protocols import SplitsData
from pasand.evaluation.split import Split
from pasand.features.training_weights import COLUMN
from pasand.types import Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A log whose suspicious events count less in training."""

    data: Dataset
    """The log with all its events, and their weights in a column."""
    detection: Detection
    events: int
    """Number of events that count less than 1."""

    def __str__(self) -> str:
        n = int(self.detection.flagged.sum())
        if not n:
            return "robust: no profile is suspicious, so every event counts fully"
        items = ", ".join(one.item for one in self.detection.items[:5])
        count = self.detection.suspicion[self.detection.flagged]
        return (
            f"robust: {self.events:,} of {len(self.data):,} events, those of {n:,} suspicious profiles, count "
            f"{1 - count.mean():.2g} on average instead of 1; none is deleted (pushed items: {items})"
        )

    def as_json(self) -> dict[str, object]:
        """Return the findings for a manifest."""
        return {"down_weighted_events": self.events, **self.detection.as_json()}


def weighed(data: Dataset) -> Weighed:
    """Return the log with a column of training weights: 1 - suspicion for events of suspicious users, 1 for others."""
    found = detect(data)
    return Weighed(
        data=_with_weights(data, found.suspicion), detection=found, events=int(found.flagged[data.user].sum())
    )


def _with_weights(data: Dataset, suspicion: Scores) -> Dataset:
    return replace(data, columns={**data.columns, COLUMN: (1 - suspicion[data.user]).astype(np.float32)})


@dataclass(frozen=True)
class RobustSplits:
    """A protocol whose train parts are weighed, by what is suspicious in train alone."""

    protocol: SplitsData

    def split(self, data: Dataset) -> list[Split]:
        """Return the splits of the protocol; what components follow carries the weights of the same users."""
        return [_weighed_split(split) for split in self.protocol.split(data)]


def _weighed_split(split: Split) -> Split:
    train = weighed(split.train)
    followed = split.followed
    if followed is not None:
        followed = _with_weights(followed, train.detection.suspicion)
    return replace(split, train=train.data, followed=followed, rules={**split.rules, "training weights": str(train)})


def without_weights(components: Iterable[object]) -> list[str]:
    """Return the names of the models among the components that do not use training weights, each once."""
    names = {type(one).__name__ for one in components if hasattr(one, "score") and hasattr(one, "fit")}
    use = {type(one).__name__ for one in components if getattr(one, "uses_training_weights", False)}
    return sorted(names - use)
