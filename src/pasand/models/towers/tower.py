"""What every deep tower model shares: scores as inner products of vectors, and validation by them. Needs no torch.

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
"""Scores of withheld likings held at once: 16 MB, which a processor handles faster than more."""


@dataclass(kw_only=True)
class DeepTower(DeepModel):
    """Scores an item by the inner product of its vector with the query's; both come out of networks."""

    # what a model supplies

    @abstractmethod
    def _inputs(self, queries: Queries) -> dict[str, Array]:
        """Return what the query tower reads: int64 codes and float32 numbers, (B, ...) each; no dict is empty."""

    @abstractmethod
    def _answerable(self, inputs: Arrays) -> Mask:
        """Return which of the queries that `_inputs` read hold what the model needs, (B,)."""

    @abstractmethod
    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        """Return what the item tower reads of catalogue rows: (n, ...) each."""

    def _grown(self, features: Features) -> dict[str, Array] | None:
        """Return "known" and whatever else of `_learnt` has a row for each item, with items appended.

        `features` hold a row for each of them. None: the model knows items by their likings alone, so it takes no more.
        """
        return None

    # what a model gets

    def _validation(self, held: ValidationSplit) -> Callable[[], float]:
        """Return what computes the mean NDCG@10 of withheld likings, one a query, over all items without history.

        Items of equal score count as better than the liking, so that a network which tells nothing apart gets 0.
        """
        import torch

        queries = held.queries.take(held.query)
        inputs = self._inputs(queries)
        answered = self._answerable(inputs)
        wanted = torch.from_numpy(held.item.astype(np.int64))[:, None]
        n_items = len(self._learnt["known"])
        part = max(1, CELLS // n_items)

        def ndcg() -> float:
            where = next(self._network.parameters()).device
            table = torch.from_numpy(self._embed_all(n_items)).to(where)
            vectors = self._run("query", inputs)
            vectors[~answered] = 0
            total = 0.0
            for at in range(0, len(vectors), part):
                scores = torch.from_numpy(vectors[at : at + part]).to(where) @ table.T
                target = scores.gather(1, wanted[at : at + part].to(where))
                history = torch.from_numpy(queries.history[at : at + part].astype(np.int64)).to(where)
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
        """Return inner products; -inf where the query lacks what the model needs, and for items without a vector."""
        table, (vectors, answered) = self._learnt["items"], self._embed(queries)
        known = np.append(self._learnt["known"], False)
        if items is None:
            out: Scores = vectors @ table.T
            out[:, ~known[:-1]] = -np.inf
        else:
            items = within(items, len(table))
            out = np.einsum("bd,bkd->bk", vectors, self.embed_items(items))
            out[~known[items]] = -np.inf
        out[~answered] = -np.inf
        return out

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the queries' vectors; 0 where the query lacks what the model needs."""
        return self._embed(queries)[0]

    def _embed(self, queries: Queries) -> tuple[Vectors, Mask]:
        """Return the queries' vectors, (B, D), and which of them mean something, (B,)."""
        if not len(queries):
            return np.zeros((0, self._width()), np.float32), np.zeros(0, np.bool_)
        queries = queries.within(len(self._learnt["known"]))
        inputs = self._inputs(queries)
        vectors, answered = self._run("query", inputs), self._answerable(inputs)
        vectors[~answered] = 0
        return vectors, answered

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' vectors; 0 at row -1 and for items that the model knows nothing of."""
        table = self._learnt["items"]
        if not len(table):
            return np.zeros((*items.shape, table.shape[1]), np.float32)
        items = within(items, len(table))
        vectors: Vectors = table[items]
        if items.size and items.min() < 0:
            vectors[items < 0] = 0
        return vectors

    def add_items(self, features: Features) -> None:
        """Append items and embed them from their features; a model that reads none of those goes on without them."""
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

    def _examples(self, example: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        return {"query": self._inputs(example), "item": self._item_inputs(rows)}
