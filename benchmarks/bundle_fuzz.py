"""Bundles changed at random, with right checksums, loaded, which then recommend: crashes, hangs, connections."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from benchmarks.rows import Row
from benchmarks.served import dataset
from pasand import bundle, bundle_files, recipe
from pasand.data.dataset import Dataset
from pasand.types import Array

MEASURES = ("bundle.py", "bundle_files.py", "index", "mapped.py", "models", "recipe.py", "recommender.py", "stages")
BUNDLES, ITEMS, EVENTS, PROCESSES = 10_000, 300, 4_000, 2
SECONDS = 60
"""Time of one bundle after which it counts as hanging."""
MEMORY = 12 << 30
"""Bytes of addresses of a child, so that absurd sizes end as errors."""
USERS = 20

HEAD = """
[als]
class = "pasand.models.classical.ials:IALS"
dimensions = 8
epochs = 1

[item_knn]
class = "pasand.models.classical.item_knn:ItemKNN"

[user_knn]
class = "pasand.models.classical.user_knn:UserKNN"

[ease]
class = "pasand.models.classical.ease:EASE"

[popular]
class = "pasand.models.classical.popularity:Popularity"

[boosted]
class = "pasand.stages.boosting:Boosted"
models = ["@item_knn", "@user_knn", "@ease"]
trees = 20

[index]
class = "pasand.index.{index}"

[from_index]
class = "pasand.stages.retrieval:FromIndex"
model = "@als"
index = "@index"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_index", "@from_popular"]

