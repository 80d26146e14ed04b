"""The task of neural collaborative filtering: a label for each pair of user and item, positive or rating."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.data.dataset import Dataset
from pasand.features.training_weights import training_weights
from pasand.training.negatives import Positives, Uniform
from pasand.training.thinning import thinned, weight_tensor
from pasand.types import Array

Example: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""Users, (B,), their items, labels, and weights 1 or 0, (B, M) each."""


class PointwiseTask:
    """Predicts the label of each pair from tables of inputs of its user and of its item.

    With `ratings` the examples are the rated events, and the loss is the squared error of the standardised rating.
    Otherwise they are positives, labelled 1, each with `negatives` items drawn again in every epoch, labelled 0, and
    the loss is cross-entropy (He et al., WWW 2017, equation 7). Drawn items that are positives of the user are left
    out.
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
        device: torch.device,
    ) -> None:
        """Take tables of inputs with a row per user and per item; `ratings`: mean and deviation of the ratings."""
        self.network, self._device, self._ratings = network, device, ratings
        self._users = {name: torch.from_numpy(values).to(device) for name, values in users.items()}
        self._items = {name: torch.from_numpy(values).to(device) for name, values in items.items()}
        if ratings is None:
            chosen, self._negatives = data.positives(), negatives
            label = np.ones(len(chosen), np.float32)
        else:
            assert data.value is not None
            chosen, self._negatives = data.select(np.isfinite(data.value)), 0
            assert chosen.value is not None
            label = (chosen.value - np.float32(ratings[0])) / np.float32(ratings[1])
        self._user = torch.from_numpy(chosen.user.astype(np.int64)).to(device)
        self._item = torch.from_numpy(chosen.item.astype(np.int64)).to(device)
        self._label = torch.from_numpy(label.astype(np.float32)).to(device)
        self._weight = weight_tensor(training_weights(chosen), device)
        if self._negatives:
            self._known = torch.unique(self._item)
            self._sampler = Uniform(max(len(self._known), 1), device)
            self._positives = Positives(self._user, self._item, data.n_items, device)
        self._size = max(1, batch_size // (1 + self._negatives))
        self.n_batches = -(-len(self._user) // self._size)

    def batches(self, generator: torch.Generator) -> Iterator[Example]:
        """Yield the examples of one epoch in random order, each positive together with its drawn items."""
        order = torch.randperm(len(self._user), generator=generator).to(self._device)
        for chosen in thinned(order, self._size, self._weight, generator):
            user, item, label = self._user[chosen], self._item[chosen, None], self._label[chosen, None]
            counts = torch.ones_like(label)
            if self._negatives:
                drawn = self._known[self._sampler.draw((len(user), self._negatives), generator)[0]]
                fair = ~self._positives.contains(user, drawn)
                item, counts = torch.cat([item, drawn], 1), torch.cat([counts, fair.float()], 1)
                label = torch.cat([label, label.new_zeros(drawn.shape)], 1)
            yield user, item, label, counts

    def inputs(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        """Return the network's inputs for users, (B,) -> B rows, and their items, (B, M) -> B M rows."""
        of_users = {name: table[user] for name, table in self._users.items()}
        return of_users | {name: table[item.flatten()] for name, table in self._items.items()}

    def loss(self, batch: Example, generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch."""
        user, item, label, counts = batch
        inputs = self.inputs(user, item)
        if self._ratings is not None:
            return functional.mse_loss(self.network.rank(inputs).float(), label[:, 0])
        total: Tensor = self.network.cross_entropy(inputs, label, counts)
        return total / counts.sum()

    def describe(self, batch: Example) -> dict[str, Tensor]:
        """Return the network's inputs for a batch, and its labels."""
        return self.inputs(batch[0], batch[1]) | {"label": batch[2]}
