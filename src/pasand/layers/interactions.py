"""Networks of feature interactions: factorisation machine, wide part of crossed codes, cross network, dense layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.layers.embeddings import MeanEmbedding
from pasand.layers.network_shape import Shape

BUCKETS = 1 << 18
"""Number of weights that combinations of codes share by hashing."""
SIDES = ("query", "item", "pair")
MAX_POSITION = 100
"""Largest position in a list with a bias of its own; later positions share it."""


def second_order(vectors: Tensor) -> Tensor:
    """Return the sum of inner products of all pairs of fields, (n, F, D) -> (n,): Rendle, ICDM 2010, lemma 3.1."""
    return 0.5 * (vectors.sum(1).square() - vectors.square().sum(1)).sum(-1)


class CrossLayer(nn.Module):
    """Computes x + x0 * (W x + b), where W may be of low rank: DCN V2, Wang et al., WWW 2021, equations 1 and 2."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.last = nn.Linear(rank or width, width)
        self.first = nn.Linear(width, rank, bias=False) if rank else nn.Identity()

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        """Map x0 and x, (n, width) each, to (n, width)."""
        crossed: Tensor = x + first * self.last(self.first(x))
        return crossed

    def ordered(self, first: Tensor, x: Tensor, order: Tensor) -> Tensor:
        """Do as `forward` for vectors whose columns are in the given order of the layer's columns, (width,)."""
        if isinstance(self.first, nn.Linear):
            low = functional.linear(x, self.first.weight[:, order])
            return x + first * functional.linear(low, self.last.weight[order], self.last.bias[order])
        return x + first * functional.linear(x, self.last.weight[order][:, order], self.last.bias[order])


class HashedCrosses(nn.Module):
    """A weight for each combination of two fields' codes, looked up by hash; the mean where there are several."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Embedding(BUCKETS, 1)
        nn.init.zeros_(self.weights.weight)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Map codes (n, L) and (n, M), where 0 is padding, to (n,)."""
        real = (first[:, :, None] > 0) & (second[:, None, :] > 0)
        bucket = (first[:, :, None] * 1_000_003 + second[:, None, :] * 7_919) % BUCKETS
        weights = self.weights(bucket)[..., 0] * real
        mean: Tensor = weights.sum((1, 2)) / real.sum((1, 2)).clamp(min=1)
        return mean


