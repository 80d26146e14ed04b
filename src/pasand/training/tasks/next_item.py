"""The next-item tasks of sequence models: predict the item after each position (SASRec), or masked items (BERT4Rec)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pasand.data.dataset import Dataset
from pasand.features.training_weights import training_weights
from pasand.layers.attention import ClozeTower, HistoryTower
from pasand.training.fused_softmax import multi_positive_softmax
from pasand.training.thinning import weight_tensor

Sequences: TypeAlias = tuple[Tensor, ...]
"""Items (B, L + 1) padded on the right, how many are real (B,), and, where not 1, the events' weights (B, L + 1)."""


class NextItemTask:
    """Predicts the next item of a history against drawn items, at every position at once (shifted sequences).

    The loss is a softmax over the next item and items drawn uniformly for the whole batch. With `horizon` above 1 the
    items after the next one are positives too, each with `horizon_decay` times the weight of the one before. Histories
    of similar length share a batch, so that there is little padding. Batches hold similar numbers of positions, so that
    each position has the same weight, times the training weight of its next item where the data have such weights.
    """

    def __init__(
        self,
        data: Dataset,
        network: HistoryTower,
        *,
        batch_size: int,
        history_length: int,
        negatives: int,
        horizon: int = 1,
        horizon_decay: float = 1.0,
        known: Tensor,
        device: torch.device,
    ) -> None:
        """Take the positives of users who have at least two, the latest `history_length` + 1 of each.

        A batch holds about `batch_size` positions that another item follows. Negatives are drawn from the items
        `known`, (n,); all of these are negatives where there are at most `negatives`.
        """
        self.network: HistoryTower = network
        self._negatives, self._device = negatives, device
        histories = data.positives().by_user
        count = np.minimum(np.diff(histories.start), history_length + 1)
        users = np.flatnonzero(count >= 2)
        self._count = torch.from_numpy(count[users])
        self._start = torch.from_numpy((histories.start[1:] - count)[users])
        self._item = torch.from_numpy(histories.item.astype(np.int64))
        weight = training_weights(data.positives())
        self._event_weight = weight_tensor(None if weight is None else weight[histories.event], torch.device("cpu"))
        self._known = known
        self._horizon = torch.arange(horizon, device=device)
        self._weight = torch.tensor(horizon_decay, device=device) ** self._horizon
        positions = np.sort(count[users] - 1).cumsum()
        self._sizes = np.unique((positions - 1) // batch_size, return_counts=True)[1].tolist()
        self.n_batches = len(self._sizes)

    def batches(self, generator: torch.Generator) -> Iterator[Sequences]:
        """Yield the histories of one epoch, in random order as far as lengths permit."""
        shuffled = torch.randperm(len(self._count), generator=generator)
        by_length = shuffled[torch.argsort(self._count[shuffled], stable=True)]
        batches = by_length.split(self._sizes)
        for n in torch.randperm(self.n_batches, generator=generator).tolist():
            chosen = batches[n]
            count = self._count[chosen]
            position = torch.arange(int(count.max()))
            index = self._start[chosen, None] + position.clamp(max=count[:, None] - 1)
            tables = [self._item] if self._event_weight is None else [self._item, self._event_weight]
            items, *weight = (table[index].to(self._device) for table in tables)
            yield items, count.to(self._device), *weight

    def loss(self, batch: Sequences, generator: torch.Generator) -> Tensor:
        """Return the mean over all positions of -log softmax of the next item among itself and the drawn items."""
        items, count, *event_weight = batch
        longest = items.shape[1] - 1
        at = torch.arange(longest, device=items.device)
        following = count[:, None] - 1 - at  # (B, L) number of items after each position
        history, position = (following > 0).nonzero(as_tuple=True)  # (T,) the positions that have a next item
        drawn = self._drawn(generator)
        vectors = self.network.items(torch.cat([items.flatten(), drawn]))  # one look-up: one gradient of the table
        read = vectors[: items.numel()].unflatten(0, items.shape)
        states = self.network.states(read[:, :-1], (following - 1).clamp(min=0))
        targets = (position[:, None] + 1 + self._horizon).clamp(max=longest)  # (T, K) positions
        weight = self._weight * (self._horizon < following[history, position, None])
        for of_events in event_weight:
            weight = weight * of_events[history[:, None], targets]
        return multi_positive_softmax(
            functional.embedding(history * longest + position, states.flatten(0, 1)),
            functional.embedding(history[:, None] * items.shape[1] + targets, vectors),
            vectors[items.numel() :],
            items[history[:, None], targets],
            drawn,
            weight,
        )

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """Return drawn known items, different and in rising order, (M,)."""
        if len(self._known) <= self._negatives:
            return self._known
        drawn = torch.randint(len(self._known), (self._negatives,), generator=generator)
        return self._known[drawn.unique().to(self._device)]


class ClozeTask(NextItemTask):
    """Predicts masked items of a history against drawn items, from the unmasked ones (Sun et al., BERT4Rec, 2019)."""

    network: ClozeTower

    def __init__(
        self, data: Dataset, network: ClozeTower, *, mask_share: float, mask_last_share: float, **options: Any
    ) -> None:
        """Take the options of `NextItemTask`, and the share of the positions of a history to mask, at least one.

        In a share `mask_last_share` of the histories only the last item is masked, as in serving.
        """
        super().__init__(data, network, **options)
        self._mask_share, self._mask_last_share = mask_share, mask_last_share

    def loss(self, batch: Sequences, generator: torch.Generator) -> Tensor:
        """Return the mean over all masked positions of -log softmax of the item among itself and the drawn items."""
        items, count, *event_weight = batch
        following = count[:, None] - 1 - torch.arange(items.shape[1], device=items.device)
        real = following >= 0
        chance = torch.rand(items.shape, generator=generator).to(items.device)
        anywhere = torch.rand(len(items), generator=generator).to(items.device) >= self._mask_last_share
        masked = real & (chance < self._mask_share) & anywhere[:, None]
        masked |= (following == 0) & ~masked.any(1, keepdim=True)
        drawn = self._drawn(generator)
        vectors = self.network.items(torch.cat([items.flatten(), drawn]))
        read = vectors[: items.numel()]
        states = self.network.masked_states(read.unflatten(0, items.shape), following.clamp(min=0), masked, real)
        at = masked.flatten().nonzero()  # (T, 1)
        return multi_positive_softmax(
            functional.embedding(at[:, 0], states.flatten(0, 1)),
            functional.embedding(at, read),
            vectors[items.numel() :],
            items.flatten()[at],
            drawn,
            event_weight[0].flatten()[at] if event_weight else torch.ones(at.shape, device=items.device),
        )
