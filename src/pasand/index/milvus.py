"""Index in a collection of a Milvus server, for catalogues or traffic beyond one machine, or in a milvus-lite file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.random import Generator

from pasand.errors import InputError
from pasand.index.index_files import (
    append_metadata,
    check_rows,
    checked_vectors,
    last_positions,
    padded_candidates,
    read_metadata,
    sorted_exclusions,
    writing,
)
from pasand.index.recall import exact_best, measure_recall, sample_queries
from pasand.progress import track
from pasand.types import Array, Candidates, Mask, Rows, Vectors

TOKEN_VARIABLE = "PASAND_MILVUS_TOKEN"
"""Environment variable with the token, or "user:password", of the server."""
MAX_RESULTS = 16_384
"""Largest number of items that Milvus returns for a query."""
BATCH = 4096
"""Number of vectors, or of rows in a filter, sent in one request."""


@dataclass(kw_only=True)
class Milvus:
    """Searches a Milvus server, which stores the vectors; scores are float32.

    A mask is sent as the allowed rows, a few thousand a request, or as the blocked rows where these are few. That is
    correct for any mask, but slow for one that allows half of a million items. A query returns at most 16,384 items.
    """

    uses_network: ClassVar[bool] = True
    """Whether a recipe may name the class only if `recipe.ALLOW_NETWORK` is set."""
    uri: str = "http://localhost:19530"
    """Address of the server, or a local file "NAME.db"; the token is taken from PASAND_MILVUS_TOKEN."""
    collection: str = "pasand"
    """Name of the collection; `build` replaces an existing one."""
    kind: str = "AUTOINDEX"
    """Index type of Milvus: "AUTOINDEX", "FLAT", "HNSW", "IVF_FLAT" ..."""
    _client: Any = field(default=None, init=False, repr=False, compare=False)
    _dimensions: int = field(default=0, init=False, repr=False, compare=False)
    """0: neither built nor loaded."""
    _recall: float = field(default=1.0, init=False, repr=False, compare=False)

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1 in a new collection, replacing one of the same name, and return itself.

        Raises InputError where the server cannot be reached or reports an error.
        """
        vectors = checked_vectors(vectors, None, what="vectors to index")
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        index = MilvusClient.prepare_index_params()
        index.add_index(field_name="vector", index_type=self.kind, metric_type="IP")
        self._call("drop_collection")
        self._call("create_collection", schema=schema, index_params=index, consistency_level="Strong")
        self._dimensions, self._recall = vectors.shape[1], 1.0
        self.add(np.arange(len(vectors), dtype=np.int32), vectors)
        if len(vectors):
            validation = sample_queries(vectors, queries, rng)[::5]
            self._recall = measure_recall(self, validation, exact_best(validation, vectors)[0], vectors)
        return self

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each vector, (B, k), padded where fewer are allowed.

        Raises InputError where k and exclusions add up to more than 16,384, and where the server cannot be reached.
        """
        vectors = self._checked_width(vectors, "query vectors")
        excluded, width = sorted_exclusions(exclude, len(vectors)), min(k, len(self))
        fetched = width + excluded.shape[1]
        if fetched > MAX_RESULTS:
            cause = f"{fetched:,} items for a query, with excluded ones; Milvus returns at most {MAX_RESULTS:,}"
            raise InputError(self._server_name(), cause=cause, cure="request fewer")
        items = np.full((len(vectors), width), -1, np.int32)
        scores = np.full((len(vectors), width), -np.inf, np.float32)
        if width and len(vectors):
            for queries, mask in _by_mask(len(vectors), allowed):
                found, found_scores = self._best(vectors[queries], fetched, mask)
                for b, rows, values in zip(queries, found, found_scores, strict=True):
                    keep = ~np.isin(rows, excluded[b])
                    kept = rows[keep][:width]
                    items[b, : len(kept)], scores[b, : len(kept)] = kept, values[keep][:width]
        return padded_candidates(items, scores, k)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add or replace the vectors of rows."""
        vectors = self._checked_width(vectors, "vectors to add")
        check_rows(rows, vectors)
        newest = last_positions(rows)
        for at in track(range(0, len(newest), BATCH), "sending"):
            batch = newest[at : at + BATCH]
            self._call("upsert", data=[{"row": int(rows[i]), "vector": vectors[i]} for i in batch])

    def remove(self, rows: Rows) -> None:
        """Remove rows."""
        self._require_built()
        for at in range(0, len(rows), BATCH):
            self._call("delete", filter=f"row in {rows[at : at + BATCH].tolist()}")

    def __len__(self) -> int:
        if not self._dimensions:
            return 0
        return int(self._call("query", filter="row >= 0", output_fields=["count(*)"])[0]["count(*)"])

    @property
    def recall(self) -> float:
        """Share of the exact 100 best items that a search found when the index was built."""
        return self._recall

    def save(self, path: Path) -> None:
        """Write the name of the collection to one file; the vectors stay on the server."""
        self._require_built()
        name = np.frombuffer(self.collection.encode(), np.uint8)
        metadata = {"collection": name, "dimensions": np.array(self._dimensions), "recall": np.array(self._recall)}
        with writing(path):
            path.write_bytes(b"")
            append_metadata(path, type(self).__name__, metadata)

    def load(self, path: Path) -> Self:
        """Use the collection named in a file, on the server at `uri`.

        Raises InputError where the file is not one of this kind of index, and where the server has no such collection.
        """
        metadata = read_metadata(path, type(self).__name__)
        self.collection = metadata["collection"].tobytes().decode()
        if not self._call("has_collection"):
            cause = f"it has no collection {self.collection!r}, which {path.name} names"
            cure = "give the server on which the index was built, or rebuild the index"
            raise InputError(self._server_name(), cause=cause, cure=cure)
        self._dimensions, self._recall = int(metadata["dimensions"]), float(metadata["recall"])
        return self

    def _require_built(self) -> None:
        if not self._dimensions:
            raise ValueError("the index is neither built nor loaded")

    def _checked_width(self, vectors: Vectors, what: str) -> Vectors:
        self._require_built()
        return checked_vectors(vectors, self._dimensions, what=what)

    def _server_name(self) -> str:
        """Return the address of the server without user and password."""
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else self.uri

    def _call(self, method: str, **arguments: Any) -> Any:
        """Return the result of a client method for the collection; errors of Milvus are raised as InputErrors."""
        try:
            from pymilvus import MilvusClient, MilvusException
        except ImportError as error:
            raise InputError(self._server_name(), cause=str(error), cure="install pasand[scale]") from None
        try:
            if self._client is None:
                self._client = MilvusClient(uri=self.uri, token=os.environ.get(TOKEN_VARIABLE, ""))
            return getattr(self._client, method)(self.collection, **arguments)
        except MilvusException as error:
            cure = f"check the server, its address and the token in {TOKEN_VARIABLE}"
            raise InputError(self._server_name(), cause=f"Milvus reports: {error.message}", cure=cure) from None

    def _best(self, vectors: Vectors, width: int, mask: Mask | None) -> tuple[list[Array], list[Array]]:
        """Return rows and scores of up to `width` allowed items for each vector, best first; the mask is (W,)."""
        rows: list[list[Array]] = [[] for _ in vectors]
        scores: list[list[Array]] = [[] for _ in vectors]
        for condition in _conditions(mask):
            results = self._call("search", data=list(vectors), limit=width, filter=condition, output_fields=["row"])
            for b, hits in enumerate(results):
                rows[b].append(np.array([hit["row"] for hit in hits], np.int32))
                scores[b].append(np.array([hit["distance"] for hit in hits], np.float32))
        all_rows = [np.concatenate(parts) if parts else np.empty(0, np.int32) for parts in rows]
        all_scores = [np.concatenate(parts) if parts else np.empty(0, np.float32) for parts in scores]
        orders = [np.lexsort((r, -s))[:width] for r, s in zip(all_rows, all_scores, strict=True)]
        return (
            [r[order] for r, order in zip(all_rows, orders, strict=True)],
            [s[order] for s, order in zip(all_scores, orders, strict=True)],
        )


def _by_mask(n_queries: int, allowed: Mask | None) -> Iterator[tuple[Array, Mask | None]]:
    """Yield the positions of the queries that share a mask, and the mask."""
    if allowed is None or len(allowed) == 1:
        yield np.arange(n_queries), None if allowed is None else allowed[0]
    else:
        for b in range(n_queries):
            yield np.array([b]), allowed[b]


def _conditions(mask: Mask | None) -> Iterator[str]:
    """Yield filter expressions that together match every allowed row of a mask once."""
    if mask is None:
        yield ""
        return
    blocked = np.flatnonzero(~mask)
    if len(blocked) <= BATCH:
        yield f"row < {len(mask)}" + (f" and row not in {blocked.tolist()}" if len(blocked) else "")
        return
    rows = np.flatnonzero(mask)
    for at in range(0, len(rows), BATCH):
        yield f"row in {rows[at : at + BATCH].tolist()}"
