"""Requests with items taken or not, as batches of pairs for a ranker's network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.training.ranking_examples import Examples, Objective
from pasand.types import Array


class Requests:
    """The task of foreseeing the label of each pair of a request and an item.

    "clicked" and "liked": cross-entropy. "ratings": squared error of the standardised rating. "minutes": logistic
    regression in which a taken item counts its minutes as a positive, and every shown one counts once as a negative, so
    that exp(logit) is the expected minutes of an impression (Covington et al., RecSys 2016, section 4.2, leave the
    taken out of the negatives, which overstates minutes by the share that is taken).
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
        where: torch.device,
    ) -> None:
        """Take inputs by request, (Q, ...), by item of the catalogue, (N, ...), and by pair, (Q * K, F)."""
        self.network, self._objective, self._where, self._size = network, objective, where, batch_size
        self._id_dropout = id_dropout
        query, place = np.nonzero(examples.items >= 0)

        def tensor(values: Array) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(where)

        self._of_queries = {name: tensor(values) for name, values in of_queries.items()}
        self._of_items = {name: tensor(values) for name, values in of_items.items()}
        self._pairs = tensor(pairs.reshape(*examples.items.shape, pairs.shape[1])[query, place])
        self._query, self._item = tensor(query), tensor(examples.items[query, place].astype(np.int64))
        label = examples.label[query, place]
        if objective == "ratings":
            label = (label - np.float32(scale[0])) / np.float32(scale[1])
        elif objective == "minutes":
            assert examples.minutes is not None
            label = examples.minutes[query, place]
        self._label = tensor(label.astype(np.float32))
        known = examples.position if positions else None
        self._position = None if known is None else tensor(known[query, place].astype(np.int64))
        self.n_batches = -(-len(query) // batch_size)

    def batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield positions of the pairs of one epoch, in random order."""
        yield from torch.randperm(len(self._query), generator=generator).to(self._where).split(self._size)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """Return what the network reads of pairs at these positions, (n, ...) each."""
        query, item = self._query[chosen], self._item[chosen]
        told = {name: table[query] for name, table in self._of_queries.items()}
        told |= {name: table[item] for name, table in self._of_items.items()}
        return told | {"pair": self._pairs[chosen]}

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch."""
        told, label = self.inputs(batch), self._label[batch]
        for name in ("user", "item") if self._id_dropout else ():
            if name in told:
                unknown = torch.rand(len(batch), generator=generator) < self._id_dropout
                told[name] = told[name].masked_fill(unknown.to(self._where)[:, None], 0)
        logits = self.network.rank(told).float()
        if self._position is not None:
            logits = logits + self.network.place(self._position[batch])
        if self._objective == "ratings":
            return functional.mse_loss(logits, label)
        if self._objective == "minutes":
            return (label * functional.softplus(-logits) + functional.softplus(logits)).mean()
        return functional.binary_cross_entropy_with_logits(logits, label)

    def describe(self, batch: Tensor) -> dict[str, Tensor]:
        """Return what the network reads of a batch, and its labels."""
        return self.inputs(batch) | {"label": self._label[batch]}
