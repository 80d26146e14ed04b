"""Shared parts of the serving benchmarks: large bundles, a server on one core, and load generators on the other."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import numpy as np

from benchmarks.rows import ROOT
from pasand import bundle, recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.types import Array

MEASURES = (
    "features",
    "index",
    "models/deep_model.py",
    "models/rankers/contextual.py",
    "models/rankers/ranker.py",
    "models/rankers/youtube_ranking.py",
    "models/towers/feature_tower.py",
    "models/towers/tower.py",
    "models/towers/two_tower.py",
    "recommender.py",
    "serving",
    "stages",
    "training/onnx_graphs.py",
)
"""The path of a request: server, state, stages, index, tower, ranker."""
CACHE = ROOT / ".cache" / "bundles"
USERS, LANGUAGES, EVENTS = 20_000, 12, 40
GENRES, GENRE = 200, 5_000
"""Minimum number of genres, and maximum size of one: in larger genres the best items could not be distinguished."""
SERVER_CORE, LOAD_CORE = 0, 1

RECIPE = """
[tower]
class = "pasand.models.towers.two_tower:TwoTower"
dimensions = 64
epochs = 1
patience = 0
batch_size = 4096

[index]
class = "pasand.index.ivf_pq:IVF"

[ranking]
class = "pasand.models.rankers.youtube_ranking:YouTubeRanking"
objective = "clicked"
layers = [256, 128]
epochs = 1
patience = 0
examples = 400000

[recent]
class = "pasand.models.classical.popularity:Popularity"
half_life_days = 30

[from_tower]
class = "pasand.stages.retrieval:FromIndex"
model = "@tower"
index = "@index"

[from_recent]
class = "pasand.stages.retrieval:FromModel"
model = "@recent"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_tower", "@from_recent"]

[seen]
class = "pasand.stages.filtering:DropSeen"

[rank]
class = "pasand.stages.ranking:Rank"
model = "@ranking"

[recommender]
class = "pasand.recommender:Recommender"
filters = ["@seen"]
retriever = "@fallback"
stages = ["@rank"]
n_candidates = 200
"""


def dataset(n_items: int) -> Dataset:
    """Return a random log of items with genres and languages, and of users who like four genres each."""
    rng = np.random.default_rng(0)
    genres = max(GENRES, n_items // GENRE)
    genre = rng.integers(0, genres, n_items).astype(np.int32)
    by_genre = np.argsort(genre, kind="stable")
    start = np.searchsorted(genre[by_genre], np.arange(genres + 1))
    tastes = rng.integers(0, genres, (USERS, 4))
    user = np.repeat(np.arange(USERS, dtype=np.int32), EVENTS)
    chosen = tastes[user, rng.integers(0, 4, len(user))]
    size = start[chosen + 1] - start[chosen]
    item = by_genre[start[chosen] + (size * rng.random(len(user)) ** 3).astype(np.int64)].astype(np.int32)
    genre_names = tuple(f"genre {i}" for i in range(genres))
    languages = tuple(f"language {i}" for i in range(LANGUAGES))
    titles = np.array([f"Title {i}" for i in range(n_items)], np.dtypes.StringDType())
    order = rng.permutation(len(user))
    return Dataset(
        name=f"random, {n_items:,} items",
        users=Vocabulary(f"u{i:06}" for i in range(USERS)),
        items=Vocabulary(f"i{i:08}" for i in range(n_items)),
        user=user[order],
        item=item[order],
        time=np.sort(rng.integers(1_700_000_000, 1_731_000_000, len(user))),
        user_features={"language": Feature(kind="categorical", values=_codes(rng, LANGUAGES, USERS), names=languages)},
        item_features={
            "title": Feature(kind="text", values=titles),
            "genre": Feature(kind="categorical", values=genre, names=genre_names),
            "language": Feature(kind="categorical", values=_codes(rng, LANGUAGES, n_items), names=languages),
            "year": Feature(kind="number", values=rng.integers(1950, 2026, n_items).astype(np.float32)),
        },
    )


def _codes(rng: np.random.Generator, n: int, size: int) -> Array:
    return rng.integers(0, n, size).astype(np.int32)


def bundle_of(n_items: int, text: str = RECIPE) -> Path:
    """Return the folder of a bundle with this many items, which the first call creates under `.cache`."""
    folder = CACHE / f"{n_items}-{recipe.build(text).digest[:8]}"
    if not (folder / "manifest.json").exists():
        data = dataset(n_items)
        began = time.perf_counter()
        folder.parent.mkdir(parents=True, exist_ok=True)
        bundle.write(folder, recipe.build(text).fit(data, seed=0), data, seed=0)
        print(f"bundle of {n_items:,} items created in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return folder


@dataclass
class Server:
    """A running service."""

    process: subprocess.Popen[bytes]
    port: int
    seconds_to_ready: float
    folder: Path
    """Folder of the state, the logs and the keys."""

    @property
    def admin_key(self) -> str:
        """Key of scope admin of the service."""
        return (self.folder / "admin-key").read_text().strip()

    @property
    def url(self) -> str:
        """Address of the service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def resident_mb(self) -> float:
        """Resident memory of the process in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def free_port() -> int:
    """Return a port of the loopback address that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server(bundle_folder: Path, *options: str) -> Iterator[Server]:
    """Run a service of a bundle on a core of its own, with an empty state; stop it at exit."""
    port = free_port()
    with TemporaryDirectory() as folder:
        command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-c", "from pasand.cli.main import run; run()"]
        began = time.perf_counter()
        with Path(folder, "output").open("wb") as output:
            process = subprocess.Popen(
                [*command, "serve", str(bundle_folder), "--port", str(port), "--folder", folder, "--no-log", *options],
                stdout=output,
                stderr=output,
            )
        try:
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                    break
                except OSError:
                    if process.poll() is not None:
                        sys.exit(Path(folder, "output").read_text())
                    time.sleep(0.01)
            yield Server(process, port, time.perf_counter() - began, Path(folder))
        finally:
            process.terminate()
            process.wait(timeout=60)


