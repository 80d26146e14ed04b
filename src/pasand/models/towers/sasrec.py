"""SASRec in its strongest known form: a transformer that reads the history for the next item.

Kang & McAuley, ICDM 2018; with a softmax over many drawn items instead of binary cross-entropy over one (Klenitskiy &
Vasilev, RecSys 2023), and gated residual blocks (Tikhonovich et al., eSASRec, RecSys 2025).
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
class SASRec(SequenceTower):
    """Scores an item by how well it comes next after the liked items of the history, in their order."""

    horizon: int = 1
    """How many coming items each place of a history is taught, at least 1; more than the next one helps where the order
    says little."""
    horizon_decay: float = 0.5
    """Weight of a coming item relative to the one before it, above 0; it matters where `horizon` is above 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon < 1:
            raise ValueError(f"ahead must be positive, got {self.horizon}")
        if not self.horizon_decay > 0:
            raise ValueError(f"fading must be above 0, got {self.horizon_decay}")

    def _build(self) -> nn.Module:
        from pasand.layers.attention import HistoryTower

        n_items = len(self._learnt["known"])
        wide = -(-width(self.dimensions, n_items) // self.heads) * self.heads
        return HistoryTower(n_items, wide, self.max_length, self.blocks, self.heads, self.dropout, self.gated)

    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        import torch

        from pasand.training.tasks.next_item import NextItem

        return NextItem(
            data,
            network,
            batch_size=self.batch_size,
            max_length=self.max_length,
            negatives=self.negatives,
            horizon=self.horizon,
            horizon_decay=self.horizon_decay,
            known=torch.from_numpy(np.flatnonzero(self._learnt["known"])).to(where),
            where=where,
        )
