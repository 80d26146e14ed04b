"""SASRec in its strongest known form: a transformer that reads the history for the next item.

Kang & McAuley, ICDM 2018; with a softmax over many drawn items instead of binary cross-entropy over one (Klenitskiy &
Vasilev, RecSys 2023), and gated residual blocks (Tikhonovich et al., eSASRec, RecSys 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.models.width import width
from pasand.training.histories import HistoryReader

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.deep import Task


@dataclass(kw_only=True)
class SASRec(HistoryReader):
    """Scores an item by how well it comes next after the liked items of the history, in their order."""

    ahead: int = 1
    """How many coming items each place of a history is taught, at least 1; more than the next one helps where the order
    says little."""
    fading: float = 0.5
    """Weight of a coming item relative to the one before it, above 0; it matters where `ahead` is above 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ahead < 1:
            raise ValueError(f"ahead must be positive, got {self.ahead}")
        if not self.fading > 0:
            raise ValueError(f"fading must be above 0, got {self.fading}")

    def _build(self) -> nn.Module:
        from pasand.layers.attention import HistoryTower

        n_items = len(self._learnt["known"])
        wide = -(-width(self.dimensions, n_items) // self.heads) * self.heads
        return HistoryTower(n_items, wide, self.max_length, self.blocks, self.heads, self.dropout, self.gated)

    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        import torch

        from pasand.training.sequences import NextItem

        return NextItem(
            data,
            network,
            batch_size=self.batch_size,
            max_length=self.max_length,
            negatives=self.negatives,
            ahead=self.ahead,
            fading=self.fading,
            known=torch.from_numpy(np.flatnonzero(self._learnt["known"])).to(where),
            where=where,
        )
