"""Candidate generation of YouTube (Covington, Adams and Sargin, RecSys 2016, section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.features import encoding
from pasand.models.dimensions import width
from pasand.models.towers.feature_tower import FeatureTower
from pasand.types import Array, Queries, Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task

LAYERS = (1024, 512, 256)
"""Widths of the paper's ReLU tower."""
ENOUGH = 1_000_000
"""Likings that carry those widths."""


def narrowed(likings: int) -> tuple[int, ...]:
    """Return the paper's widths, halved for each factor of four that the likings lack to a million, at most four times.

    >>> narrowed(2_000_000), narrowed(55_000), narrowed(100)
    ((1024, 512, 256), (256, 128, 64), (64, 32, 16))
    """
    halvings = min(4, max(0, math.floor(math.log(ENOUGH / max(likings, 1), 4))))
    return tuple(units >> halvings for units in LAYERS)


@dataclass(kw_only=True)
class YouTube(FeatureTower):
    """Scores by the inner product of a ReLU tower over histories and features with a vector per item.

    The tower reads the averages of the last likings and of the last other events (watched, and not liked), features of
    the user such as geography, age, gender and language, and the example's age. A bag of searches is one of the
    features. Each liking is foretold from what came before it alone. An item without likings has no vector.
    """

    others: bool = True
    """Whether events that were no likings are read as a second history, where the log has any."""
    example_age: bool = True
    """Whether the tower is told how long before the newest event an example is; in use it is told 0."""
    layers: tuple[int, ...] | None = None
    """Widths of the ReLU layers; None: 1024, 512, 256, halved for each factor of four that the likings lack to a
    million, at most four times."""
    learning_rate: float = 3e-3
    normalise: bool = False
    """Whether vectors have length 1, so that scores are cosines."""
    temperature: float = 1.0
    """What inner products are divided by in the loss; some 0.1 where vectors have length 1."""
    per_user: int = 0
    """Examples drawn from each user in an epoch, so that all users weigh the same; 0: every liking once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.per_user < 0:
            raise ValueError(f"per_user must not be negative, got {self.per_user}")
        if self.layers is not None and not (self.layers and min(self.layers) >= 1):
            raise ValueError(f"layers must be positive and one at least, got {list(self.layers)}")

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        learnt = self._about_users(data)
        layers = narrowed(int(data.liked.sum())) if self.layers is None else self.layers
        return learnt | {
            "known": learnt["item_code"] > 0,
            "layers": np.array(layers),
            "others": np.array([self.others and not data.liked.all()]),
        }

    def _inputs(self, queries: Queries) -> dict[str, Array]:
        told = self._told(queries.features, len(queries)) | {"history": self._history(queries)}
        if self._learnt["others"][0]:
            liked = queries.liked(float(self._learnt["positive_from"][0]))
            rest = np.where(liked < 0, queries.history, -1)
            told["others"] = encoding.recent(rest, self._learnt["item_code"], self.history_length)
        if self.example_age:
            told["age"] = np.zeros((len(queries), 2), np.float32)
        return told

    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        return {"item": self._item_codes(rows)}

    def _build(self) -> nn.Module:
        from pasand.layers import embeddings, towers

        codes = int(self._learnt["item_code"].max(initial=0))
        dimensions = width(self.dimensions, len(self._learnt["item_code"]))
        query: dict[str, nn.Module] = {"history": embeddings.Average(codes, dimensions)}
        if self._learnt["others"][0]:
            query["others"] = embeddings.Average(codes, dimensions)
        if self.example_age:
            query["age"] = embeddings.feature(-2, dimensions)
        for name, size in encoding.parts("user", self._learnt).items():
            query[name] = embeddings.feature(size, dimensions)
        layers = [int(units) for units in self._learnt["layers"]]
        return towers.TwoTowers(
            towers.Tower(query, dimensions, layers, alone=True),
            towers.Tower({"item": embeddings.One(codes, dimensions)}, dimensions, ()),
            normalise=self.normalise,
        )

    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        from pasand.training.tasks.retrieval import Examples, Objective, Retrieval

        codes = self._learnt["item_code"]
        reads = {"history"}
        if self._learnt["others"][0]:
            reads.add("others")
        if self.example_age:
            reads.add("age")
        items = self._item_inputs(np.flatnonzero(codes).astype(np.int32))
        objective = Objective(
            loss="sampled_softmax",
            negatives=self.negatives,
            temperature=self.temperature,
            per_user=self.per_user,
        )
        examples = Examples(data, codes, self.history_length, where)
        return Retrieval(examples, network, self._tables(data), items, reads, objective, self.batch_size, where)
