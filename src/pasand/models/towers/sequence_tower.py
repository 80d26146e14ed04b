"""What towers share that read a history in its order. Needs no torch to answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.data.dataset import Dataset
from pasand.models.towers.tower import DeepTower
from pasand.types import Array, Arrays, Mask, Queries, Rows


@dataclass(kw_only=True)
class SequenceTower(DeepTower):
    """A tower that reads the latest liked items of the history; events that are no likings are passed over."""

    batch_size: int = 768
    """Places of histories in a step; a place is an item with all that stand before it."""
    max_length: int = 50
    """Latest liked items of a history that are read, at least 1."""
    blocks: int = 1
    """Layers of attention, at least 1."""
    heads: int = 1
    """Parts into which attention splits the width; the width must be a multiple of it."""
    dropout: float = 0.5
    """Share of the numbers inside the network that training sets to 0."""
    negatives: int = 1024
    """Items drawn uniformly for each step, which all histories of the step share; at least the catalogue: all items."""
    gated: bool = True
    """Whether blocks weigh what they add (LiGR); otherwise they are plain pre-norm blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_length", "blocks", "heads", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if self.dimensions is not None and self.dimensions % self.heads:
            raise ValueError(f"dimensions must be a multiple of heads ({self.heads}), got {self.dimensions}")

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        known = np.zeros(data.n_items, np.bool_)
        known[data.positives().item] = True
        return {"known": known, "positive_from": np.array(data.positive_from)}

    def _read(self, queries: Queries) -> Rows:
        """Return the liked and known items of the histories, -1 elsewhere; (B, H)."""
        known = np.append(self._learnt["known"], False)
        history = queries.liked(float(self._learnt["positive_from"]))
        rows: Rows = np.where(known[np.where(history < len(known), history, -1)], history, np.int32(-1))
        return rows

    def _answerable(self, inputs: Arrays) -> Mask:
        return np.asarray((inputs["history"] < len(self._learnt["known"])).any(axis=1))

    def _inputs(self, queries: Queries) -> dict[str, Array]:
        """Return "history", (B, max_length): the latest likings, on the right, n_items elsewhere."""
        read = self._read(queries)
        history = np.full((len(read), self.max_length), len(self._learnt["known"]), np.int64)
        real = read >= 0
        place = real[:, ::-1].cumsum(axis=1)[:, ::-1] - 1  # 0 at the last real one
        row, column = np.nonzero(real & (place < self.max_length))
        history[row, self.max_length - 1 - place[row, column]] = read[row, column]
        return {"history": history}

    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        return {"item": rows.astype(np.int64)}
