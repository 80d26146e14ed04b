"""Where negatives come from: samplers with the log-probability of what they draw, and the test for false ones.

Everything is drawn by a generator on the CPU, so that one seed gives one training on every device, and moved to
`where`.
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
        """Return rows of that shape, and the log-probability of each as one draw, which may be expanded."""

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability of drawing each item, same shape."""


class Frequency(Protocol):
    """Knows how often items stand in batches."""

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability that one place of a batch holds the item, same shape."""


class Uniform:
    """Draws every item alike; needs at least one item."""

    def __init__(self, n_items: int, where: torch.device = CPU) -> None:
        if n_items < 1:
            raise ValueError(f"n_items must be positive, got {n_items}")
        self._n_items, self._where = n_items, where
        self._log_q = torch.tensor(-math.log(n_items), device=where)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return rows of that shape, with replacement, and their log-probabilities."""
        rows = torch.randint(self._n_items, shape, generator=generator).to(self._where)
        return rows, self._log_q.expand(shape)

    def log_q(self, items: Tensor) -> Tensor:
        """Return -log N for each."""
        return self._log_q.expand(items.shape)


class Popularity:
    """Draws items in proportion to a power of their counts.

    Power 1: as often as they are liked; 0.75: word2vec's (Mikolov et al., 2013); 0: uniformly among those liked at
    all. Items of count 0 are never drawn, log-probability -inf.
    """

    def __init__(self, counts: Tensor, power: float = 1.0, where: torch.device = CPU) -> None:
        counts = counts.to("cpu", torch.float64)
        if not (counts >= 0).all() or not (counts > 0).any():
            raise ValueError("counts must not be negative, and one must be positive")
        weights = torch.where(counts > 0, counts**power, 0.0)
        self._upto = weights.cumsum(0)
        self._log_q = (weights / self._upto[-1]).log().float().to(where)
        self._last = int(torch.nonzero(weights)[-1])
        self._where = where

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return rows of that shape, with replacement, and their log-probabilities."""
        point = torch.rand(shape, generator=generator, dtype=torch.float64) * self._upto[-1]
        rows = torch.searchsorted(self._upto, point, right=True).clamp_(max=self._last).to(self._where)
        return rows, self._log_q[rows]

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability of drawing each item."""
        return self._log_q[items]


