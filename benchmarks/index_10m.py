"""Vector index of 10,000,000 items, built, saved, mapped and searched: memory, minutes, recall and time of a query.

The vectors are those of the benchmark `index`. One thread searches.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

from benchmarks.index import K, hard, measured, search_of, truth
from benchmarks.rows import Row
from pasand.index.ivf_pq import IVF

MEASURES = ("index", "mapped.py")
ITEMS, QUERIES = 10_000_000, 200


def run() -> list[Row]:
    """Build, save, load and search; resident memory includes the 2.6 GB of vectors that the index is built of."""
    faiss.omp_set_num_threads(1)
    items, queries = hard(ITEMS, 0), hard(QUERIES, 1)
    began, used = time.perf_counter(), time.process_time()
    built = IVF().build(items, rng=np.random.default_rng(2))
    minutes, processor = (time.perf_counter() - began) / 60, (time.process_time() - used) / 60
    best = truth(items, queries)
    allowed = np.random.default_rng(4).random((1, ITEMS)) < 0.05
    best_allowed = truth(items, queries, allowed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    del items
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index"
        built.save(file)
        lists, stated, size = len(built._lists), built.recall, file.stat().st_size / 1e9
        del built
        before = _resident()
        began = time.perf_counter()
        index = IVF().load(file)
        load = time.perf_counter() - began
        recall, milliseconds = measured(search_of(index), queries, best)
        resident = _resident() - before
        masked, masked_time = measured(search_of(index, allowed), queries, best_allowed)
    detail = f"{processor:.1f} minutes of one processor; {lists:,} lists; stated recall {stated:.4f}"
    mapped = f"after {QUERIES + 1} queries of the mapped index, which loaded in {load:.2f} s"
    return [
        Row(target="building, minutes", value=minutes, limit=None, better="lower", detail=detail),
        Row(target="largest resident memory while building, GB", value=peak, limit=24, better="lower", comparable=True),
        Row(target="file, GB", value=size, limit=None, better="lower"),
        Row(target="additional resident memory, GB", value=resident, limit=None, better="lower", detail=mapped),
        Row(target=f"all allowed: recall@{K}", value=recall, limit=None, better="higher"),
        Row(target="all allowed: milliseconds, median", value=milliseconds, limit=None, better="lower"),
        Row(target=f"5% allowed, at random: recall@{K}", value=masked, limit=None, better="higher"),
        Row(target="5% allowed: milliseconds, median", value=masked_time, limit=None, better="lower"),
    ]


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e9
