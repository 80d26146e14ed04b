"""The task of contextual rankers: predict click, rating or minutes of each pair of a query and an item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.training.ranking_examples import Examples, Objective
from pasand.training.thinning import thinned, weight_tensor
from pasand.types import Array


class RankingTask:
    """Predicts the label of each pair of a query and an item.

    "clicked" and "liked": cross-entropy. "ratings": squared error of the standardised rating. "minutes": weighted
    logistic regression, in which an impression is a positive weighted by its minutes and a negative of weight 1, so
    that exp(logit) is the expected minutes of an impression. (Covington et al., RecSys 2016, section 4.2, count clicked
    items as positives alone, which overestimates minutes by the click rate.)
    """

    def __init__(
        self,
        network: nn.Module,
        examples: Examples,
        of_queries: Mapping[str, Array],
        of_items: Mapping[str, Array],
        pairs: Array,
        *,
        objective: Objective,
        scale: tuple[float, float],
        positions: bool,
        id_dropout: float,
        batch_size: int,
        device: torch.device,
    ) -> None:
        """Take inputs by query, (Q, ...), by item of the catalogue, (N, ...), and by pair, (Q * K, F).

        `scale`: mean and deviation of the ratings. `positions`: whether the positions of items, where known, have
        biases in training. `id_dropout`: share of pairs whose user code, or item code, is replaced by 0.
        """
        self.network, self._objective, self._device, self._size = network, objective, device, batch_size
        self._id_dropout = id_dropout
        query, column = np.nonzero(examples.items >= 0)

        def tensor(values: Array) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        self._of_queries = {name: tensor(values) for name, values in of_queries.items()}
        self._of_items = {name: tensor(values) for name, values in of_items.items()}
        self._pairs = tensor(pairs.reshape(*examples.items.shape, pairs.shape[1])[query, column])
        self._query, self._item = tensor(query), tensor(examples.items[query, column].astype(np.int64))
        label = examples.label[query, column]
        if objective == "ratings":
            label = (label - np.float32(scale[0])) / np.float32(scale[1])
        elif objective == "minutes":
            assert examples.minutes is not None
            label = examples.minutes[query, column]
        self._label = tensor(label.astype(np.float32))
        position = examples.position if positions else None
        self._position = None if position is None else tensor(position[query, column].astype(np.int64))
        self._weight = weight_tensor(None if examples.weight is None else examples.weight[query], device)
        self.n_batches = -(-len(query) // batch_size)

    def batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the indices of the pairs of one epoch, (B,) each, in random order."""
        order = torch.randperm(len(self._query), generator=generator).to(self._device)
        yield from thinned(order, self._size, self._weight, generator)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """Return the network's inputs for the pairs with these indices, (n, ...) each."""
        query, item = self._query[chosen], self._item[chosen]
        of_queries = {name: table[query] for name, table in self._of_queries.items()}
        of_items = {name: table[item] for name, table in self._of_items.items()}
        return of_queries | of_items | {"pair": self._pairs[chosen]}

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch."""
        inputs, label = self.inputs(batch), self._label[batch]
        for name in ("user", "item") if self._id_dropout else ():
            if name in inputs:
                unknown = torch.rand(len(batch), generator=generator) < self._id_dropout
                inputs[name] = inputs[name].masked_fill(unknown.to(self._device)[:, None], 0)
        logits = self.network.rank(inputs).float()
        if self._position is not None:
            logits = logits + self.network.position_bias(self._position[batch])
        if self._objective == "ratings":
            return functional.mse_loss(logits, label)
        if self._objective == "minutes":
            return (label * functional.softplus(-logits) + functional.softplus(logits)).mean()
        return functional.binary_cross_entropy_with_logits(logits, label)

    def describe(self, batch: Tensor) -> dict[str, Tensor]:
        """Return the network's inputs for a batch, and its labels."""
        return self.inputs(batch) | {"label": self._label[batch]}
