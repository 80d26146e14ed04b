"""The task of retrieval: each liking, with what its user had liked before it, against other items."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from pasand.data.dataset import Dataset
from pasand.training import losses
from pasand.training.negatives import Frequency, InBatch, Mixed, Popularity, Positives, Sampler, Streaming, Uniform
from pasand.training.shared_softmax import shared_softmax
from pasand.types import Array

DAY = 86_400

Loss: TypeAlias = Literal["binary", "bpr", "sampled_softmax", "in_batch", "mixed", "full_softmax"]
Draw: TypeAlias = Literal["uniform", "popularity"]
LogQ: TypeAlias = Literal["streaming", "counts", "none"]


class Grouped:
    """Events of users, oldest first, as tensors: those of user u stand at start[u]:start[u + 1]."""

    def __init__(self, data: Dataset, item_code: Array, where: torch.device) -> None:
        grouped = data.by_user
        self.start = torch.from_numpy(grouped.start).to(where)
        # one more place, so that there is something to look at where there are no events
        self.code = torch.from_numpy(np.append(item_code[grouped.item], 0)).to(where)

    def before(self, end: Tensor, first: Tensor, n: int) -> Tensor:
        """Return the codes of the n events before `end` from `first` on, (B,) each; (B, n) padded with 0 in front."""
        at = end[:, None] + torch.arange(-n, 0, device=end.device)
        return torch.where(at >= first[:, None], self.code[at.clamp(min=0)], 0)


class Examples:
    """The likings of a log as examples: who, when, which item, and what came before.

    A user's first liking of an item is an example, repetitions are not: so no history holds its own label. Where the
    order of events means nothing, the history is drawn anew in each epoch from all the user's other likings.
    """

    def __init__(self, data: Dataset, item_code: Array, length: int, where: torch.device) -> None:
        liked = data.positives()
        grouped = liked.by_user
        user = liked.user[grouped.event].astype(np.int64)
        _, first = np.unique(user * max(data.n_items, 1) + grouped.item, return_index=True)
        chosen = np.sort(first)
        newest = int(data.time[-1]) if len(data) else 0
        other = np.cumsum(~data.liked[data.by_user.event])  # (E,) other events up to each, over all users
        place = np.empty(len(data), np.int64)
        place[data.by_user.event] = other
        self._ordered, self._length = data.order != "none", length
        self._likings = Grouped(liked, item_code, where)
        self._others = Grouped(data.select(~data.liked), item_code, where)
        self.user = torch.from_numpy(user[chosen]).to(where)
        self.code = self._likings.code[torch.from_numpy(chosen).to(where)]
        age = (newest - liked.time[grouped.event][chosen]) / DAY
        scaled = [days / max(days.max(initial=0), 1) for days in (age, np.log1p(age))]
        self.age = torch.from_numpy(np.stack(scaled, axis=1)).float().to(where)
        """(E, 2) days from the example to the newest event and their logarithm, both of 1 where it is longest."""
        self._at = torch.from_numpy(chosen).to(where)
        self._other = torch.from_numpy(place[data.liked][grouped.event][chosen]).to(where)

    def __len__(self) -> int:
        return len(self.user)

    def history(self, which: Tensor, generator: torch.Generator) -> Tensor:
        """Return the codes of the last likings before these examples, (B,) -> (B, H) padded with 0 in front."""
        first = self._likings.start[self.user[which]]
        if self._ordered:
            return self._likings.before(self._at[which], first, self._length)
        count = self._likings.start[self.user[which] + 1] - first
        # in float64, so that no share of a long history rounds up to the whole
        share = torch.rand((len(which), self._length), generator=generator, dtype=torch.float64).to(first.device)
        code = self._likings.code[first[:, None] + (share * count[:, None]).long()]
        return torch.where(code == self.code[which][:, None], 0, code)

    def others(self, which: Tensor) -> Tensor:
        """Return the codes of the last events before these examples that were no likings, (B,) -> (B, H)."""
        return self._others.before(self._other[which], self._others.start[self.user[which]], self._length)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss, and where its negatives come from; the fields of `TwoTower` of the same names."""

    loss: Loss
    negatives: int
    draw: Draw = "uniform"
    log_q: LogQ = "counts"
    temperature: float = 1.0
    id_dropout: float = 0.0
    per_user: int = 0


