"""The task of two-tower models: each positive, with the user's history before it, against negatives."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from pasand.data.dataset import Dataset
from pasand.features.training_weights import training_weights
from pasand.training import losses
from pasand.training.fused_softmax import single_positive_softmax
from pasand.training.negatives import (
    Frequency,
    InBatch,
    Mixed,
    Popularity,
    Positives,
    Sampler,
    StreamingFrequency,
    Uniform,
)
from pasand.training.thinning import thinned, weight_tensor
from pasand.types import Array

DAY = 86_400

Loss: TypeAlias = Literal["binary", "bpr", "sampled_softmax", "in_batch", "mixed", "full_softmax"]
NegativeSampling: TypeAlias = Literal["uniform", "popularity"]
LogQ: TypeAlias = Literal["streaming", "counts", "none"]


class EventsByUser:
    """Item codes of users' events, oldest first, as tensors: those of user u are at start[u]:start[u + 1]."""

    def __init__(self, data: Dataset, item_code: Array, device: torch.device) -> None:
        grouped = data.by_user
        self.start = torch.from_numpy(grouped.start).to(device)
        # one more entry, so that look-ups work without events
        self.code = torch.from_numpy(np.append(item_code[grouped.item], 0)).to(device)

    def before(self, end: Tensor, first: Tensor, n: int) -> Tensor:
        """Return the codes of the last n events in first:end, (B,) each; (B, n) left-padded with 0."""
        at = end[:, None] + torch.arange(-n, 0, device=end.device)
        return torch.where(at >= first[:, None], self.code[at.clamp(min=0)], 0)


class RetrievalExamples:
    """The positives of a log as E training examples: user, item, age, and the history before.

    Only a user's first positive of an item is an example, so no history holds its own label. Where the order of events
    has no meaning, the history is sampled again in each epoch from all other positives of the user.
    """

    def __init__(self, data: Dataset, item_code: Array, history_length: int, device: torch.device) -> None:
        positives = data.positives()
        grouped = positives.by_user
        user = positives.user[grouped.event].astype(np.int64)
        _, first = np.unique(user * max(data.n_items, 1) + grouped.item, return_index=True)
        chosen = np.sort(first)
        newest = int(data.time[-1]) if len(data) else 0
        others_upto = np.empty(len(data), np.int64)  # number of other events up to each event, over all users
        others_upto[data.by_user.event] = np.cumsum(~data.is_positive[data.by_user.event])
        self._ordered, self._length = data.order != "none", history_length
        self._positives = EventsByUser(positives, item_code, device)
        self._others = EventsByUser(data.select(~data.is_positive), item_code, device)
        self.user = torch.from_numpy(user[chosen]).to(device)
        self.code = self._positives.code[torch.from_numpy(chosen).to(device)]
        age = (newest - positives.time[grouped.event][chosen]) / DAY
        scaled = [days / max(days.max(initial=0), 1) for days in (age, np.log1p(age))]
        self.age = torch.from_numpy(np.stack(scaled, axis=1)).float().to(device)
        """(E, 2) days from the example to the newest event and their logarithm, each divided by its maximum."""
        self._end = torch.from_numpy(chosen).to(device)
        weight = training_weights(positives)
        self.weight = weight_tensor(None if weight is None else weight[grouped.event][chosen], device)
        """(E,) training weights; None: all are 1."""
        self._others_end = torch.from_numpy(others_upto[data.is_positive][grouped.event][chosen]).to(device)

    def __len__(self) -> int:
        return len(self.user)

    def history(self, which: Tensor, generator: torch.Generator) -> Tensor:
        """Return the codes of the last positives before these examples, (B,) -> (B, H) left-padded with 0."""
        first = self._positives.start[self.user[which]]
        if self._ordered:
            return self._positives.before(self._end[which], first, self._length)
        count = self._positives.start[self.user[which] + 1] - first
        # in float64, so that share * count is below count in long histories, too
        share = torch.rand((len(which), self._length), generator=generator, dtype=torch.float64).to(first.device)
        code = self._positives.code[first[:, None] + (share * count[:, None]).long()]
        return torch.where(code == self.code[which][:, None], 0, code)

    def others(self, which: Tensor) -> Tensor:
        """Return the codes of the last events before these examples that were not positive, (B,) -> (B, H)."""
        return self._others.before(self._others_end[which], self._others.start[self.user[which]], self._length)


