"""Query and item towers made of embeddings and dense layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class IdTowers(nn.Module):
    """Matrix factorisation: a vector for each user and each item, and a bias for each item.

    The bias is the last entry of the item's vector, (D + 1,); the last entry of the user's vector is 1.
    """

    def __init__(self, n_users: int, n_items: int, dimensions: int) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users + 1, dimensions)
        self.items = nn.Embedding(n_items, dimensions + 1)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.01)
        nn.init.zeros_(self.items.weight[:, -1])

    def query(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "user" (B,), where the last row is for unknown users, to (B, D + 1)."""
        vectors: Tensor = self.users(inputs["user"])
        return torch.cat([vectors, torch.ones_like(vectors[:, :1])], dim=1)

    def item(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "item" (n,) to (n, D + 1)."""
        vectors: Tensor = self.items(inputs["item"])
        return vectors


class Dense(nn.Sequential):
    """Linear layers with ReLU between them: hidden layers of the given widths, and an output layer."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int) -> None:
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, outputs))


class Tower(nn.Module):
    """Maps named inputs to a vector: the sum of their embeddings plus dense layers over their concatenation.

    Without dense layers it is the sum alone, with `dense_only` the output of the dense layers alone.
    """

    def __init__(
        self, embeddings: Mapping[str, nn.Module], dimensions: int, layers: Sequence[int], *, dense_only: bool = False
    ) -> None:
        super().__init__()
        self._names = list(embeddings)
        self.embeddings = nn.ModuleList(embeddings.values())
        self._dense_only = dense_only
        self.dense = Dense(len(self._names) * dimensions, layers, dimensions) if layers or dense_only else None

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map each name's input to (n, D)."""
        vectors = [embedding(inputs[name]) for name, embedding in zip(self._names, self.embeddings, strict=True)]
        if self.dense is None:
            return sum(vectors[1:], start=vectors[0])
        output: Tensor = self.dense(torch.cat(vectors, dim=-1))
        return output if self._dense_only else sum(vectors, start=output)


class TwoTowers(nn.Module):
    """A query tower and an item tower, whose inner product is the score."""

    def __init__(self, query: nn.Module, item: nn.Module, *, normalise: bool) -> None:
        super().__init__()
        self.query_tower, self.item_tower, self._normalise = query, item, normalise

    def query(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map inputs, (B, ...) each, to (B, D), of length 1 with `normalise`."""
        return self._finish(self.query_tower(inputs))

    def item(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map inputs, (n, ...) each, to (n, D), of length 1 with `normalise`."""
        return self._finish(self.item_tower(inputs))

    def _finish(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, dim=-1) if self._normalise else vectors