class Retrieval:
    """The task of telling each example's item from others.

    Codes of items count from 1; samplers and candidates count from 0, over the items with likings alone, so that an
    item which nobody has liked yet is never pushed down.
    """

    def __init__(
        self,
        examples: Examples,
        network: nn.Module,
        users: Mapping[str, Array],
        items: Mapping[str, Array],
        reads: Collection[str],
        objective: Objective,
        batch_size: int,
        where: torch.device,
    ) -> None:
        """Take in what the towers read of all users and of items with likings, and which of history, others, age."""
        self.network, self._reads = network, reads
        self._examples, self._objective, self._batch_size, self._where = examples, objective, batch_size, where
        self._users = {name: torch.from_numpy(table).to(where) for name, table in users.items()}
        self._items = {name: torch.from_numpy(table).to(where) for name, table in items.items()}
        self._n_items = len(next(iter(items.values())))
        self._likes = Positives(examples.user, examples.code - 1, self._n_items, where)
        self._per_user = torch.unique(examples.user, return_counts=True) if objective.per_user else None
        drawn = len(examples) if self._per_user is None else len(self._per_user[0]) * objective.per_user
        self.n_batches = -(-drawn // batch_size)
        self._streaming: Streaming | None = None
        if len(examples):
            self._set_negatives()

    def _set_negatives(self) -> None:
        told, where = self._objective, self._where
        counts = torch.bincount(self._examples.code.cpu() - 1, minlength=self._n_items)
        popularity = Popularity(counts, where=where)
        self._sampler: Sampler = Uniform(self._n_items, where) if told.draw == "uniform" else popularity
        if told.loss in ("in_batch", "mixed") and told.log_q == "streaming":
            self._streaming = Streaming(self._n_items, self._batch_size, where=where)
        frequency: Frequency = self._streaming or popularity
        mixed = told.loss == "mixed"
        self._columns = Mixed(frequency, self._n_items, told.negatives, where) if mixed else InBatch(frequency)

    def describe(self, batch: Tensor) -> dict[str, Tensor]:
        """Return what is known of the examples' users and items, by the names of the features."""
        user, item = self._examples.user[batch], self._examples.code[batch] - 1
        users = {name: table[user] for name, table in self._users.items()}
        return users | {name: table[item] for name, table in self._items.items()}

    def state(self) -> dict[str, Tensor]:
        """Return the estimate of how often items stand in batches, where there is one."""
        return {} if self._streaming is None else self._streaming.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        if self._streaming is not None:
            self._streaming.load_state(tensors)

    def batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield examples, (B,) each, in random order: all of them, or so many draws from each user."""
        if not len(self._examples):
            return
        chosen = torch.randperm(len(self._examples), generator=generator)
        if self._per_user is not None:
            count = self._per_user[1].cpu()
            share = torch.rand((self._objective.per_user, len(count)), generator=generator, dtype=torch.float64)
            drawn = (count.cumsum(0) - count + (share * count).long()).flatten()
            chosen = drawn[torch.randperm(len(drawn), generator=generator)]
        yield from chosen.to(self._where).split(self._batch_size)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean loss of examples, (B,)."""
        user, item = self._examples.user[batch], self._examples.code[batch] - 1
        query = self.network.query(self._query(batch, generator)) / self._objective.temperature
        match self._objective.loss:
            case "binary" | "bpr":
                return self._pairs(query, user, item, generator)
            case "in_batch" | "mixed":
                columns, bias = self._in_batch(item, generator)
            case "sampled_softmax":
                columns, log_q = self._sampler.draw((self._objective.negatives,), generator)
                bias = -log_q - math.log(len(columns))
            case _:
                columns, bias = torch.arange(self._n_items, device=self._where), None
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

        With bias -log q - log M, q the probability of drawing a column, the columns stand for the whole catalogue; the
        positive is not drawn, hence not corrected (`losses.refined_softmax`). What the user likes is left out. Of
        columns with the same item one is computed.
        """
        different, place, count = torch.unique(columns, return_inverse=True, return_counts=True)
        vectors = self._vectors(different, generator)
        if self._objective.loss == "sampled_softmax":
            wanted = self._vectors(item, generator)
        else:
            wanted = vectors.index_select(0, torch.searchsorted(different, item))
        weight = count.log()
        if bias is not None:
            weight[place] += bias  # the same for all columns of an item
        return shared_softmax(query, wanted, vectors, weight, self._likes.pairs(user, different))

    def _pairs(self, query: Tensor, user: Tensor, item: Tensor, generator: torch.Generator) -> Tensor:
        drawn, _ = self._sampler.draw((len(item), self._objective.negatives), generator)
        liked = (query * self._vectors(item, generator)).sum(-1)
        others = torch.einsum("bd,bnd->bn", query, self._vectors(drawn.flatten(), generator).view(*drawn.shape, -1))
        compare = losses.bpr if self._objective.loss == "bpr" else losses.binary_cross_entropy
        return compare(liked, others, false=self._likes.hold(user, drawn))

    def _in_batch(self, item: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return the batch's items, and more where drawn, and the logarithm of how often each counts."""
        if self._streaming is not None:
            self._streaming.update(item)
        columns, log_q = self._columns.candidates(item, generator)
        # an example's own place is no draw
        return columns, None if self._objective.log_q == "none" else -log_q - math.log(max(len(columns) - 1, 1))

    def _query(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        user = self._examples.user[batch]
        inputs = {name: table[user] for name, table in self._users.items()} | self._before(batch, generator)
        return self._dropped("user", inputs, generator)

    def _before(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the inputs from what came before these examples."""
        given = {}
        if "history" in self._reads:
            given["history"] = self._examples.history(batch, generator)
        if "others" in self._reads:
            given["others"] = self._examples.others(batch)
        if "age" in self._reads:
            given["age"] = self._examples.age[batch]
        return given

    def _vectors(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        inputs = {name: table[rows] for name, table in self._items.items()}
        vectors: Tensor = self.network.item(self._dropped("item", inputs, generator))
        return vectors

    def _dropped(self, name: str, inputs: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Return the inputs with some of the ids replaced by 0, unless the tower reads nothing else."""
        if not self._objective.id_dropout or name not in inputs or len(inputs) == 1:
            return inputs
        share = torch.rand(len(inputs[name]), generator=generator).to(self._where)
        return inputs | {name: torch.where(share < self._objective.id_dropout, 0, inputs[name])}
