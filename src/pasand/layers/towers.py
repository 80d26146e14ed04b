"""Towers made of embeddings and dense layers."""

from __future__ import annotations

from torch import Tensor, nn


class IdTowers(nn.Module):
    """A vector for each user and each item, looked up: matrix factorisation."""

    def __init__(self, n_users: int, n_items: int, dimensions: int) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users + 1, dimensions)
        self.items = nn.Embedding(n_items, dimensions)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)

    def query(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "user" (B,), the last row for unknown ones, to (B, D)."""
        vectors: Tensor = self.users(inputs["user"])
        return vectors

    def item(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "item" (n,) to (n, D)."""
        vectors: Tensor = self.items(inputs["item"])
        return vectors