@dataclass(frozen=True, kw_only=True)
class RetrievalObjective:
    """The loss and its negative sampling; see the fields of `TwoTower` and `YouTube` of the same names."""

    loss: Loss
    negatives: int
    negative_sampling: NegativeSampling = "uniform"
    log_q: LogQ = "counts"
    temperature: float = 1.0
    id_dropout: float = 0.0
    per_user: int = 0


class RetrievalTask:
    """Scores each example's item against negatives.

    Codes of items count from 1; rows of samplers and columns count from 0, over the items with positives alone, so that
    an item without positives is never a negative.
    """

    def __init__(
        self,
        examples: RetrievalExamples,
        network: nn.Module,
        users: Mapping[str, Array],
        items: Mapping[str, Array],
        history_inputs: Collection[str],
        objective: RetrievalObjective,
        batch_size: int,
        device: torch.device,
    ) -> None:
        """Take the towers' inputs of all users, and of the items with positives; `history_inputs` names further ones.

        These are of "history" (positives before), "others" (other events before) and "age" (of the example).
        """
        self.network, self._history_inputs = network, history_inputs
        self._examples, self._objective, self._batch_size, self._device = examples, objective, batch_size, device
        self._users = {name: torch.from_numpy(table).to(device) for name, table in users.items()}
        self._items = {name: torch.from_numpy(table).to(device) for name, table in items.items()}
        self._n_items = len(next(iter(items.values())))
        self._positives = Positives(examples.user, examples.code - 1, self._n_items, device)
        self._per_user = torch.unique(examples.user, return_counts=True) if objective.per_user else None
        per_epoch = len(examples) if self._per_user is None else len(self._per_user[0]) * objective.per_user
        self.n_batches = -(-per_epoch // batch_size)
        self._streaming: StreamingFrequency | None = None
        if len(examples):
            self._set_negatives()

    def _set_negatives(self) -> None:
        objective, device = self._objective, self._device
        counts = torch.bincount(self._examples.code.cpu() - 1, minlength=self._n_items)
        popularity = Popularity(counts, device=device)
        uniform = objective.negative_sampling == "uniform"
        self._sampler: Sampler = Uniform(self._n_items, device) if uniform else popularity
        if objective.loss in ("in_batch", "mixed") and objective.log_q == "streaming":
            self._streaming = StreamingFrequency(self._n_items, self._batch_size, device=device)
        frequency: Frequency = self._streaming or popularity
        mixed = objective.loss == "mixed"
        self._columns = Mixed(frequency, self._n_items, objective.negatives, device) if mixed else InBatch(frequency)

    def describe(self, batch: Tensor) -> dict[str, Tensor]:
        """Return the inputs of the examples' users and items, by the names of the features."""
        user, item = self._examples.user[batch], self._examples.code[batch] - 1
        users = {name: table[user] for name, table in self._users.items()}
        return users | {name: table[item] for name, table in self._items.items()}

    def state(self) -> dict[str, Tensor]:
        """Return the estimate of item frequencies in batches, where there is one."""
        return {} if self._streaming is None else self._streaming.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a `state`."""
        if self._streaming is not None:
            self._streaming.load_state(tensors)

    def batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield examples, (B,) each, in random order: all of them, or `per_user` random ones of each user."""
        if not len(self._examples):
            return
        chosen = torch.randperm(len(self._examples), generator=generator)
        if self._per_user is not None:
            count = self._per_user[1].cpu()
            share = torch.rand((self._objective.per_user, len(count)), generator=generator, dtype=torch.float64)
            drawn = (count.cumsum(0) - count + (share * count).long()).flatten()
            chosen = drawn[torch.randperm(len(drawn), generator=generator)]
        yield from thinned(chosen.to(self._device), self._batch_size, self._examples.weight, generator)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean loss of examples, (B,)."""
        user, item = self._examples.user[batch], self._examples.code[batch] - 1
        query = self.network.query(self._query(batch, generator)) / self._objective.temperature
        match self._objective.loss:
            case "binary" | "bpr":
                return self._pairwise(query, user, item, generator)
            case "in_batch" | "mixed":
                columns, bias = self._in_batch(item, generator)
            case "sampled_softmax":
                columns, log_q = self._sampler.draw((self._objective.negatives,), generator)
                bias = -log_q - math.log(len(columns))
            case _:
                columns, bias = torch.arange(self._n_items, device=self._device), None
        return self._softmax(query, user, item, columns, bias, generator)

    def _softmax(
        self,
        query: Tensor,
        user: Tensor,
        item: Tensor,
        columns: Tensor,
        bias: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """Return the softmax loss of items, (B,), against columns, (M,), each of which counts exp(bias) times.

        With bias -log q - log M, q the probability of drawing a column, the columns represent the whole catalogue; the
        positive is not drawn, hence not corrected (`losses.refined_softmax`). Other positives of the user are left out.
        Columns with the same item are computed once.
        """
        different, inverse, count = torch.unique(columns, return_inverse=True, return_counts=True)
        vectors = self._vectors(different, generator)
        if self._objective.loss == "sampled_softmax":
            positives = self._vectors(item, generator)
        else:
            positives = vectors.index_select(0, torch.searchsorted(different, item))
        weight = count.log()
        if bias is not None:
            weight[inverse] += bias  # the same for all columns of an item
        excluded = self._positives.shared_pairs(user, different)
        return single_positive_softmax(query, positives, vectors, weight, excluded)

    def _pairwise(self, query: Tensor, user: Tensor, item: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean BPR or cross-entropy loss of items, (B,), against drawn items of each."""
        drawn, _ = self._sampler.draw((len(item), self._objective.negatives), generator)
        positive = (query * self._vectors(item, generator)).sum(-1)
        others = torch.einsum("bd,bnd->bn", query, self._vectors(drawn.flatten(), generator).view(*drawn.shape, -1))
        loss = losses.bpr if self._objective.loss == "bpr" else losses.binary_cross_entropy
        return loss(positive, others, false_negatives=self._positives.contains(user, drawn))

    def _in_batch(self, item: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return the batch's items, with "mixed" also drawn ones, and the logarithm of how often each counts."""
        if self._streaming is not None:
            self._streaming.update(item)
        columns, log_q = self._columns.candidates(item, generator)
        # an example's own column is no draw
        return columns, None if self._objective.log_q == "none" else -log_q - math.log(max(len(columns) - 1, 1))

    def _query(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        user = self._examples.user[batch]
        inputs = {name: table[user] for name, table in self._users.items()} | self._before(batch, generator)
        return self._drop_ids("user", inputs, generator)

    def _before(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the inputs from the events before these examples, and from their age."""
        inputs = {}
        if "history" in self._history_inputs:
            inputs["history"] = self._examples.history(batch, generator)
        if "others" in self._history_inputs:
            inputs["others"] = self._examples.others(batch)
        if "age" in self._history_inputs:
            inputs["age"] = self._examples.age[batch]
        return inputs

    def _vectors(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        inputs = {name: table[rows] for name, table in self._items.items()}
        vectors: Tensor = self.network.item(self._drop_ids("item", inputs, generator))
        return vectors

    def _drop_ids(self, name: str, inputs: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Return the inputs with a random share of the ids replaced by 0, unless the tower reads nothing else."""
        if not self._objective.id_dropout or name not in inputs or len(inputs) == 1:
            return inputs
        share = torch.rand(len(inputs[name]), generator=generator).to(self._device)
        return inputs | {name: torch.where(share < self._objective.id_dropout, 0, inputs[name])}
