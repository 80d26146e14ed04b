"""YouTube's candidate generation: a ReLU tower over histories and features (Covington et al., RecSys 2016, sec. 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.features import encoding, history_shares
from pasand.models.dimensions import chosen_dimensions
from pasand.models.towers.feature_tower import FeatureTower
from pasand.types import Array, Queries, Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task

LAYERS = (1024, 512, 256)
"""Widths of the paper's ReLU tower."""
FULL_WIDTH_POSITIVES = 1_000_000
"""Positives from which the paper's widths are used."""


def default_layers(n_positives: int) -> tuple[int, ...]:
    """Return the paper's widths, halved for each factor of four below a million positives, at most four times.

    >>> default_layers(2_000_000), default_layers(55_000), default_layers(100)
    ((1024, 512, 256), (256, 128, 64), (64, 32, 16))
    """
    halvings = min(4, max(0, math.floor(math.log(FULL_WIDTH_POSITIVES / max(n_positives, 1), 4))))
    return tuple(units >> halvings for units in LAYERS)


@dataclass(kw_only=True)
class YouTube(FeatureTower):
    """Scores by the inner product of a ReLU tower over histories and features with a vector per item.

    The tower reads the averages of the latest liked items and of the latest other items (watched but not liked),
    features of the user such as geography, age, gender and language, and the age of the example. A bag of searches is
    one of the features. Each positive is predicted from earlier events alone. An item without positives has no vector.
    """

    use_other_events: bool = True
    """Whether events that are not positives are read as a second history, if the log has any."""
    example_age: bool = True
    """Whether the tower reads the time from the example to the newest event; when scoring it reads 0."""
    layers: tuple[int, ...] | None = None
    """Widths of the ReLU layers; None: 1024, 512, 256, halved for each factor of four below a million positives, at
    most four times."""
    learning_rate: float = 3e-3
    normalise: bool = False
    """Whether vectors have length 1, so that scores are cosines."""
    temperature: float = 1.0
    """Divisor of the inner products in the loss; about 0.1 suits vectors of length 1."""
    per_user: int = 0
    """Examples sampled from each user in an epoch, so that all users weigh the same; 0: every positive once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.per_user < 0:
            raise ValueError(f"per_user must not be negative, got {self.per_user}")
        if self.layers is not None and not (self.layers and min(self.layers) >= 1):
            raise ValueError(f"layers must be positive and one at least, got {list(self.layers)}")

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        learnt = self._learn_queries(data)
        layers = default_layers(int(data.is_positive.sum())) if self.layers is None else self.layers
        return learnt | {
            "known": learnt["item_code"] > 0,
            "layers": np.array(layers),
            "others": np.array([self.use_other_events and not data.is_positive.all()]),
        }

    def _inputs(self, queries: Queries) -> dict[str, Array]:
        inputs = self._user_feature_inputs(queries.features, len(queries)) | {"history": self._history(queries)}
        inputs |= history_shares.of_queries(self._learnt, queries)
        if self._learnt["others"][0]:
            liked = queries.liked(float(self._learnt["positive_from"][0]))
            others = np.where(liked < 0, queries.history, -1)
            inputs["others"] = encoding.recent_codes(others, self._learnt["item_code"], self.history_length)
        if self.example_age:
            inputs["age"] = np.zeros((len(queries), 2), np.float32)
        return inputs

    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        return {"item": self._item_codes(rows)}

    def _build(self) -> nn.Module:
        from pasand.layers import embeddings, towers

        codes = int(self._learnt["item_code"].max(initial=0))
        dimensions = chosen_dimensions(self.dimensions, len(self._learnt["item_code"]))
        query: dict[str, nn.Module] = {"history": embeddings.MeanEmbedding(codes, dimensions)}
        if self._learnt["others"][0]:
            query["others"] = embeddings.MeanEmbedding(codes, dimensions)
        if self.example_age:
            query["age"] = embeddings.feature_embedding(-2, dimensions)
        for name, size in self._query_inputs_sizes().items():
            query[name] = embeddings.feature_embedding(size, dimensions)
        layers = [int(units) for units in self._learnt["layers"]]
        return towers.TwoTowers(
            towers.Tower(query, dimensions, layers, dense_only=True),
            towers.Tower({"item": embeddings.CodeEmbedding(codes, dimensions)}, dimensions, ()),
            normalise=self.normalise,
        )

    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        from pasand.training.tasks.retrieval import RetrievalObjective

        codes = self._learnt["item_code"]
        history_inputs = {"history"}
        if self._learnt["others"][0]:
            history_inputs.add("others")
        if self.example_age:
            history_inputs.add("age")
        items = self._item_inputs(np.flatnonzero(codes).astype(np.int32))
        objective = RetrievalObjective(
            loss="sampled_softmax",
            negatives=self.negatives,
            temperature=self.temperature,
            per_user=self.per_user,
        )
        return self._retrieval_task(data, network, self._user_tables(data), items, history_inputs, objective, device)
