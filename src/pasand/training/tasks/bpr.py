"""The task of matrix factorisation by BPR: each positive pair (user, item) against drawn items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pasand.data.dataset import Dataset
from pasand.features.training_weights import training_weights
from pasand.training.losses import bpr
from pasand.training.negatives import Positives, Uniform
from pasand.training.thinning import thinned, weight_tensor

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Users and items, (B,) each."""


class BPRTask:
    """Ranks each positive above items drawn uniformly among those with positives, by the BPR loss.

    Drawn items that are positives of the user are left out. A pair is an example as often as it is in the log.
    """

    def __init__(
        self, data: Dataset, network: nn.Module, batch_size: int, negatives: int, device: torch.device
    ) -> None:
        positives = data.positives()
        self.network, self._batch_size, self._negatives, self._device = network, batch_size, negatives, device
        self._user = torch.from_numpy(positives.user.astype("int64")).to(device)
        self._item = torch.from_numpy(positives.item.astype("int64")).to(device)
        self._weight = weight_tensor(training_weights(positives), device)
        self._known = torch.unique(self._item)
        self._sampler = Uniform(max(len(self._known), 1), device)
        self._positives = Positives(self._user, self._item, data.n_items, device)
        self.n_batches = -(-len(positives) // batch_size)

    def batches(self, generator: torch.Generator) -> Iterator[Pair]:
        """Yield the positives of one epoch in random order."""
        order = torch.randperm(len(self._user), generator=generator).to(self._device)
        for chosen in thinned(order, self._batch_size, self._weight, generator):
            yield self._user[chosen], self._item[chosen]

    def loss(self, batch: Pair, generator: torch.Generator) -> Tensor:
        """Return the mean BPR loss of a batch's positives against `negatives` items each."""
        users, items = batch
        drawn = self._known[self._sampler.draw((len(users), self._negatives), generator)[0]]
        query = self.network.query({"user": users})
        vectors = self.network.item({"item": torch.cat([items[:, None], drawn], dim=1).flatten()})
        logits = torch.einsum("bd,bnd->bn", query, vectors.unflatten(0, (len(users), -1)))
        return bpr(logits[:, 0], logits[:, 1:], false_negatives=self._positives.contains(users, drawn))

    def describe(self, batch: Pair) -> dict[str, Tensor]:
        """Return the users and items of a batch."""
        return {"user": batch[0], "item": batch[1]}
