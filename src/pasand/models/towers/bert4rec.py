"""BERT4Rec: a transformer that reads the history in both directions and fills gaps (Sun et al., CIKM 2019).

It differs from the paper in its loss, a softmax over drawn items instead of all, in its gated pre-norm blocks, and in
that of some histories only the last item is hidden. It needs several times the training of SASRec (Petrov & Macdonald,
RecSys 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.models.dimensions import width
from pasand.models.towers.sequence_tower import SequenceTower

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task


@dataclass(kw_only=True)
class BERT4Rec(SequenceTower):
    """Scores an item by how well it fills a gap behind the liked items of the history."""

    epochs: int = 200
    """Number of passes over the data, the most where validation stops earlier."""
    patience: int = 10
    """Epochs without a better validation NDCG@10 after which training stops; 0: all epochs, no validation."""
    hidden: float = 0.3
    """Share of the items of a history that a step hides, at least one."""
    last: float = 0.2
    """Share of the histories of which a step hides the last item alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.hidden <= 1:
            raise ValueError(f"hidden must be above 0 and at most 1, got {self.hidden}")
        if not 0 <= self.last <= 1:
            raise ValueError(f"last must be between 0 and 1, got {self.last}")

    def _build(self) -> nn.Module:
        from pasand.layers.attention import ClozeTower

        n_items = len(self._learnt["known"])
        wide = -(-width(self.dimensions, n_items) // self.heads) * self.heads
        return ClozeTower(n_items, wide, self.max_length, self.blocks, self.heads, self.dropout, self.gated)

    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        import torch

        from pasand.training.tasks.next_item import Cloze

        return Cloze(
            data,
            network,
            hidden=self.hidden,
            last=self.last,
            batch_size=self.batch_size,
            max_length=self.max_length,
            negatives=self.negatives,
            known=torch.from_numpy(np.flatnonzero(self._learnt["known"])).to(where),
            where=where,
        )
