"""SASRec: a transformer that predicts the next item from the history (Kang & McAuley, ICDM 2018).

Two later improvements are included: a softmax over many sampled items instead of binary cross-entropy over one
(Klenitskiy & Vasilev, RecSys 2023), and gated residual blocks (Tikhonovich et al., eSASRec, RecSys 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.models.towers.sequence_tower import SequenceTower

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task


@dataclass(kw_only=True)
class SASRec(SequenceTower):
    """Scores an item as the next one after the liked items of the history, in their order."""

    horizon: int = 1
    """Number of next items that each position of a history is trained to predict, at least 1; more than one helps where
    the order carries little information."""
    horizon_decay: float = 0.5
    """Weight of a next item relative to the one before it, above 0; without effect for a `horizon` of 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon < 1:
            raise ValueError(f"horizon must be positive, got {self.horizon}")
        if not self.horizon_decay > 0:
            raise ValueError(f"horizon_decay must be above 0, got {self.horizon_decay}")

    def _build(self) -> nn.Module:
        from pasand.layers.attention import HistoryTower

        n_items, dimensions = len(self._learnt["known"]), self._network_dimensions()
        return HistoryTower(n_items, dimensions, self.history_length, self.blocks, self.heads, self.dropout, self.gated)

    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        import torch

        from pasand.training.tasks.next_item import NextItemTask

        return NextItemTask(
            data,
            network,
            batch_size=self.batch_size,
            history_length=self.history_length,
            negatives=self.negatives,
            horizon=self.horizon,
            horizon_decay=self.horizon_decay,
            known=torch.from_numpy(np.flatnonzero(self._learnt["known"])).to(device),
            device=device,
        )
