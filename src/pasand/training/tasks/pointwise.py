"""Pairs of user and item as examples by themselves: likings against drawn items, or ratings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.data.dataset import Dataset
from pasand.training.negatives import Positives, Uniform
from pasand.types import Array

Example: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""Users, (B,), their items, labels, and whether these count, (B, M) each."""


class Pointwise:
    """The task of foreseeing the label of each pair from what tables tell of its user and of its item.

    With `ratings` the examples are the rated events, the loss is the squared error of the standardised rating. Else
    they are likings, labelled 1, with `negatives` items each that are drawn anew in each epoch, labelled 0, and the
    loss is cross-entropy (He et al., WWW 2017, equation 7); drawn items that the user likes are left out.
    """

    def __init__(
        self,
        data: Dataset,
        network: nn.Module,
        users: Mapping[str, Array],
        items: Mapping[str, Array],
        *,
        batch_size: int,
        negatives: int,
        ratings: tuple[float, float] | None,
        where: torch.device,
    ) -> None:
        """Take tables with a row per user and per item; `ratings`: mean and deviation that standardise them."""
        self.network, self._where, self._ratings = network, where, ratings
        self._users = {name: torch.from_numpy(values).to(where) for name, values in users.items()}
        self._items = {name: torch.from_numpy(values).to(where) for name, values in items.items()}
        if ratings is None:
            chosen, self._negatives = data.positives(), negatives
            label = np.ones(len(chosen), np.float32)
        else:
            assert data.value is not None
            chosen, self._negatives = data.select(np.isfinite(data.value)), 0
            assert chosen.value is not None
            label = (chosen.value - np.float32(ratings[0])) / np.float32(ratings[1])
        self._user = torch.from_numpy(chosen.user.astype(np.int64)).to(where)
        self._item = torch.from_numpy(chosen.item.astype(np.int64)).to(where)
        self._label = torch.from_numpy(label.astype(np.float32)).to(where)
        if self._negatives:
            self._known = torch.unique(self._item)
            self._sampler = Uniform(max(len(self._known), 1), where)
            self._likes = Positives(self._user, self._item, data.n_items, where)
        self._size = max(1, batch_size // (1 + self._negatives))
        self.n_batches = -(-len(self._user) // self._size)

    def batches(self, generator: torch.Generator) -> Iterator[Example]:
        """Yield the examples of one epoch in random order, each liking together with its drawn items."""
        order = torch.randperm(len(self._user), generator=generator).to(self._where)
        for chosen in order.split(self._size):
            user, item, label = self._user[chosen], self._item[chosen, None], self._label[chosen, None]
            counts = torch.ones_like(label)
            if self._negatives:
                drawn = self._known[self._sampler.draw((len(user), self._negatives), generator)[0]]
                fair = ~self._likes.hold(user, drawn)
                item, counts = torch.cat([item, drawn], 1), torch.cat([counts, fair.float()], 1)
                label = torch.cat([label, label.new_zeros(drawn.shape)], 1)
            yield user, item, label, counts

    def inputs(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        """Return what the network reads of users, (B,) rows, and of their items, (B, M) -> B M rows."""
        told = {name: table[user] for name, table in self._users.items()}
        return told | {name: table[item.flatten()] for name, table in self._items.items()}

    def loss(self, batch: Example, generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch."""
        user, item, label, counts = batch
        told = self.inputs(user, item)
        if self._ratings is not None:
            return functional.mse_loss(self.network.rank(told).float(), label[:, 0])
        total: Tensor = self.network.cross_entropy(told, label, counts)
        return total / counts.sum()

    def describe(self, batch: Example) -> dict[str, Tensor]:
        """Return what the network reads of a batch, and its labels."""
        return self.inputs(batch[0], batch[1]) | {"label": batch[2]}
