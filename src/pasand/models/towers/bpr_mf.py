"""Matrix factorisation learnt by BPR (Rendle et al., UAI 2009): the smallest tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.models.dimensions import width
from pasand.models.towers.tower import DeepTower
from pasand.types import Array, Arrays, Mask, Queries, Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task


@dataclass(kw_only=True)
class BPRMF(DeepTower):
    """Scores by a vector per user and one per item, and a bias of the item, so that liked items come before others."""

    learning_rate: float = 0.01
    l2: float = 0.1
    negatives: int = 4
    """Items drawn uniformly against each liking, from those that anybody likes; the user's own likings do not count."""

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        liked = data.positives()
        known_users, known = np.zeros(data.n_users, np.bool_), np.zeros(data.n_items, np.bool_)
        known_users[liked.user], known[liked.item] = True, True
        return {"known": known, "known_users": known_users}

    def _answerable(self, inputs: Arrays) -> Mask:
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
        return IdTowers(len(self._learnt["known_users"]), n_items, width(self.dimensions, n_items))

    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        from pasand.training.tasks.bpr import Pairs

        return Pairs(data, network, self.batch_size, self.negatives, where)
