"""EASE and SLIT on 25,000 items: each is fitted in a process of its own, or refused by its forecast of memory."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.rows import Row
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.models.classical.ease import EASE
from pasand.models.classical.slit import SLIT

MEASURES = ("data/memory_estimate.py", "models/classical/ease.py", "models/classical/slit.py")
USERS, ITEMS, EVENTS = 30_000, 25_000, 300_000
MODELS: dict[str, type[EASE] | type[SLIT]] = {"ease": EASE, "slit": SLIT}
GIGABYTE = 1e9


def log() -> Dataset:
    """Return events of users with one taste of a hundred each, and of items whose popularity falls with their rank."""
    rng = np.random.default_rng(0)
    user = rng.integers(USERS, size=EVENTS).astype(np.int32)
    rank = np.minimum(rng.pareto(1.0, EVENTS) * 10, ITEMS // 100 - 1).astype(np.int32)
    item = np.where(rng.random(EVENTS) < 0.8, 100 * rank + user % 100, rng.integers(ITEMS, size=EVENTS))
    return Dataset(
        name="25,000 items",
        users=Vocabulary(f"u{row:05}" for row in range(USERS)),
        items=Vocabulary(f"i{row:05}" for row in range(ITEMS)),
        user=user,
        item=item.astype(np.int32),
        time=np.arange(EVENTS, dtype=np.int64) * 60,
    )


def _fit(name: str, results: Connection) -> None:
    """Send the outcome of a fit, its seconds, its peak bytes beside the data, and its forecast."""
    data = log()
    model: Model = MODELS[name]()
    forecast = MODELS[name]().memory_needed(data)
    before = _peak()
    begin = time.perf_counter()
    try:
        model.fit(data, rng=np.random.default_rng(0))
    except InputError as error:
        results.send((f"refused: {error}", 0.0, 0, forecast))
        return
    seconds = time.perf_counter() - begin
    scores = model.score(data.queries(np.arange(100, dtype=np.int32), k=10), None)
    found = "finite scores" if np.isfinite(scores).all() else "scores that are not finite"
    results.send((found, seconds, _peak() - before, forecast))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run() -> list[Row]:
    """Fit both models, one after the other."""
    rows = []
    context = multiprocessing.get_context("spawn")
    for name in MODELS:
        results, sender = context.Pipe(duplex=False)
        process = context.Process(target=_fit, args=(name, sender))
        process.start()
        sender.close()
        try:
            outcome, seconds, peak, forecast = results.recv()
        except EOFError:
            outcome, seconds, peak, forecast = "no result", 0.0, 0, 0
        process.join()
        holds = outcome == "finite scores" or outcome.startswith("refused")
        size = f"{USERS:,} users, {ITEMS:,} items, {EVENTS:,} events"
        detail = f"{size}: {outcome}" if holds else f"{size}: {outcome}, exit code {process.exitcode}"
        rows.append(
            Row(
                target=f"{name}: failures",
                value=int(not holds),
                limit=0,
                better="lower",
                comparable=True,
                detail=detail,
            )
        )
        if seconds:
            minutes, memory = f"{name}: minutes of a fit", f"{name}: peak GB of a fit, beside the data"
            rows.append(Row(target=minutes, value=seconds / 60, limit=None, better="lower"))
            rows.append(
                Row(
                    target=memory,
                    value=peak / GIGABYTE,
                    limit=2 * forecast / GIGABYTE,
                    better="lower",
                    comparable=True,
                    detail=f"forecast {forecast / GIGABYTE:.1f} GB; limit: twice that",
                )
            )
    return rows
