"""Likings as pairs (user, item) against drawn items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pasand.data.dataset import Dataset
from pasand.training.losses import bpr
from pasand.training.negatives import Positives, Uniform

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Users and items, (B,) each."""


class Pairs:
    """The task of telling each liking from items drawn uniformly among those with likings, by BPR.

    Items that the user likes too count as not drawn; a pair is an example as often as it is in the log.
    """

    def __init__(self, data: Dataset, network: nn.Module, batch_size: int, negatives: int, where: torch.device) -> None:
        liked = data.positives()
        self.network, self._batch_size, self._negatives, self._where = network, batch_size, negatives, where
        self._user = torch.from_numpy(liked.user.astype("int64")).to(where)
        self._item = torch.from_numpy(liked.item.astype("int64")).to(where)
        self._known = torch.unique(self._item)
        self._sampler = Uniform(max(len(self._known), 1), where)
        self._likes = Positives(self._user, self._item, data.n_items, where)
        self.n_batches = -(-len(liked) // batch_size)

    def batches(self, generator: torch.Generator) -> Iterator[Pair]:
        """Yield the likings of one epoch in random order."""
        order = torch.randperm(len(self._user), generator=generator).to(self._where)
        for chosen in order.split(self._batch_size):
            yield self._user[chosen], self._item[chosen]

    def loss(self, batch: Pair, generator: torch.Generator) -> Tensor:
        """Return the mean BPR loss of a batch's likings against `negatives` items each."""
        users, items = batch
        drawn = self._known[self._sampler.draw((len(users), self._negatives), generator)[0]]
        query = self.network.query({"user": users})
        vectors = self.network.item({"item": torch.cat([items[:, None], drawn], dim=1).flatten()})
        logits = torch.einsum("bd,bnd->bn", query, vectors.unflatten(0, (len(users), -1)))
        return bpr(logits[:, 0], logits[:, 1:], false=self._likes.hold(users, drawn))

    def describe(self, batch: Pair) -> dict[str, Tensor]:
        """Return the users and items of a batch."""
        return {"user": batch[0], "item": batch[1]}
