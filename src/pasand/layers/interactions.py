"""Networks in which many fields interact: factorisation machine, wide crosses, cross network, dense layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.layers.embeddings import Average
from pasand.layers.network_shape import Shape

BUCKETS = 1 << 18
"""Weights that crossed codes share by hashing."""
SIDES = ("query", "item", "pair")
PLACES = 100
"""Positions in a list that are told apart."""


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

    def ordered(self, first: Tensor, x: Tensor, order: Tensor) -> Tensor:
        """As `forward` for vectors whose numbers come in another order."""
        if isinstance(self.first, nn.Linear):
            low = functional.linear(x, self.first.weight[:, order])
            return x + first * functional.linear(low, self.last.weight[order], self.last.bias[order])
        return x + first * functional.linear(x, self.last.weight[order][:, order], self.last.bias[order])


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
        sides = [side(name) for name in self._codes for _ in range(dimensions)]
        sides += [side(name) for name in self._numbers for _ in range(-fields[name])]
        for one in SIDES:  # where what the fields of a side give stands among all of it
            columns = [n for n, of in enumerate(sides) if of == one]
            self.register_buffer(f"columns_{one}", torch.tensor(columns, dtype=torch.int64), persistent=False)
            vectors = len(self._codes) * dimensions
            numbers = [n - vectors for n in columns if n >= vectors]
            self.register_buffer(f"numbers_{one}", torch.tensor(numbers, dtype=torch.int64), persistent=False)
        self._dimensions = dimensions

    def place(self, position: Tensor) -> Tensor:
        """Return what standing at a position adds to the logit in training, 0 where it is unknown; (n,) -> (n,)."""
        added: Tensor = self.places(position.clamp(max=PLACES))[:, 0]
        return added

    def rank(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map the fields of queries, items and pairs, (n, ...) each, to logits, (n,)."""
        return self.request(inputs | {"items": self.item(inputs)})

    def item(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map fields of items, (n, ...) each, to what can be said of them before the request is known, (n, T).

        That is their vectors and numbers, and at last their linear term, where the network has such.
        """
        own = self._own(inputs, "item")
        return torch.cat([own, self._linear(inputs, own, "item")], dim=1) if self._shape.linear else own

    def request(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "items", (n, T) of `item`, "pair", (n, F), and fields of queries, (1, ...) or (n, ...), to logits, (n,).

        What the items of a query share is computed once where it is told once. Fields of items whose combinations have
        weights of their own are read here, too.
        """
        query, pair = self._own(inputs, "query"), self._own(inputs, "pair")
        items = inputs.get("items", pair[:, :0])
        wide = len(self.columns_item)
        rest = torch.cat([items[:, :wide], pair], dim=1)
        terms = []
        if self._shape.linear:
            terms = [self._linear(inputs, query, "query"), self._linear(inputs, pair, "pair")]
            terms = [term[:, 0] for term in [*terms, items[:, wide:]] if term.shape[1]]
        for (one, other), hashed in zip(self._shape.crossed, self.hashed, strict=True):
            terms.append(hashed(inputs[one], inputs[other]))
        ends = [self._dense(query, rest)] if self._shape.dense else []
        if self._shape.second_order or self._shape.cross_layers:
            x = torch.cat([query.expand(rest.shape[0], -1), rest], dim=1)
            terms += [second_order(self._all_vectors(x))] if self._shape.second_order else []
        if self.output is not None:
            # the weights times the many rows, and not the other way round, which takes several times as long
            weight, at = self.output.weight, ends[0].shape[1] if ends else 0
            terms += [functional.linear(weight[:, :at], end)[0] for end in ends]
            if self._shape.cross_layers:
                order, crossed = torch.cat([self.columns_query, self.columns_item, self.columns_pair]), x
                for layer in self.crosses:
                    crossed = layer.ordered(x, crossed, order)
                terms.append(functional.linear(weight[:, at:][:, order], crossed)[0])
        return sum(terms[1:], start=terms[0]) + self.bias

    def _dense(self, query: Tensor, rest: Tensor) -> Tensor:
        """Return what the dense layers make of queries, (1 or n, W), and of the other fields, (n, W)."""
        first, columns = self.dense[0], torch.cat([self.columns_item, self.columns_pair])
        shared = first.bias[None]
        if len(self.columns_query):
            shared = functional.linear(query, first.weight[:, self.columns_query], first.bias)
        made: Tensor = self.dense[1:](torch.addmm(shared, rest, first.weight[:, columns].t()))
        return made

    def _linear(self, inputs: dict[str, Tensor], own: Tensor, of: str) -> Tensor:
        """Return the linear term of a side's fields, (n, 1)."""
        numbers = getattr(self, f"numbers_{of}")
        slopes = functional.linear(own[:, own.shape[1] - len(numbers) :], self.slopes.weight[:, numbers])
        weights = zip(self._codes, self.weights, strict=True)
        return sum((w(inputs[name]) for name, w in weights if side(name) == of), start=slopes)

    def _own(self, inputs: dict[str, Tensor], of: str) -> Tensor:
        """Return vectors and numbers of a side's fields side by side, (n, W)."""
        vectors = [table(inputs[k]) for k, table in zip(self._codes, self.tables, strict=True) if side(k) == of]
        found = [*vectors, *(inputs[name] for name in self._numbers if side(name) == of)]
        return torch.cat(found, dim=1) if found else self.bias.new_zeros((1, 0))

    def _all_vectors(self, x: Tensor) -> Tensor:
        """Return the vectors of codes and, multiplied by the numbers, of numbers; (n, fields, D)."""
        found, at = list[Tensor](), 0
        for of in SIDES:
            numbers, end = getattr(self, f"numbers_{of}"), at + len(getattr(self, f"columns_{of}"))
            border = end - len(numbers)
            found.append(x[:, at:border].unflatten(1, (-1, self._dimensions)))
            found.append(x[:, border:end, None] * self.directions[numbers])
            at = end
        return torch.cat(found, dim=1)


def side(name: str) -> str:
    """Return whether a field is told by the "query", the "item" or the "pair"."""
    return "pair" if name == "pair" else "item" if name == "item" or name.startswith("item.") else "query"