@dataclass(frozen=True)
class Load:
    """Latencies and throughput of a load."""

    p50: float
    """Median latency in milliseconds."""
    p99: float
    """99th percentile of the latency in milliseconds."""
    rate: float
    """Requests per second."""
    failed: int
    """Number of failed requests."""


SCRIPT = """
local n = {number}
request = function()
  n = (n * 1103515245 + 12345) % 2147483648
  local body = string.format('{{"user_id":"u%06d","k":20}}', n % {users})
  return wrk.format("POST", "/v1/recommend", {{["content-type"]="application/json"}}, body)
end
"""


def closed_loop(server: Server, connections: int, seconds: int) -> Load:
    """Measure with wrk, which sends the next request of a connection as soon as it has the response to the last."""
    if which("wrk") is None:
        sys.exit("wrk, which sends the requests, is not installed: apt-get install wrk")
    with TemporaryDirectory() as folder:
        script = Path(folder, "recommend.lua")
        script.write_text(SCRIPT.format(number=connections * 7919, users=USERS))
        command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
        command += ["-s", str(script), server.url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    latency = {share: _milliseconds(text) for share, text in re.findall(r"^ +(50|99)% +(\S+)$", output, re.MULTILINE)}
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    failed = int(statuses[1]) if statuses else 0
    failed += sum(map(int, errors.groups())) if errors else 0
    rate = re.search(r"Requests/sec:\s+(\S+)", output)
    return Load(latency["50"], latency["99"], float(rate[1]) if rate else 0.0, failed)


def _milliseconds(text: str) -> float:
    """Return the milliseconds of a time as wrk prints it.

    >>> _milliseconds("1.5s"), _milliseconds("250us")
    (1500.0, 0.25)
    """
    number = float(re.sub("[a-z]+", "", text))
    return number * {"us": 0.001, "ms": 1.0, "s": 1000.0}[re.sub("[0-9.]+", "", text)]


def open_loop(server: Server, rate: float, seconds: float, connections: int = 64) -> tuple[Array, int]:
    """Send requests at a constant rate; return the milliseconds of each since it was due, and how many failed.

    The time that a request waits for a free connection counts too, so that a stall of the server shows in all requests
    that were due meanwhile.
    """
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        return asyncio.run(_stream(server, rate, seconds, connections))
    finally:
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))


async def _stream(server: Server, rate: float, seconds: float, connections: int) -> tuple[Array, int]:
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", server.port))
    spent: list[float] = []
    failed = 0
    rng = np.random.default_rng(0)

    async def request(due: float, user: int) -> None:
        nonlocal failed
        reader, writer = await free.get()
        body = b'{"user_id":"u%06d","k":20}' % user
        head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        status = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", status)[1])  # type: ignore[index]
        await reader.readexactly(length)
        failed += not status.startswith(b"HTTP/1.1 200")
        spent.append(1000 * (time.perf_counter() - due))
        free.put_nowait((reader, writer))

    began, tasks = time.perf_counter(), set[asyncio.Task[None]]()
    total = int(rate * seconds)
    for number in range(total):
        due = began + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(request(due, int(rng.integers(USERS))))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    return np.array(spent), failed + total - len(spent)


def as_text(loads: Sequence[Load]) -> str:
    """Return the figures of loads as text."""
    return "; ".join(f"p50 {load.p50:.2f}, p99 {load.p99:.2f} ms, {load.rate:,.0f}/s" for load in loads)
