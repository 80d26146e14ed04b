"""Base class of the tower models: scores and validation by inner products of a query and an item vector.

Importing it needs no torch.

A model file inherits `DeepTower` and supplies the inputs of its towers, its network and its task.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pasand.data.features import Features
from pasand.growable import extended
from pasand.models.deep_model import DeepModel
from pasand.training.validation import ValidationSplit
from pasand.types import Array, Arrays, Mask, Queries, Rows, Scores, Vectors, within

CELLS = 2**22
"""Validation scores computed at once: 16 MB, which a processor handles faster than more."""


@dataclass(kw_only=True)
class DeepTower(DeepModel):
    """Scores an item by the inner product of its vector with the query's; networks compute both vectors."""

    # implemented by each model

    @abstractmethod
    def _inputs(self, queries: Queries) -> dict[str, Array]:
        """Return the inputs of the query tower by name: int64 codes and float32 numbers, (B, ...) each; never empty."""

    @abstractmethod
    def _can_embed(self, inputs: Arrays) -> Mask:
        """Return whether the inputs of each query, as `_inputs` returns them, suffice for a vector; (B,)."""

    @abstractmethod
    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        """Return the inputs of the item tower for catalogue rows by name, (n, ...) each."""

    def _grown(self, features: Features) -> dict[str, Array] | None:
        """Return "known" and the other arrays of `_learnt` that have a row for each item, with items appended.

        `features` has a row for each new item. None: the model embeds items by their positives alone, so that it cannot
        take new ones.
        """
        return None

    # provided to each model

    def _validation(self, split: ValidationSplit) -> Callable[[], float]:
        """Return a function that computes the mean NDCG@10 of held-out positives among all items outside the history.

        Each positive is a query of its own. Items of equal score rank above the positive, so that a network which gives
        all items the same score gets 0.
        """
        import torch

        queries = split.queries.take(split.query)
        inputs = self._inputs(queries)
        embeddable = self._can_embed(inputs)
        positives = torch.from_numpy(split.item.astype(np.int64))[:, None]
        n_items = len(self._learnt["known"])
        part = max(1, CELLS // n_items)

        def ndcg() -> float:
            device = next(self._network.parameters()).device
            table = torch.from_numpy(self._embed_all(n_items)).to(device)
            vectors = self._run("query", inputs)
            vectors[~embeddable] = 0
            total = 0.0
            for at in range(0, len(vectors), part):
                scores = torch.from_numpy(vectors[at : at + part]).to(device) @ table.T
                target = scores.gather(1, positives[at : at + part].to(device))
                history = torch.from_numpy(queries.history[at : at + part].astype(np.int64)).to(device)
                row, column = torch.nonzero(history >= 0, as_tuple=True)
                scores[row, history[row, column]] = -torch.inf
                rank = torch.count_nonzero(scores >= target, dim=1) - 1
                total += float((1 / torch.log2(rank[rank < 10] + 2)).sum())
            return total / max(len(vectors), 1)

        return ndcg

    def _width(self) -> int:
        return int(self._learnt["items"].shape[1]) if "items" in self._learnt else 0

    def _embed_all(self, n_items: int) -> Vectors:
        vectors = self._run("item", self._item_inputs(np.arange(n_items, dtype=np.int32)))
        vectors[~self._learnt["known"]] = 0
        return vectors

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return inner products; -inf for queries that lack the model's inputs, and for items without a vector."""
        table, (vectors, embeddable) = self._learnt["items"], self._embed(queries)
        known = np.append(self._learnt["known"], False)
        if items is None:
            out: Scores = vectors @ table.T
            out[:, ~known[:-1]] = -np.inf
        else:
            items = within(items, len(table))
            out = np.einsum("bd,bkd->bk", vectors, self.embed_items(items))
            out[~known[items]] = -np.inf
        out[~embeddable] = -np.inf
        return out

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the queries' vectors; 0 for queries that lack the model's inputs."""
        return self._embed(queries)[0]

    def _embed(self, queries: Queries) -> tuple[Vectors, Mask]:
        """Return the queries' vectors, (B, D), and which queries the model can embed, (B,)."""
        if not len(queries):
            return np.zeros((0, self._width()), np.float32), np.zeros(0, np.bool_)
        queries = queries.within(len(self._learnt["known"]))
        inputs = self._inputs(queries)
        vectors, embeddable = self._run("query", inputs), self._can_embed(inputs)
        vectors[~embeddable] = 0
        return vectors, embeddable

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' vectors; 0 at row -1 and for items unknown to the model."""
        table = self._learnt["items"]
        if not len(table):
            return np.zeros((*items.shape, table.shape[1]), np.float32)
        items = within(items, len(table))
        vectors: Vectors = table[items]
        if items.size and items.min() < 0:
            vectors[items < 0] = 0
        return vectors

    def add_items(self, features: Features) -> None:
        """Append items and embed them from their features; a model that does not read item features ignores them."""
        grown = self._grown(features)
        if grown is None:
            return
        rows = np.arange(len(self._learnt["known"]), len(grown["known"]), dtype=np.int32)
        self._learnt = {**self._learnt, **grown}
        if not len(rows):
            return
        vectors = self._run("item", self._item_inputs(rows))
        vectors[~grown["known"][rows]] = 0
        self._learnt["items"] = extended(self._learnt["items"], vectors)

    def _finish(self) -> None:
        self._learnt["items"] = self._embed_all(len(self._learnt["known"]))

    def _trace_inputs(self, queries: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        return {"query": self._inputs(queries), "item": self._item_inputs(rows)}