class InBatch:
    """Takes the other examples' items as negatives; free, and as popular as the data."""

    def __init__(self, frequency: Frequency) -> None:
        self._frequency = frequency

    def candidates(self, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the batch's own items, (B,), and their log-probabilities; columns of `losses.in_batch_softmax`."""
        return items, self._frequency.log_q(items)


class Mixed:
    """Takes the batch's items and some drawn uniformly, so that items that nobody likes are pushed down too.

    Yang et al., Mixed negative sampling for two-tower networks, WWW 2020 companion. A place among the columns holds an
    item with the probability of the mixture.
    """

    def __init__(self, frequency: Frequency, n_items: int, uniform: int, where: torch.device = CPU) -> None:
        self._frequency, self._uniform, self._sampler = frequency, uniform, Uniform(n_items, where)

    def candidates(self, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the batch's items and then the drawn ones, (B + uniform,), and log-probabilities of the mixture."""
        drawn, _ = self._sampler.draw((self._uniform,), generator)
        columns = torch.cat([items, drawn])
        batch = self._frequency.log_q(columns) + math.log(max(len(items), 1))
        other = self._sampler.log_q(columns) + (math.log(self._uniform) if self._uniform else -math.inf)
        return columns, torch.logaddexp(batch, other) - math.log(max(len(columns), 1))


class Streaming:
    """Learns from the batches themselves how often items stand in them, and follows changes.

    Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, algorithm 2: for each item the last step at which
    it was seen and the moving mean of the gap between such steps; one array place an item, where the paper hashes. An
    item's first gap is taken as it is, instead of being averaged with the arbitrary start.
    """

    def __init__(self, n_items: int, batch_size: int, rate: float = 0.01, where: torch.device = CPU) -> None:
        self._batch_size, self._rate, self._step = batch_size, rate, 0
        self._last = torch.zeros(n_items, dtype=torch.int64, device=where)
        self._gap = torch.full((n_items,), math.nan, dtype=torch.float32, device=where)

    def update(self, items: Tensor) -> None:
        """Take note of a batch, (B,); an item that it holds twice is noted once."""
        self._step += 1
        seen = torch.unique(items)
        gap = (self._step - self._last[seen]).float()
        mean = self._gap[seen]
        self._gap[seen] = torch.where(mean.isnan(), gap, torch.lerp(mean, gap, self._rate))
        self._last[seen] = self._step

    def log_q(self, items: Tensor) -> Tensor:
        """Return the log-probability that one place of a batch holds each item, whole batches being seen at 1 / gap.

        An item that was never seen gets that of one seen now for the first time.
        """
        gap = self._gap[items].nan_to_num(max(float(self._step), 1.0))
        batch = (1 / gap).clamp(max=1 - 1e-6)
        return torch.log(-torch.expm1(torch.log1p(-batch) / self._batch_size))

    def state(self) -> dict[str, Tensor]:
        """Return what was noted so far, for a checkpoint."""
        return {"step": torch.tensor(self._step), "last": self._last, "gap": self._gap}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self._step = int(tensors["step"])
        self._last, self._gap = tensors["last"].to(self._last.device), tensors["gap"].to(self._gap.device)


class Positives:
    """Answers whether users like items, for whole batches on the device; user -1 likes nothing, items are rows."""

    def __init__(self, users: Tensor, items: Tensor, n_items: int, where: torch.device = CPU) -> None:
        """Take in pairs, (E,) and (E,), in any order; repeated ones are allowed."""
        self._n_items = max(n_items, 1)
        self._key = torch.unique(users.to(where, torch.int64) * self._n_items + items.to(where, torch.int64))
        n_users = int(self._key[-1]) // self._n_items + 1 if len(self._key) else 0
        borders = torch.arange(n_users + 1, device=where) * self._n_items
        self._start = torch.searchsorted(self._key, borders)
        self._item = self._key % self._n_items
        self._place = torch.full((self._n_items,), -1, dtype=torch.int64, device=where)

    def hold(self, users: Tensor, items: Tensor) -> Tensor:
        """Return whether each user likes each of their own items, (B,), (B, n) -> (B, n)."""
        if not len(self._key):
            return torch.zeros_like(items, dtype=torch.bool)
        if items.device.type == "cpu":
            tables = (users, items, self._start, self._item)
            return torch.from_numpy(_hold(*(table.numpy() for table in tables)))
        wanted = users[:, None] * self._n_items + items
        found = torch.searchsorted(self._key, wanted).clamp_(max=len(self._key) - 1)
        return self._key[found] == wanted

    def among(self, users: Tensor, items: Tensor) -> Tensor:
        """Return whether each user likes each of the shared items, (B,), (M,) -> (B, M).

        Costs what the users' likings and the result are large, not B M searches.
        """
        false = torch.zeros((len(users), len(items)), dtype=torch.bool, device=items.device)
        if not len(items):
            return false
        different, column = torch.unique(items, return_inverse=True)
        owner, place = self.pairs(users, different)
        false[owner, place] = True
        return false[:, column]

    def pairs(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return which users like which of the different shared items, (B,), (M,): two of (P,), rows rising."""
        self._place[items] = torch.arange(len(items), device=items.device)
        if items.device.type == "cpu":
            tables = (users, self._start, self._item, self._place)
            found = torch.from_numpy(_pairs(*(table.numpy() for table in tables)))
            owner, place = found[0], found[1]
        else:
            known = (users >= 0) & (users < len(self._start) - 1)
            inside = torch.where(known, users, 0)
            first = self._start[inside]
            count = torch.where(known, self._start[(inside + 1).clamp(max=len(self._start) - 1)] - first, 0)
            owner = torch.repeat_interleave(torch.arange(len(users), device=items.device), count)
            at = torch.arange(len(owner), device=items.device) + (first - count.cumsum(0) + count)[owner]
            place = self._place[self._item[at]]
            owner, place = owner[place >= 0], place[place >= 0]
        self._place[items] = -1
        return owner, place


@njit(cache=True, nogil=True)
def _hold(users: Array, items: Array, start: Array, item: Array) -> Array:
    """Return whether each item is among those of its user, (B,), (B, n) -> (B, n)."""
    found = np.zeros(items.shape, np.bool_)
    for b in range(len(users)):
        if 0 <= users[b] < len(start) - 1:
            begin, end = start[users[b]], start[users[b] + 1]
            for n in range(items.shape[1]):
                at = begin + np.searchsorted(item[begin:end], items[b, n])
                found[b, n] = at < end and item[at] == items[b, n]
    return found


@njit(cache=True, nogil=True)
def _pairs(users: Array, start: Array, item: Array, place: Array) -> Array:
    """Return users' positions and their items' places, (2, P), for the items that have a place."""
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
                found[0, size], found[1, size] = b, place[item[e]]
                size += place[item[e]] >= 0  # without a branch, which would be foretold badly
    return found[:, :size].copy()
