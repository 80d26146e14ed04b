"""Likings as pairs (user, item) against drawn items."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.data.dataset import Dataset


class Pairs:
    """The task of telling each liking from items drawn uniformly, by BPR."""

    def __init__(self, data: Dataset, network: nn.Module, batch_size: int, negatives: int, where: torch.device) -> None:
        liked = data.positives()
        self.network, self._batch_size, self._negatives, self._where = network, batch_size, negatives, where
        self._user = torch.from_numpy(liked.user.astype("int64")).to(where)
        self._item = torch.from_numpy(liked.item.astype("int64")).to(where)
        self._n_items = data.n_items
        self.n_batches = -(-len(liked) // batch_size)

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (users, items), (B,) each, in random order."""
        order = torch.randperm(len(self._user), generator=generator).to(self._where)
        for chosen in order.split(self._batch_size):
            yield self._user[chosen], self._item[chosen]

    def loss(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
        """Return the mean of -log sigmoid(liked - drawn)."""
        users, items = batch
        drawn = torch.randint(self._n_items, (len(users), self._negatives), generator=generator).to(self._where)
        query = self.network.query({"user": users})
        liked = (query * self.network.item({"item": items})).sum(-1, keepdim=True)
        others = torch.einsum("bd,bnd->bn", query, self.network.item({"item": drawn}))
        loss: Tensor = -functional.logsigmoid(liked - others).mean()
        return loss