[rank]
class = "pasand.stages.ranking:Rank"
model = "@boosted"
"""
RECOMMENDER = """
[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
stages = ["@rank"]
"""
SINGLE = """
[model]
class = "pasand.models.{model}"
{options}

[from_model]
class = "pasand.stages.retrieval:FromModel"
model = "@model"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@from_model"
"""
ONE_EPOCH = "epochs = 1\npatience = 0"
POSTERIOR = "epochs = 3\nburn_in = 1\ndimensions = 3"
MODELS = {
    "classical.content:Content": "",
    "rankers.youtube_ranking:YouTubeRanking": f'{ONE_EPOCH}\nobjective = "clicked"\nlayers = [8]\nexamples = 2000',
    "ratings.bayesian_fm:BayesianFM": POSTERIOR,
    "ratings.bayesian_mf:BayesianMF": POSTERIOR,
    "ratings.biased_mf:BiasedMF": "epochs = 2\ndimensions = 3",
    "towers.sasrec:SASRec": ONE_EPOCH,
    "towers.two_tower:TwoTower": ONE_EPOCH,
}
RECIPES = {
    "hnsw": HEAD.format(index="hnsw:HNSW") + RECOMMENDER,
    "exact": HEAD.format(index="exact:Exact") + RECOMMENDER,
    **{name.rpartition(":")[2]: SINGLE.format(model=name, options=options) for name, options in MODELS.items()},
}
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 1 << 16, 1 << 20, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))


def changed(source: Path, target: Path, rng: random.Random, port: int) -> None:
    """Copy a bundle with one to three random changes, and with right checksums."""
    shutil.copytree(source, target)
    manifest = json.loads((target / bundle_files.MANIFEST).read_bytes())
    names = [*sorted(manifest["files"]), "manifest"]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(names)
        if name == "manifest":
            _change_json(manifest, rng)
            continue
        try:
            entry = manifest["files"][name]
            file = target / entry["file"]
            content = _change(name, file.read_bytes(), rng, port)
            file.write_bytes(content)
            entry["sha256"] = hashlib.sha256(content).hexdigest()
            if name == "recipe.toml":
                manifest["recipe"] = entry["sha256"]
        except (
            KeyError,
            TypeError,
            OSError,
            ValueError,
            SafetensorError,
        ):  # an earlier change of the manifest is in the way
            continue
    manifest[bundle_files.CHECKSUM] = bundle_files.manifest_checksum(manifest)
    (target / bundle_files.MANIFEST).write_text(json.dumps(manifest))


def _change(name: str, content: bytes, rng: random.Random, port: int) -> bytes:
    if name.endswith(".safetensors") and rng.random() < 0.8:
        return _change_arrays(content, rng)
    if name.endswith(".index") and rng.random() < 0.3:
        length = int.from_bytes(content[-16:-8], "little")
        metadata = _change_arrays(content[-16 - length : -16], rng)
        return content[: -16 - length] + metadata + len(metadata).to_bytes(8, "little") + content[-8:]
    if name == "recipe.toml" and rng.random() < 0.5:
        return _change_recipe(content.decode(), rng, port).encode()
    if name == "data.json" and rng.random() < 0.7:
        about = json.loads(content)
        _change_json(about, rng)
        return json.dumps(about).encode()
    return _change_bytes(content, rng, fixed=24 if name.endswith(".index") else 0)


def _change_bytes(content: bytes, rng: random.Random, fixed: int) -> bytes:
    """Return bytes of equal length with some replaced; the last `fixed` ones stay."""
    found = bytearray(content)
    last = max(1, len(found) - fixed)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(min(last, 400)) if rng.random() < 0.4 else rng.randrange(last)
        width = rng.choice((1, 4, 8))
        number = rng.choice(NUMBERS) if rng.random() < 0.7 else rng.getrandbits(63)
        found[at : at + width] = (number & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return bytes(found[: len(content)])


def _change_arrays(content: bytes, rng: random.Random) -> bytes:
    arrays: dict[str, Array] = {name: values.copy() for name, values in load(content).items()}
    name = rng.choice(sorted(arrays))
    values = arrays[name]
    kind = rng.randrange(7)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = values[: rng.randrange(len(values) + 1)] if values.ndim else values.reshape(1)
    elif kind == 2:
        arrays[name] = values.reshape(-1) if values.ndim != 1 else values[:, None]
    elif kind == 3:
        with np.errstate(all="ignore"):
            arrays[name] = values.astype(rng.choice((np.int8, np.int32, np.int64, np.float32, np.float64, np.uint8)))
    elif kind == 4:
        arrays[name] = np.concatenate([values, values]) if values.ndim else values
    elif values.size:
        flat = values.reshape(-1)
        for _ in range(rng.choice((1, 2, 10))):
            flat[rng.randrange(len(flat))] = _number(values.dtype, rng)
        arrays[name] = flat.reshape(values.shape)
    return bytes(save(arrays or {"": np.zeros(0, np.uint8)}))


def _number(kind: np.dtype[Any], rng: random.Random) -> Any:
    if kind.kind == "f":
        return rng.choice((0.0, -1.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 0.5))
    if kind.kind == "b":
        return rng.random() < 0.5
    limits = np.iinfo(kind)
    return min(max(rng.choice(NUMBERS), int(limits.min)), int(limits.max))


def _change_json(found: dict[str, Any], rng: random.Random) -> None:
    """Change a value somewhere in nested objects and lists."""
    at: Any = found
    while True:
        keys = sorted(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
            at = at[key]
            continue
        other = rng.choice((None, True, -1, 1 << 70, 1.5, "", "x", "../x", [], {}, ["a"], {"a": 1}))
        at[key] = other
        return


def _change_recipe(text: str, rng: random.Random, port: int) -> str:
    uri = f"http://127.0.0.1:{port}"
    milvus = f'class = "pasand.index.milvus:Milvus"\nuri = "{uri}"'
    lines = text.splitlines()
    number = rng.randrange(len(lines))
    choices: list[Callable[[], str]] = [
        lambda: text.replace('class = "pasand.index.hnsw:HNSW"', milvus).replace(
            'class = "pasand.index.exact:Exact"', milvus
        ),
        lambda: f"{text}\n[more]\n{milvus}\n",
        lambda: text.replace("hnsw:HNSW", "exact:Exact"),
        lambda: text.replace("exact:Exact", "ivf_pq:IVF"),
        lambda: "\n".join(lines[:number] + lines[number + 1 :]),
        lambda: text.replace("= 8", f"= {rng.choice(NUMBERS)}").replace("= 1\n", f"= {rng.choice(NUMBERS)}\n"),
        lambda: text.replace("item_knn:ItemKNN", "user_knn:UserKNN"),
    ]
    return rng.choice(choices)()


def child(sources: Path, begin: int, end: int, step: int, port: int) -> None:
    """Change, load and use the bundles of some numbers; print each number before, and its outcome afterwards."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    connections: list[str] = []
    sys.addaudithook(
        lambda event, arguments: connections.append(str(arguments[1])) if event == "socket.connect" else None
    )
    folders = sorted(sources.iterdir())
    for number in range(begin, end, step):
        print(f"begin {number}", flush=True)
        rng = random.Random(number)
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "bundle"
            changed(rng.choice(folders), folder, rng, port)
            outcome = _use(folder)
        print(f"end {number} {len(connections)} {outcome}", flush=True)
        connections.clear()


def _use(folder: Path) -> str:
    try:
        loaded = bundle.read(folder)
    except ValueError as error:
        return f"refused {error!r}"[:300].replace("\n", " ")
    try:
        users = np.arange(-1, USERS, dtype=np.int32)
        with np.errstate(all="ignore"):
            loaded.assembly.recommender(loaded.data.queries(users, k=10))
    except Exception as error:
        return f"failed {error!r}"[:300].replace("\n", " ")
    return "recommends"


def _rated() -> Dataset:
    """Return a small log with ratings and with features of items."""
    data = dataset(ITEMS).select(slice(EVENTS))
    value = np.random.default_rng(0).integers(1, 6, len(data)).astype(np.float32)
    return replace(data, value=value, values="rating", positive_from=3.0)


class _Child:
    """A child process over every `step`-th number, started again behind a bundle that ends or stops it."""

    def __init__(self, sources: Path, begin: int, end: int, step: int, port: int) -> None:
        self.sources, self.end, self.step, self.port = sources, end, step, port
        self.at = begin
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        call = "import sys; from pathlib import Path; from benchmarks.bundle_fuzz import child; " + (
            "child(Path(sys.argv[1]), *map(int, sys.argv[2:]))"
        )
        numbers = [str(value) for value in (self.at, self.end, self.step, self.port)]
        environment = {name: value for name, value in os.environ.items() if name != "PASAND_ALLOW_NETWORK"}
        return subprocess.Popen(
            [sys.executable, "-c", call, str(self.sources), *numbers],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # select sees all that was written
            env={**environment, "PASAND_MILVUS_TOKEN": "secret", "OMP_NUM_THREADS": "1"},
        )


def run(bundles: int = BUNDLES) -> list[Row]:
    """Use bundles changed at random in child processes."""
    counts = {"crashes": 0, "hangs": 0, "connections": 0, "refused": 0, "failed": 0, "recommends": 0}
    with tempfile.TemporaryDirectory() as parent, socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        sources, port = Path(parent), listening.getsockname()[1]
        data = _rated()
        for name, text in RECIPES.items():
            bundle.write(sources / name, recipe.build(text).fit(data, seed=0), data, seed=0)
        children = [_Child(sources, number, bundles, PROCESSES, port) for number in range(PROCESSES)]
        while children:
            for one in list(children):
                if not _advance(one, counts):
                    children.remove(one)
        listening.setblocking(False)
        while True:
            try:
                listening.accept()[0].close()
                counts["connections"] += 1
            except BlockingIOError:
                break
    detail = (
        f"{bundles:,} bundles: {counts['refused']:,} refused, {counts['failed']:,} fail, "
        f"{counts['recommends']:,} recommend"
    )
    return [
        Row(
            target="crashes of the process",
            value=counts["crashes"],
            limit=0,
            better="lower",
            comparable=True,
            detail=detail,
        ),
        Row(
            target="hangs",
            value=counts["hangs"],
            limit=0,
            better="lower",
            comparable=True,
            detail=f"longer than {SECONDS} s",
        ),
        Row(target="connections made", value=counts["connections"], limit=0, better="lower", comparable=True),
    ]


def _advance(one: _Child, counts: dict[str, int]) -> bool:
    """Read the next line of a child; restart it behind a bundle that ends or stops it. Return whether it goes on."""
    assert one.process.stdout is not None
    ready, _, _ = select.select([one.process.stdout], [], [], SECONDS)
    line = one.process.stdout.readline().decode(errors="replace") if ready else ""
    words = line.split()
    if words[:1] == ["begin"]:
        one.at = int(words[1])
        return True
    if words[:1] == ["end"]:
        counts["connections"] += int(words[2])
        counts[words[3]] += 1
        return True
    if line:
        return True  # printed by a library
    if ready and one.process.wait() == 0:
        return False
    kind = "crashes" if ready else "hangs"
    counts[kind] += 1
    print(f"{kind}: bundle {one.at}, exit code {one.process.poll()}", file=sys.stderr, flush=True)
    one.process.kill()
    one.process.wait()
    one.at += one.step
    if one.at >= one.end:
        return False
    one.process = one._start()
    return True
