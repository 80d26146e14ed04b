"""Four savers and four readers on one folder of a bundle: rounds after which it is unreadable, and reads that fail."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row
from benchmarks.served import dataset
from pasand import bundle, recipe
from pasand.data.dataset import Dataset
from pasand.recipe import Assembly

MEASURES = ("bundle.py", "bundle_files.py")
ITEMS, EVENTS, ROUNDS, SAVERS, READERS = 500, 5_000, 300, 4, 4
RECIPE = """
[popular]
class = "pasand.models.classical.popularity:Popularity"
half_life_days = 30.0

[als]
class = "pasand.models.classical.ials:IALS"
dimensions = 8
epochs = 1

[graph]
class = "pasand.index.hnsw:HNSW"

[from_als]
class = "pasand.stages.retrieval:FromIndex"
model = "@als"
index = "@graph"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_als", "@from_popular"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""


def _data() -> Dataset:
    return dataset(ITEMS).select(slice(EVENTS))


def _fitted(seed: int) -> Assembly:
    return recipe.build(RECIPE).fit(_data(), seed=seed)


def _save(folder: Path, seed: int, rounds: int, together: Barrier, failed: Any) -> None:
    """Save the same bundle in each round, at the same time as the other savers."""
    assembly, data = _fitted(seed), _data()
    for _ in range(rounds):
        together.wait()
        try:
            bundle.write(folder, assembly, data, seed=seed)
        except Exception as error:
            print(f"save: {error}", flush=True)
            with failed.get_lock():
                failed.value += 1
        together.wait()


def _read(folder: Path, ended: Event, reads: Any, failed: Any) -> None:
    """Read the bundle and recommend with it until the end."""
    while not ended.is_set():
        try:
            loaded = bundle.read(folder)
            loaded.assembly.recommender(loaded.data.queries(np.arange(3, dtype=np.int32), k=5))
        except Exception as error:
            print(f"read: {error}", flush=True)
            with failed.get_lock():
                failed.value += 1
        with reads.get_lock():
            reads.value += 1


@contextmanager
def _processes(started: list[Any]) -> Iterator[None]:
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.join(120)
            process.kill()


def run(rounds: int = ROUNDS) -> list[Row]:
    """Save with each saver in every round while readers read, and read the bundle after every round."""
    context = multiprocessing.get_context("spawn")
    reads, failed_reads, failed_saves = (context.Value("i", 0) for _ in range(3))
    together, ended = context.Barrier(SAVERS + 1), context.Event()
    unreadable = 0
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "bundle"
        bundle.write(folder, _fitted(0), _data(), seed=0)
        savers = [
            context.Process(target=_save, args=(folder, seed, rounds, together, failed_saves))
            for seed in range(1, SAVERS + 1)
        ]
        readers = [context.Process(target=_read, args=(folder, ended, reads, failed_reads)) for _ in range(READERS)]
        with _processes(savers + readers):
            for _ in range(rounds):
                together.wait(600)
                together.wait(600)
                try:
                    bundle.read(folder)
                except Exception as error:
                    print(f"unreadable: {error}", flush=True)
                    unreadable += 1
            ended.set()
        files = len(list(folder.iterdir()))
        left = files - 1 - len(bundle.read(folder).manifest["files"])
    detail = f"{rounds} rounds of {SAVERS} saves at the same time, {READERS} readers"
    return [
        Row(
            target="rounds after which the bundle is unreadable",
            value=unreadable,
            limit=0,
            better="lower",
            comparable=True,
            detail=detail,
        ),
        Row(
            target="failed reads",
            value=failed_reads.value,
            limit=0,
            better="lower",
            comparable=True,
            detail=f"of {reads.value:,} during the saves",
        ),
        Row(
            target="failed saves",
            value=failed_saves.value,
            limit=0,
            better="lower",
            comparable=True,
            detail=f"of {rounds * SAVERS:,}",
        ),
        Row(target="files left over", value=left, limit=0, better="lower", comparable=True),
    ]
