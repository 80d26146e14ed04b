"""BERT4Rec: a bidirectional transformer that predicts masked items of the history (Sun et al., CIKM 2019).

Differences from the paper: the loss is a softmax over sampled items instead of all, blocks are gated and pre-norm, and
some histories have only their last item masked. It needs several times the training of SASRec (Petrov & Macdonald,
RecSys 2022).
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
class BERT4Rec(SequenceTower):
    """Scores an item as the one behind a mask that follows the liked items of the history."""

    epochs: int = 200
    patience: int = 10
    mask_share: float = 0.3
    """Share of the items of a history that are masked in a step; at least one item is."""
    mask_last_share: float = 0.2
    """Share of the histories of which only the last item is masked in a step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mask_share <= 1:
            raise ValueError(f"mask_share must be above 0 and at most 1, got {self.mask_share}")
        if not 0 <= self.mask_last_share <= 1:
            raise ValueError(f"mask_last_share must be between 0 and 1, got {self.mask_last_share}")

    def _build(self) -> nn.Module:
        from pasand.layers.attention import ClozeTower

        n_items, dimensions = len(self._learnt["known"]), self._network_dimensions()
        return ClozeTower(n_items, dimensions, self.history_length, self.blocks, self.heads, self.dropout, self.gated)

    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        import torch

        from pasand.training.tasks.next_item import ClozeTask

        return ClozeTask(
            data,
            network,
            mask_share=self.mask_share,
            mask_last_share=self.mask_last_share,
            batch_size=self.batch_size,
            history_length=self.history_length,
            negatives=self.negatives,
            known=torch.from_numpy(np.flatnonzero(self._learnt["known"])).to(device),
            device=device,
        )
