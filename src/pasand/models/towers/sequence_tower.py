"""Base class of the towers that read the history as a sequence. Importing it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.data.dataset import Dataset
from pasand.features.encoding import check_history_length
from pasand.models.dimensions import chosen_dimensions
from pasand.models.towers.tower import DeepTower
from pasand.types import Array, Arrays, Mask, Queries, Rows


@dataclass(kw_only=True)
class SequenceTower(DeepTower):
    """Reads the latest liked items of the history in their order; events that are not positives are skipped."""

    batch_size: int = 768
    """Positions of histories in a step; a position is an item together with all items before it."""
    history_length: int = 50
    """Number of latest liked items that are read, at least 1."""
    blocks: int = 1
    """Number of attention blocks, at least 1."""
    heads: int = 1
    """Number of attention heads; `dimensions` must be a multiple of it."""
    dropout: float = 0.5
    """Dropout rate inside the network in training."""
    negatives: int = 1024
    """Items sampled uniformly for each step and shared by its histories; all items if the catalogue has no more."""
    gated: bool = True
    """Whether blocks gate what they add (LiGR); otherwise they are plain pre-norm blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("history_length", "blocks", "heads", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        check_history_length(self.history_length)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if self.dimensions is not None and self.dimensions % self.heads:
            raise ValueError(f"dimensions must be a multiple of heads ({self.heads}), got {self.dimensions}")

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        known = np.zeros(data.n_items, np.bool_)
        known[data.positives().item] = True
        return {"known": known, "positive_from": np.array(data.positive_from)}

    def _network_dimensions(self) -> int:
        """Return the width of the network: the chosen one, rounded up to a multiple of `heads`."""
        dimensions = chosen_dimensions(self.dimensions, len(self._learnt["known"]))
        return -(-dimensions // self.heads) * self.heads

    def _usable(self, queries: Queries) -> Rows:
        """Return the liked and known items of the histories, -1 elsewhere; (B, H)."""
        known = np.append(self._learnt["known"], False)
        history = queries.liked(float(self._learnt["positive_from"]))
        rows: Rows = np.where(known[np.where(history < len(known), history, -1)], history, np.int32(-1))
        return rows

    def _can_embed(self, inputs: Arrays) -> Mask:
        return np.asarray((inputs["history"] < len(self._learnt["known"])).any(axis=1))

    def _inputs(self, queries: Queries) -> dict[str, Array]:
        """Return "history", (B, history_length): the latest liked items, padded with n_items on the left."""
        usable = self._usable(queries)
        history = np.full((len(usable), self.history_length), len(self._learnt["known"]), np.int64)
        real = usable >= 0
        age = real[:, ::-1].cumsum(axis=1)[:, ::-1] - 1  # 0 at the latest item
        row, column = np.nonzero(real & (age < self.history_length))
        history[row, self.history_length - 1 - age[row, column]] = usable[row, column]
        return {"history": history}

    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        return {"item": rows.astype(np.int64)}
