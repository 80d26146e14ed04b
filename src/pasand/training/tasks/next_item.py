"""Histories as examples: at every place of a history, the item that came next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pasand.data.dataset import Dataset
from pasand.layers.attention import ClozeTower, HistoryTower
from pasand.training.sampled_softmax import softmax_loss

Sequences: TypeAlias = tuple[Tensor, Tensor]
"""Items (B, L + 1) padded on the right, and how many of them are real (B,)."""


class NextItem:
    """The task of telling the next item of a history from drawn ones, at every place at once (shifted sequences).

    The loss is a softmax over the next item and items drawn uniformly for the whole batch; with `horizon`, the items
    that follow it count too, each `horizon_decay` times as much as the one before. Histories of like length share a batch, so
    that almost nothing is padding; batches hold like numbers of places, so that each place counts alike.
    """

    def __init__(
        self,
        data: Dataset,
        network: HistoryTower,
        *,
        batch_size: int,
        max_length: int,
        negatives: int,
        horizon: int = 1,
        horizon_decay: float = 1.0,
        known: Tensor,
        where: torch.device,
    ) -> None:
        """Take the likings of users who have at least two, the latest `max_length` + 1 of each.

        A batch holds about `batch_size` places that another item follows. `known`, (n,), are the items to draw from,
        all of which are drawn where they are no more than `negatives`.
        """
        self.network: HistoryTower = network
        self._negatives, self._where = negatives, where
        histories = data.positives().by_user
        count = np.minimum(np.diff(histories.start), max_length + 1)
        users = np.flatnonzero(count >= 2)
        self._count = torch.from_numpy(count[users])
        self._start = torch.from_numpy((histories.start[1:] - count)[users])
        self._item = torch.from_numpy(histories.item.astype(np.int64))
        self._known = known
        self._horizon = torch.arange(horizon, device=where)
        self._weight = torch.tensor(horizon_decay, device=where) ** self._horizon
        places = np.sort(count[users] - 1).cumsum()
        self._sizes = np.unique((places - 1) // batch_size, return_counts=True)[1].tolist()
        self.n_batches = len(self._sizes)

    def batches(self, generator: torch.Generator) -> Iterator[Sequences]:
        """Yield the histories of one epoch, in random order as far as lengths permit."""
        mixed = torch.randperm(len(self._count), generator=generator)
        ordered = mixed[torch.argsort(self._count[mixed], stable=True)]
        parts = ordered.split(self._sizes)
        for at in torch.randperm(self.n_batches, generator=generator).tolist():
            chosen = parts[at]
            count = self._count[chosen]
            place = torch.arange(int(count.max()))
            index = self._start[chosen, None] + place.clamp(max=count[:, None] - 1)
            yield self._item[index].to(self._where), count.to(self._where)

    def loss(self, batch: Sequences, generator: torch.Generator) -> Tensor:
        """Return the mean over all places of -log softmax of what comes next among itself and the drawn items."""
        items, count = batch
        longest = items.shape[1] - 1
        at = torch.arange(longest, device=items.device)
        left = count[:, None] - 1 - at  # (B, L) items that follow each place
        history, place = (left > 0).nonzero(as_tuple=True)  # (T,) the places that something follows
        drawn = self._drawn(generator)
        vectors = self.network.items(torch.cat([items.flatten(), drawn]))  # one look-up: one gradient of the table
        read = vectors[: items.numel()].unflatten(0, items.shape)
        states = self.network.states(read[:, :-1], (left - 1).clamp(min=0))
        coming = (place[:, None] + 1 + self._horizon).clamp(max=longest)  # (T, K)
        weight = self._weight * (self._horizon < left[history, place, None])
        return softmax_loss(
            functional.embedding(history * longest + place, states.flatten(0, 1)),
            functional.embedding(history[:, None] * items.shape[1] + coming, vectors),
            vectors[items.numel() :],
            items[history[:, None], coming],
            drawn,
            weight,
        )

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """Return different known items in rising order, (M,)."""
        if len(self._known) <= self._negatives:
            return self._known
        drawn = torch.randint(len(self._known), (self._negatives,), generator=generator)
        return self._known[drawn.unique().to(self._where)]


class Cloze(NextItem):
    """The task of telling hidden items of a history from drawn ones by all the others (Sun et al., BERT4Rec, 2019)."""

    network: ClozeTower

    def __init__(self, data: Dataset, network: ClozeTower, *, hidden: float, last: float, **options: Any) -> None:
        """Take what `NextItem` takes; of each history hide a share of the places, at least one.

        Of a share `last` of the histories only the last item is hidden, which is what is asked for when answering.
        """
        super().__init__(data, network, **options)
        self._share, self._last = hidden, last

    def loss(self, batch: Sequences, generator: torch.Generator) -> Tensor:
        """Return the mean over all hidden places of -log softmax of the item among itself and the drawn items."""
        items, count = batch
        left = count[:, None] - 1 - torch.arange(items.shape[1], device=items.device)
        real = left >= 0
        chance = torch.rand(items.shape, generator=generator).to(items.device)
        whole = torch.rand(len(items), generator=generator).to(items.device) >= self._last
        hidden = real & (chance < self._share) & whole[:, None]
        hidden |= (left == 0) & ~hidden.any(1, keepdim=True)
        drawn = self._drawn(generator)
        vectors = self.network.items(torch.cat([items.flatten(), drawn]))
        read = vectors[: items.numel()]
        states = self.network.filled(read.unflatten(0, items.shape), left.clamp(min=0), hidden, real)
        at = hidden.flatten().nonzero()  # (T, 1)
        return softmax_loss(
            functional.embedding(at[:, 0], states.flatten(0, 1)),
            functional.embedding(at, read),
            vectors[items.numel() :],
            items.flatten()[at],
            drawn,
            torch.ones(at.shape, device=items.device),
        )
