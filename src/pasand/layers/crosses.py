"""Networks in which many fields interact: factorisation machine, wide crosses, cross network, dense layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pasand.layers.embeddings import Average

BUCKETS = 1 << 18
"""Weights that crossed codes share by hashing."""
PLACES = 100
"""Positions in a list that are told apart."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Which parts a network has."""

    linear: bool = False
    second_order: bool = False
    """The pairwise term of a factorisation machine."""
    crossed: tuple[tuple[str, str], ...] = ()
    """Pairs of fields of codes whose combinations have weights of their own."""
    cross_layers: int = 0
    rank: int = 0
    """Rank of the cross layers' matrices; 0: full."""
    dense: tuple[int, ...] = ()
    dropout: float = 0.0


def second_order(vectors: Tensor) -> Tensor:
    """Return the sum of inner products of all pairs of fields, (n, F, D) -> (n,): Rendle, ICDM 2010, lemma 3.1."""
    return 0.5 * (vectors.sum(1).square() - vectors.square().sum(1)).sum(-1)


class Cross(nn.Module):
    """x + x0 * (W x + b), where W may be of low rank: DCN V2, Wang et al., WWW 2021, equations 1 and 2."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.last = nn.Linear(rank or width, width)
        self.first = nn.Linear(width, rank, bias=False) if rank else nn.Identity()

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        """Map x0 and x, (n, width) each, to (n, width)."""
        crossed: Tensor = x + first * self.last(self.first(x))
        return crossed


class Hashed(nn.Module):
    """A weight for each combination of two fields' codes, found by hashing, the mean over those there."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Embedding(BUCKETS, 1)
        nn.init.zeros_(self.weights.weight)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Map codes (n, L) and (n, M), 0 is nothing, to (n,)."""
        there = (one[:, :, None] > 0) & (other[:, None, :] > 0)
        bucket = (one[:, :, None] * 1_000_003 + other[:, None, :] * 7_919) % BUCKETS
        weights = self.weights(bucket)[..., 0] * there
        total: Tensor = weights.sum((1, 2)) / there.sum((1, 2)).clamp(min=1)
        return total


class Fields(nn.Module):
    """A logit out of fields of codes, each embedded, and of numbers, each with a vector that it multiplies."""

    def __init__(self, fields: Mapping[str, int], dimensions: int, shape: Shape) -> None:
        """`fields`: the largest code of each field, or minus its number of numbers."""
        super().__init__()
        self._codes = [name for name, size in fields.items() if size >= 0]
        self._numbers = [name for name, size in fields.items() if size < 0]
        self._shape = shape
        n = -sum(fields[name] for name in self._numbers)
        self.tables = nn.ModuleList(Average(fields[name], dimensions) for name in self._codes)
        for one in self.tables:
            nn.init.normal_(one.table.weight, std=0.05)
        self.bias = nn.Parameter(torch.zeros(1))
        self.places = nn.Embedding(PLACES + 1, 1, padding_idx=0)
        nn.init.zeros_(self.places.weight)
        if shape.linear:
            self.weights = nn.ModuleList(Average(fields[name], 1) for name in self._codes)
            for one in self.weights:
                nn.init.zeros_(one.table.weight)
            self.slopes = nn.Linear(n, 1, bias=False)
        if shape.second_order:
            self.directions = nn.Parameter(0.05 * torch.randn(n, dimensions))
        self.hashed = nn.ModuleList(Hashed() for _ in shape.crossed)
        width = len(self._codes) * dimensions + n
        self.crosses = nn.ModuleList(Cross(width, shape.rank) for _ in range(shape.cross_layers))
        layers, before = list[nn.Module](), width
        for units in shape.dense:
            layers += [nn.Linear(before, units), nn.ReLU(), *([nn.Dropout(shape.dropout)] if shape.dropout else [])]
            before = units
        self.dense = nn.Sequential(*layers)
        ends = (before if shape.dense else 0) + (width if shape.cross_layers else 0)
        self.output = nn.Linear(ends, 1, bias=False) if ends else None

    def place(self, position: Tensor) -> Tensor:
        """Return what standing at a position adds to the logit in training, 0 where it is unknown; (n,) -> (n,)."""
        added: Tensor = self.places(position.clamp(max=PLACES))[:, 0]
        return added

    def rank(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map inputs, (n, ...) each, to logits, (n,)."""
        vectors = torch.stack([t(inputs[n]) for n, t in zip(self._codes, self.tables, strict=True)], dim=1)
        numbers = torch.cat([inputs[name] for name in self._numbers], dim=1)
        terms: list[Tensor] = []
        if self._shape.linear:
            terms += [weight(inputs[name])[:, 0] for name, weight in zip(self._codes, self.weights, strict=True)]
            terms.append(self.slopes(numbers)[:, 0])
        if self._shape.second_order:
            moved = numbers[:, :, None] * self.directions
            terms.append(second_order(torch.cat([vectors, moved], dim=1)))
        for (one, other), hashed in zip(self._shape.crossed, self.hashed, strict=True):
            terms.append(hashed(inputs[one], inputs[other]))
        if self.output is not None:
            joined = torch.cat([vectors.flatten(1), numbers], dim=1)
            ends = [self.dense(joined)] if self._shape.dense else []
            crossed = joined
            for layer in self.crosses:
                crossed = layer(joined, crossed)
            ends += [crossed] if self._shape.cross_layers else []
            terms.append(self.output(torch.cat(ends, dim=1))[:, 0])
        return sum(terms[1:], start=terms[0]) + self.bias


def joined(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a user's field and an item's among these names, histories against ids included."""
    users = [name for name in names if name.startswith("user.") or name in ("history",)]
    items = [name for name in names if name.startswith("item.") or name == "item"]
    return tuple((one, other) for one in users for other in items)
