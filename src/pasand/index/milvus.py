"""A collection of a Milvus server, for catalogues or traffic beyond one machine; or of a file, through milvus-lite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.random import Generator

from pasand.errors import InputError
from pasand.index.index_files import barred, checked, checked_rows, describe, description, last_of_each, padded
from pasand.index.recall import sample, share_found, true_best
from pasand.progress import track
from pasand.types import Array, Candidates, Mask, Rows, Vectors

TOKEN = "PASAND_MILVUS_TOKEN"
"""The environment variable that holds the token, or "user:password", of the server."""
MOST = 16_384
"""Items that Milvus returns at most."""
BATCH = 4096
"""Vectors sent at once, and rows named in one request."""


@dataclass(kw_only=True)
class Milvus:
    """Finds the best through a Milvus server, which holds the vectors; float32 scores.

    A mask is sent as the rows that it allows, a few thousand a request, or as those that it does not where they are
    few: right for any mask, and slow for one that allows half of a million items. A query asks for at most 16,384.
    """

    uri: str = "http://localhost:19530"
    """Where the server listens, or a local file "NAME.db"; PASAND_MILVUS_TOKEN in the environment is its token."""
    collection: str = "pasand"
    """Name of the collection; `build` replaces one of that name."""
    kind: str = "AUTOINDEX"
    """Milvus's name of an index type: "AUTOINDEX", "FLAT", "HNSW", "IVF_FLAT" ..."""
    _client: Any = field(default=None, init=False, repr=False, compare=False)
    _dimensions: int = field(default=0, init=False, repr=False, compare=False)
    """0: neither built nor loaded."""
    _recall: float = field(default=1.0, init=False, repr=False, compare=False)

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1 in a new collection, replacing one of its name, and return itself.

        Raises InputError where the server cannot be reached or refuses.
        """
        vectors = checked(vectors, None, what="vectors to index")
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        index = MilvusClient.prepare_index_params()
        index.add_index(field_name="vector", index_type=self.kind, metric_type="IP")
        self._ask("drop_collection")
        self._ask("create_collection", schema=schema, index_params=index, consistency_level="Strong")
        self._dimensions, self._recall = vectors.shape[1], 1.0
        self.add(np.arange(len(vectors), dtype=np.int32), vectors)
        if len(vectors):
            asked = sample(vectors, queries, rng)[::5]
            self._recall = share_found(self, asked, true_best(asked, vectors)[0], vectors)
        return self

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each vector, (B, k), padded where fewer are allowed.

        Raises InputError where more than 16,384 would have to be fetched, and where the server cannot be reached.
        """
        vectors = self._fitting(vectors, "query vectors")
        excluded, width = barred(exclude, len(vectors)), min(k, len(self))
        fetched = width + excluded.shape[1]
        if fetched > MOST:
            cause = f"{fetched:,} items for a query, excluded ones included; Milvus returns at most {MOST:,}"
            raise InputError(self._place(), cause=cause, cure="ask for fewer")
        items = np.full((len(vectors), width), -1, np.int32)
        scores = np.full((len(vectors), width), -np.inf, np.float32)
        if width and len(vectors):
            for some, mask in _by_mask(len(vectors), allowed):
                found, found_scores = self._best(vectors[some], fetched, mask)
                for b, rows, values in zip(some, found, found_scores, strict=True):
                    keep = ~np.isin(rows, excluded[b])
                    kept = rows[keep][:width]
                    items[b, : len(kept)], scores[b, : len(kept)] = kept, values[keep][:width]
        return padded(items, scores, k)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Take in vectors of rows; a row that is there already gets the new vector."""
        vectors = self._fitting(vectors, "vectors to add")
        checked_rows(rows, vectors)
        newest = last_of_each(rows)
        for at in track(range(0, len(newest), BATCH), "sending"):
            some = newest[at : at + BATCH]
            self._ask("upsert", data=[{"row": int(rows[i]), "vector": vectors[i]} for i in some])

    def remove(self, rows: Rows) -> None:
        """Forget rows."""
        self._require()
        for at in range(0, len(rows), BATCH):
            self._ask("delete", filter=f"row in {rows[at : at + BATCH].tolist()}")

    def __len__(self) -> int:
        if not self._dimensions:
            return 0
        return int(self._ask("query", filter="row >= 0", output_fields=["count(*)"])[0]["count(*)"])

    @property
    def recall(self) -> float:
        """Share of the true 100 best that a search found when the index was built."""
        return self._recall

    def save(self, path: Path) -> None:
        """Write to one file which collection it is; the vectors stay on the server."""
        self._require()
        name = np.frombuffer(self.collection.encode(), np.uint8)
        about = {"collection": name, "dimensions": np.array(self._dimensions), "recall": np.array(self._recall)}
        try:
            path.write_bytes(b"")
            describe(path, type(self).__name__, about)
        except OSError as error:
            cure = "make room or name another place"
            raise InputError(path, cause=f"cannot be written ({error})", cure=cure) from None

    def load(self, path: Path) -> Self:
        """Use the collection that a file names, on the server of `uri`.

        Raises InputError as for other files, and where the server has no such collection.
        """
        about = description(path, type(self).__name__)
        self.collection = about["collection"].tobytes().decode()
        if not self._ask("has_collection"):
            cause = f"the collection {self.collection!r} that {path.name} names is not there"
            raise InputError(self._place(), cause=cause, cure="name the server that it was built on, or build it anew")
        self._dimensions, self._recall = int(about["dimensions"]), float(about["recall"])
        return self

    def _require(self) -> None:
        if not self._dimensions:
            raise ValueError("the index is neither built nor loaded")

    def _fitting(self, vectors: Vectors, what: str) -> Vectors:
        self._require()
        return checked(vectors, self._dimensions, what=what)

    def _place(self) -> str:
        """Where the server is, without what a URI may hold of passwords."""
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else self.uri

    def _ask(self, what: str, **arguments: Any) -> Any:
        """Return what the client's method answers for the collection; its errors become InputErrors."""
        try:
            from pymilvus import MilvusClient, MilvusException
        except ImportError as error:
            raise InputError(self._place(), cause=str(error), cure="install pasand[scale]") from None
        try:
            if self._client is None:
                self._client = MilvusClient(uri=self.uri, token=os.environ.get(TOKEN, ""))
            return getattr(self._client, what)(self.collection, **arguments)
        except MilvusException as error:
            cure = f"check the server, its address and the token in {TOKEN}"
            raise InputError(self._place(), cause=f"Milvus says: {error.message}", cure=cure) from None

    def _best(self, vectors: Vectors, width: int, mask: Mask | None) -> tuple[list[Array], list[Array]]:
        """Return rows and scores of up to `width` items for each vector, best first, out of those of the mask, (W,)."""
        rows: list[list[Array]] = [[] for _ in vectors]
        scores: list[list[Array]] = [[] for _ in vectors]
        for condition in _conditions(mask):
            answers = self._ask("search", data=list(vectors), limit=width, filter=condition, output_fields=["row"])
            for b, hits in enumerate(answers):
                rows[b].append(np.array([hit["row"] for hit in hits], np.int32))
                scores[b].append(np.array([hit["distance"] for hit in hits], np.float32))
        found = [np.concatenate(part) if part else np.empty(0, np.int32) for part in rows]
        values = [np.concatenate(part) if part else np.empty(0, np.float32) for part in scores]
        orders = [np.lexsort((one, -other))[:width] for one, other in zip(found, values, strict=True)]
        return (
            [one[order] for one, order in zip(found, orders, strict=True)],
            [other[order] for other, order in zip(values, orders, strict=True)],
        )


def _by_mask(n_queries: int, allowed: Mask | None) -> Iterator[tuple[Array, Mask | None]]:
    """Yield the queries that share a mask, and the mask."""
    if allowed is None or len(allowed) == 1:
        yield np.arange(n_queries), None if allowed is None else allowed[0]
    else:
        for b in range(n_queries):
            yield np.array([b]), allowed[b]


def _conditions(mask: Mask | None) -> Iterator[str]:
    """Yield conditions that together allow the rows of a mask, each once."""
    if mask is None:
        yield ""
        return
    barring = np.flatnonzero(~mask)
    if len(barring) <= BATCH:
        yield f"row < {len(mask)}" + (f" and row not in {barring.tolist()}" if len(barring) else "")
        return
    rows = np.flatnonzero(mask)
    for at in range(0, len(rows), BATCH):
        yield f"row in {rows[at : at + BATCH].tolist()}"