class FieldInteractions(nn.Module):
    """Maps fields of codes and of numbers to a logit, by the terms and layers of a `Shape`.

    Each field of codes has embeddings; each number has, in the second-order term, a vector that it multiplies.
    """

    def __init__(self, fields: Mapping[str, int], dimensions: int, shape: Shape) -> None:
        """Take the size of each field: its largest code, or minus its count of numbers."""
        super().__init__()
        self._codes = [name for name, size in fields.items() if size >= 0]
        self._numbers = [name for name, size in fields.items() if size < 0]
        self._shape = shape
        n = -sum(fields[name] for name in self._numbers)
        self.embeddings = nn.ModuleList(MeanEmbedding(fields[name], dimensions) for name in self._codes)
        for embedding in self.embeddings:
            nn.init.normal_(embedding.table.weight, std=0.05)
        self.bias = nn.Parameter(torch.zeros(1))
        self.position_biases = nn.Embedding(MAX_POSITION + 1, 1, padding_idx=0)
        nn.init.zeros_(self.position_biases.weight)
        if shape.linear:
            self.code_weights = nn.ModuleList(MeanEmbedding(fields[name], 1) for name in self._codes)
            for embedding in self.code_weights:
                nn.init.zeros_(embedding.table.weight)
            self.number_weights = nn.Linear(n, 1, bias=False)
        if shape.second_order:
            self.number_vectors = nn.Parameter(0.05 * torch.randn(n, dimensions))
        self.hashed = nn.ModuleList(HashedCrosses() for _ in shape.crossed)
        width = len(self._codes) * dimensions + n
        self.crosses = nn.ModuleList(CrossLayer(width, shape.rank) for _ in range(shape.cross_layers))
        layers, before = list[nn.Module](), width
        for units in shape.dense:
            layers += [nn.Linear(before, units), nn.ReLU(), *([nn.Dropout(shape.dropout)] if shape.dropout else [])]
            before = units
        self.dense = nn.Sequential(*layers)
        ends = (before if shape.dense else 0) + (width if shape.cross_layers else 0)
        self.output = nn.Linear(ends, 1, bias=False) if ends else None
        sides = [side_of(name) for name in self._codes for _ in range(dimensions)]
        sides += [side_of(name) for name in self._numbers for _ in range(-fields[name])]
        for side in SIDES:  # the columns of each side's fields in the concatenation of all fields
            columns = [n for n, of in enumerate(sides) if of == side]
            self.register_buffer(f"columns_{side}", torch.tensor(columns, dtype=torch.int64), persistent=False)
            vectors = len(self._codes) * dimensions
            numbers = [n - vectors for n in columns if n >= vectors]
            self.register_buffer(f"numbers_{side}", torch.tensor(numbers, dtype=torch.int64), persistent=False)
        self._dimensions = dimensions

    def position_bias(self, position: Tensor) -> Tensor:
        """Return what a position adds to the logit in training, 0 for an unknown position (0); (n,) -> (n,)."""
        bias: Tensor = self.position_biases(position.clamp(max=MAX_POSITION))[:, 0]
        return bias

    def rank(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map the fields of queries, items and pairs, (n, ...) each, to logits, (n,)."""
        return self.rank_items(inputs | {"items": self.item(inputs)})

    def item(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map fields of items, (n, ...) each, to the part that no query changes, (n, T), which can be cached.

        It consists of their vectors and numbers and, last, their linear term, where the network has one.
        """
        own = self._concatenated(inputs, "item")
        return torch.cat([own, self._linear(inputs, own, "item")], dim=1) if self._shape.linear else own

    def rank_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "items", (n, T) of `item`, "pair", (n, F), and fields of queries, (1, ...) or (n, ...), to logits, (n,).

        With fields of queries of one row, what the items of a query share is computed once. Item fields of `crossed`
        are read here, too.
        """
        query, pair = self._concatenated(inputs, "query"), self._concatenated(inputs, "pair")
        items = inputs.get("items", pair[:, :0])
        width = len(self.columns_item)
        rest = torch.cat([items[:, :width], pair], dim=1)
        terms = []
        if self._shape.linear:
            terms = [self._linear(inputs, query, "query"), self._linear(inputs, pair, "pair")]
            terms = [term[:, 0] for term in [*terms, items[:, width:]] if term.shape[1]]
        for (user_field, item_field), hashed in zip(self._shape.crossed, self.hashed, strict=True):
            terms.append(hashed(inputs[user_field], inputs[item_field]))
        ends = [self._dense(query, rest)] if self._shape.dense else []
        if self._shape.second_order or self._shape.cross_layers:
            x = torch.cat([query.expand(rest.shape[0], -1), rest], dim=1)
            terms += [second_order(self._all_vectors(x))] if self._shape.second_order else []
        if self.output is not None:
            # weights times rows, not rows times weights, which takes several times as long
            weight, at = self.output.weight, ends[0].shape[1] if ends else 0
            terms += [functional.linear(weight[:, :at], end)[0] for end in ends]
            if self._shape.cross_layers:
                order, crossed = torch.cat([self.columns_query, self.columns_item, self.columns_pair]), x
                for layer in self.crosses:
                    crossed = layer.ordered(x, crossed, order)
                terms.append(functional.linear(weight[:, at:][:, order], crossed)[0])
        return sum(terms[1:], start=terms[0]) + self.bias

    def _dense(self, query: Tensor, rest: Tensor) -> Tensor:
        """Map the fields of queries, (1 or n, W), and the others, (n, W'), through the dense layers; (n, units)."""
        first, columns = self.dense[0], torch.cat([self.columns_item, self.columns_pair])
        shared = first.bias[None]
        if len(self.columns_query):
            shared = functional.linear(query, first.weight[:, self.columns_query], first.bias)
        output: Tensor = self.dense[1:](torch.addmm(shared, rest, first.weight[:, columns].t()))
        return output

    def _linear(self, inputs: dict[str, Tensor], own: Tensor, side: str) -> Tensor:
        """Return the linear term of a side's fields, (n, 1)."""
        numbers = getattr(self, f"numbers_{side}")
        of_numbers = functional.linear(own[:, own.shape[1] - len(numbers) :], self.number_weights.weight[:, numbers])
        weights = zip(self._codes, self.code_weights, strict=True)
        return sum((w(inputs[name]) for name, w in weights if side_of(name) == side), start=of_numbers)

    def _concatenated(self, inputs: dict[str, Tensor], side: str) -> Tensor:
        """Return the vectors and numbers of a side's fields, concatenated, (n, W); (1, 0) without fields."""
        embeddings = zip(self._codes, self.embeddings, strict=True)
        vectors = [embedding(inputs[name]) for name, embedding in embeddings if side_of(name) == side]
        columns = [*vectors, *(inputs[name] for name in self._numbers if side_of(name) == side)]
        return torch.cat(columns, dim=1) if columns else self.bias.new_zeros((1, 0))

    def _all_vectors(self, x: Tensor) -> Tensor:
        """Return the vectors of codes, and those of numbers multiplied by the numbers; (n, fields, D)."""
        vectors, at = list[Tensor](), 0
        for side in SIDES:
            numbers, end = getattr(self, f"numbers_{side}"), at + len(getattr(self, f"columns_{side}"))
            middle = end - len(numbers)
            vectors.append(x[:, at:middle].unflatten(1, (-1, self._dimensions)))
            vectors.append(x[:, middle:end, None] * self.number_vectors[numbers])
            at = end
        return torch.cat(vectors, dim=1)


def side_of(name: str) -> str:
    """Return whether a field belongs to the "query", the "item" or the "pair"."""
    return "pair" if name == "pair" else "item" if name == "item" or name.startswith("item.") else "query"
