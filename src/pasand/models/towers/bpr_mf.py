"""BPR-MF: matrix factorisation with the BPR loss (Rendle et al., UAI 2009), the smallest tower model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.models.dimensions import chosen_dimensions
from pasand.models.towers.tower import DeepTower
from pasand.types import Array, Arrays, Mask, Queries, Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task


@dataclass(kw_only=True)
class BPRMF(DeepTower):
    """Scores by the inner product of a user and an item vector plus an item bias, trained to rank positives first."""

    learning_rate: float = 0.01
    l2: float = 0.1
    negatives: int = 4
    """Items sampled uniformly for each positive among items with positives; those that the user likes do not count."""

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        positives = data.positives()
        known_users, known = np.zeros(data.n_users, np.bool_), np.zeros(data.n_items, np.bool_)
        known_users[positives.user], known[positives.item] = True, True
        return {"known": known, "known_users": known_users}

    def _can_embed(self, inputs: Arrays) -> Mask:
        return np.asarray(np.append(self._learnt["known_users"], False)[inputs["user"]])

    def _inputs(self, queries: Queries) -> dict[str, Array]:
        n_users = len(self._learnt["known_users"])
        inside = (queries.users >= 0) & (queries.users < n_users)
        return {"user": np.where(inside, queries.users, n_users).astype(np.int64)}

    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        return {"item": rows.astype(np.int64)}

    def _build(self) -> nn.Module:
        from pasand.layers.towers import IdTowers

        n_items = len(self._learnt["known"])
        return IdTowers(len(self._learnt["known_users"]), n_items, chosen_dimensions(self.dimensions, n_items))

    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        from pasand.training.tasks.bpr import BPRTask

        return BPRTask(data, network, self.batch_size, self.negatives, device)
