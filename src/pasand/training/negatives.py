"""Negative sampling: samplers with the log-probability of each item, and the look-up of false negatives.

Everything is drawn by a generator on the CPU, so that a seed gives the same training on every device, and then moved to
the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numba import njit
from torch import Tensor

from pasand.types import Array

CPU = torch.device("cpu")


class Sampler(Protocol):
    """Draws items independently of the batch."""

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return rows of that shape, and the log-probability of each in a single draw, maybe as an expanded view."""

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability of drawing each item, same shape."""


class Frequency(Protocol):
    """Gives how frequent items are in batches."""

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability that an example of a batch has the item, same shape."""


class Uniform:
    """Draws all items with equal probability; raises ValueError without items."""

    def __init__(self, n_items: int, device: torch.device = CPU) -> None:
        if n_items < 1:
            raise ValueError(f"n_items must be positive, got {n_items}")
        self._n_items, self._device = n_items, device
        self._log_q = torch.tensor(-math.log(n_items), device=device)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return rows of that shape, with replacement, and their log-probabilities."""
        rows = torch.randint(self._n_items, shape, generator=generator).to(self._device)
        return rows, self._log_q.expand(shape)

    def log_q(self, items: Tensor) -> Tensor:
        """Return -log N for each."""
        return self._log_q.expand(items.shape)


class Popularity:
    """Draws items in proportion to a power of their counts.

    Power 1: in proportion to their positives; 0.75: as word2vec (Mikolov et al., 2013); 0: uniformly among items with
    positives. Items of count 0 are never drawn, log-probability -inf.
    """

    def __init__(self, counts: Tensor, power: float = 1.0, device: torch.device = CPU) -> None:
        counts = counts.to("cpu", torch.float64)
        if not (counts >= 0).all() or not (counts > 0).any():
            raise ValueError("counts must not be negative, and one must be positive")
        weights = torch.where(counts > 0, counts**power, 0.0)
        self._cumulative = weights.cumsum(0)
        self._log_q = (weights / self._cumulative[-1]).log().float().to(device)
        self._last = int(torch.nonzero(weights)[-1])
        self._device = device

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return rows of that shape, with replacement, and their log-probabilities."""
        point = torch.rand(shape, generator=generator, dtype=torch.float64) * self._cumulative[-1]
        rows = torch.searchsorted(self._cumulative, point, right=True).clamp_(max=self._last).to(self._device)
        return rows, self._log_q[rows]

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability of drawing each item."""
        return self._log_q[items]


class InBatch:
    """Uses the other examples' items as negatives: no extra cost, but drawn by popularity."""

    def __init__(self, frequency: Frequency) -> None:
        self._frequency = frequency

    def candidates(self, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the batch's own items, (B,), and their log-probabilities; columns of `losses.in_batch_softmax`."""
        return items, self._frequency.log_q(items)


class Mixed:
    """Uses the batch's items and uniformly drawn ones as negatives, so that items without positives get low scores too.

    Yang et al., Mixed negative sampling for two-tower networks, WWW 2020 companion. A column holds an item with the
    probability of the mixture of both.
    """

    def __init__(self, frequency: Frequency, n_items: int, uniform: int, device: torch.device = CPU) -> None:
        self._frequency, self._uniform, self._sampler = frequency, uniform, Uniform(n_items, device)

    def candidates(self, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the batch's items and then the drawn ones, (B + uniform,), and log-probabilities of the mixture."""
        drawn, _ = self._sampler.draw((self._uniform,), generator)
        columns = torch.cat([items, drawn])
        batch = self._frequency.log_q(columns) + math.log(max(len(items), 1))
        other = self._sampler.log_q(columns) + (math.log(self._uniform) if self._uniform else -math.inf)
        return columns, torch.logaddexp(batch, other) - math.log(max(len(columns), 1))


class StreamingFrequency:
    """Estimates from the stream of batches how frequent items are in them, and follows changes.

    Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, algorithm 2: for each item the last step at which
    it was in a batch and the moving mean of the gap between such steps. Items have an array entry each, where the paper
    hashes them. An item's first gap is used as it is, not averaged with an arbitrary initial value.
    """

    def __init__(self, n_items: int, batch_size: int, rate: float = 0.01, device: torch.device = CPU) -> None:
        self._batch_size, self._rate, self._step = batch_size, rate, 0
        self._last = torch.zeros(n_items, dtype=torch.int64, device=device)
        self._gap = torch.full((n_items,), math.nan, dtype=torch.float32, device=device)

    def update(self, items: Tensor) -> None:
        """Update the estimates by the items of a batch, (B,); an item that occurs twice counts once."""
        self._step += 1
        seen = torch.unique(items)
        gap = (self._step - self._last[seen]).float()
        mean = self._gap[seen]
        self._gap[seen] = torch.where(mean.isnan(), gap, torch.lerp(mean, gap, self._rate))
        self._last[seen] = self._step

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability that an example of a batch has each item; a batch has it with probability 1 / gap.

        An item that was in no batch yet gets the value of an item whose first batch is the current one.
        """
        gap = self._gap[items].nan_to_num(max(float(self._step), 1.0))
        batch = (1 / gap).clamp(max=1 - 1e-6)
        return torch.log(-torch.expm1(torch.log1p(-batch) / self._batch_size))

    def state(self) -> dict[str, Tensor]:
        """Return the estimates, for a checkpoint."""
        return {"step": torch.tensor(self._step), "last": self._last, "gap": self._gap}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a `state`."""
        self._step = int(tensors["step"])
        self._last, self._gap = tensors["last"].to(self._last.device), tensors["gap"].to(self._gap.device)


class Positives:
    """Looks up which items are positives of users, for batches on the device; user -1 has none, items are rows."""

    def __init__(self, users: Tensor, items: Tensor, n_items: int, device: torch.device = CPU) -> None:
        """Take the positive pairs, (E,) and (E,), in any order; repetitions are allowed."""
        self._n_items = max(n_items, 1)
        self._key = torch.unique(users.to(device, torch.int64) * self._n_items + items.to(device, torch.int64))
        n_users = int(self._key[-1]) // self._n_items + 1 if len(self._key) else 0
        first_keys = torch.arange(n_users + 1, device=device) * self._n_items
        self._start = torch.searchsorted(self._key, first_keys)
        self._item = self._key % self._n_items
        self._column = torch.full((self._n_items,), -1, dtype=torch.int64, device=device)

    def contains(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the mask of items that are positives of their user, (B,), (B, n) -> (B, n)."""
        if not len(self._key):
            return torch.zeros_like(items, dtype=torch.bool)
        if items.device.type == "cpu":
            tables = (users, items, self._start, self._item)
            return torch.from_numpy(_contains(*(table.numpy() for table in tables)))
        keys = users[:, None] * self._n_items + items
        found = torch.searchsorted(self._key, keys).clamp_(max=len(self._key) - 1)
        return self._key[found] == keys

    def contains_shared(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the mask of shared items that are positives of each user, (B,), (M,) -> (B, M).

        The time is proportional to the users' positives plus the size of the result, not to B M searches.
        """
        mask = torch.zeros((len(users), len(items)), dtype=torch.bool, device=items.device)
        if not len(items):
            return mask
        different, inverse = torch.unique(items, return_inverse=True)
        row, column = self.shared_pairs(users, different)
        mask[row, column] = True
        return mask[:, inverse]

    def shared_pairs(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positive pairs of users and different shared items, (B,), (M,): two of (P,), rows rising.

        A pair is the position of the user and that of the item.
        """
        self._column[items] = torch.arange(len(items), device=items.device)
        if items.device.type == "cpu":
            tables = (users, self._start, self._item, self._column)
            pairs = torch.from_numpy(_shared_pairs(*(table.numpy() for table in tables)))
            row, column = pairs[0], pairs[1]
        else:
            known = (users >= 0) & (users < len(self._start) - 1)
            inside = torch.where(known, users, 0)
            first = self._start[inside]
            count = torch.where(known, self._start[(inside + 1).clamp(max=len(self._start) - 1)] - first, 0)
            row = torch.repeat_interleave(torch.arange(len(users), device=items.device), count)
            at = torch.arange(len(row), device=items.device) + (first - count.cumsum(0) + count)[row]
            column = self._column[self._item[at]]
            row, column = row[column >= 0], column[column >= 0]
        self._column[items] = -1
        return row, column


@njit(cache=True, nogil=True)
def _contains(users: Array, items: Array, start: Array, item: Array) -> Array:
    """Return the mask of items that are among those of their user, (B,), (B, n) -> (B, n)."""
    found = np.zeros(items.shape, np.bool_)
    for b in range(len(users)):
        if 0 <= users[b] < len(start) - 1:
            begin, end = start[users[b]], start[users[b] + 1]
            for n in range(items.shape[1]):
                at = begin + np.searchsorted(item[begin:end], items[b, n])
                found[b, n] = at < end and item[at] == items[b, n]
    return found


@njit(cache=True, nogil=True)
def _shared_pairs(users: Array, start: Array, item: Array, column: Array) -> Array:
    """Return positions of users and columns of their items, (2, P), for the items that have a column."""
    size = 0
    for user in users:
        if 0 <= user < len(start) - 1:
            size += start[user + 1] - start[user]
    found = np.empty((2, size), np.int64)
    size = 0
    for b in range(len(users)):
        user = users[b]
        if 0 <= user < len(start) - 1:
            for e in range(start[user], start[user + 1]):
                found[0, size], found[1, size] = b, column[item[e]]
                size += column[item[e]] >= 0  # without a branch, which the processor would mispredict
    return found[:, :size].copy()
