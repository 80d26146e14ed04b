"""Bundles of strangers, with right checksums: what does not fit is refused, and nothing crashes, hangs or connects."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from pasand import bundle, bundle_files, recipe
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.index.hnsw import HNSW
from pasand.recipe import ALLOW_NETWORK
from pasand.training.onnx_external import external_tensors
from pasand.training.onnx_graphs import Graphs
from pasand.types import Array
from tests.bundles import rewrite, rewrite_arrays, rewrite_manifest
from tests.logs import tastes

RECIPE = """
[als]
class = "pasand.models.classical.ials:IALS"
dimensions = 4
epochs = 2

[graph]
class = "pasand.index.hnsw:HNSW"

[from_als]
class = "pasand.stages.retrieval:FromIndex"
model = "@als"
index = "@graph"

[knn]
class = "pasand.models.classical.item_knn:ItemKNN"

[from_knn]
class = "pasand.stages.retrieval:FromModel"
model = "@knn"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_als", "@from_knn"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, data = tmp_path_factory.mktemp("sound") / "b", tastes()
    tags = Feature(kind="bag", values=np.array([[0, 1]] * data.n_items, np.int32), names=("x", "y"))
    data = replace(data, item_features={**data.item_features, "tags": tags})
    bundle.write(path, recipe.build(RECIPE).fit(data, seed=0), data, seed=0)
    return path


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "b")
    return tmp_path / "b"


def put(name: str, at: Any, value: Any, arrays: dict[str, Array]) -> None:
    arrays[name][at] = value


def replaced(name: str, values: Callable[[Array], Array], arrays: dict[str, Array]) -> None:
    arrays[name] = values(arrays[name])


@pytest.mark.parametrize(
    ("file", "change", "cause"),
    [
        ("data.safetensors", partial(put, "user", 0, 60), "user must be from 0 to 59, and one is 60"),
        ("data.safetensors", partial(put, "item", 3, -1), "item must be from 0 to 29, and one is -1"),
        ("data.safetensors", partial(put, "users.ends", -1, 10**12), "ends of texts"),
        ("data.safetensors", partial(put, "items.ends", 2, 0), "must rise"),
        ("data.safetensors", partial(put, "item_features.group", 0, 3), "group must be from -1 to 2"),
        ("data.safetensors", partial(put, "item_features.tags.codes", 1, 2), "tags must be from 0 to 1, and one is 2"),
        ("data.safetensors", partial(put, "item_features.tags.codes", 0, -1), "tags must be from 0 to 1"),
        ("data.safetensors", partial(put, "item_features.tags.start", 0, 1), "must begin with 0"),
        ("data.safetensors", partial(put, "item_features.tags.start", 2, 0), "offsets of bags must rise"),
        ("data.safetensors", partial(put, "item_features.tags.start", -1, 10**12), "offsets of bags must be from 0"),
        ("data.safetensors", partial(put, "time", 0, 2**62), "time must not fall"),
        ("data.safetensors", partial(replaced, "value", lambda v: v.astype(np.float64)), "value must be float32"),
        ("knn.safetensors", partial(put, "neighbours", (0, 0), 30), "neighbours must be from -1 to 29, and one is 30"),
        ("knn.safetensors", partial(replaced, "weights", lambda v: v[:, :1]), "weights must be float32"),
        ("als.safetensors", partial(replaced, "items", lambda v: v[:, :2]), "items must be float32"),
        ("als.safetensors", partial(replaced, "known", lambda v: v[:5]), "items must be float32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(copy: Path, file: str, change: Any, cause: str) -> None:
    rewrite_arrays(copy, file, change)
    with pytest.raises(InputError, match=cause):
        bundle.read(copy)


@pytest.mark.parametrize(
    ("manifest", "cause"),
    [
        ({"files": []}, "files"),
        ({"files": {"recipe.toml": {"file": 5, "sha256": "0" * 64}}}, "sha256|file"),
        ({"files": {"recipe.toml": {"file": "a", "sha256": "../x"}}}, "sha256"),
        ({"files": {"recipe.toml": {"file": "a\0b", "sha256": "0" * 64}}}, "null"),
        ({"recipe": None}, "recipe"),
        ({"seed": "five"}, "seed"),
        ({"format": [4]}, "not a bundle"),
    ],
)
def test_a_malformed_manifest_is_refused(copy: Path, manifest: dict[str, Any], cause: str) -> None:
    rewrite_manifest(copy, lambda found: found.update(manifest))
    with pytest.raises(InputError, match=cause):
        bundle.read(copy)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"format": 4, "format": {}}']
)
def test_a_manifest_that_is_none_is_refused(copy: Path, content: bytes) -> None:
    (copy / bundle_files.MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match="not a bundle"):
        bundle.read(copy)


def test_a_change_of_the_manifest_is_noticed(copy: Path) -> None:
    file = copy / bundle_files.MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), "state_upto": 7}))
    with pytest.raises(InputError, match=r"manifest\.json changed since it was saved"):
        bundle.read(copy)


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
@pytest.mark.parametrize("name", ["manifest.json", "knn.safetensors", "from_als.index"])
def test_only_regular_files_are_read(copy: Path, name: str, kind: str) -> None:
    manifest = json.loads((copy / bundle_files.MANIFEST).read_text())
    file = copy / manifest["files"].get(name, {"file": name})["file"]
    file.rename(copy.parent / "elsewhere")
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to(copy.parent / "elsewhere")
    else:
        file.mkdir()
    with pytest.raises(InputError, match=r"not a regular file|is a link"):
        bundle.read(copy)


def damage(where: str, index: Any) -> None:
    """Change a graph in memory so that a search would leave it."""
    graph = index.hnsw
    if where == "links":
        index.hnsw.neighbors.data()
        links = faiss.vector_to_array(graph.neighbors)
        links[0] = 10**8
        faiss.copy_array_to_vector(links, graph.neighbors)
    elif where == "entry point":
        graph.entry_point = 10**8
    elif where == "highest layer":
        graph.max_level = 7
    elif where == "layers":
        levels = faiss.vector_to_array(graph.levels)
        levels[0] = 9
        faiss.copy_array_to_vector(levels, graph.levels)


@pytest.mark.parametrize("where", ["links", "entry point", "highest layer", "layers"])
def test_a_graph_that_leads_out_of_memory_is_refused(tmp_path: Path, where: str) -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    index = HNSW().build(vectors, rng=np.random.default_rng(0))
    damage(where, index._index)
    index.save(tmp_path / "graph")
    with pytest.raises(InputError, match="cannot be read as an index"):
        HNSW().load(tmp_path / "graph")


def test_the_rows_of_a_graph_are_checked(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    index = HNSW().build(vectors, rng=np.random.default_rng(0))
    index._rows[5] = -7
    index.save(tmp_path / "graph")
    with pytest.raises(InputError, match="rows must be from 0 to"):
        HNSW().load(tmp_path / "graph")


def test_a_recipe_connects_to_no_server(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_NETWORK, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        text = RECIPE.replace('hnsw:HNSW"', f'milvus:Milvus"\nuri = "{uri}"')
        rewrite(copy, "recipe.toml", lambda _: text.encode())
        with pytest.raises(InputError, match="pasand --allow-network"):
            bundle.read(copy)
        with pytest.raises(BlockingIOError):
            listening.accept()
    monkeypatch.setenv(ALLOW_NETWORK, "1")
    assert recipe.build(text).components["graph"].uri == uri


def test_a_graph_with_data_elsewhere_is_found_wherever_they_are() -> None:
    onnx = pytest.importorskip("onnx")

    def tensor(name: str, place: str) -> Any:
        made = onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], bytes(4), raw=True)
        if place:
            onnx.external_data_helper.set_external_data(made, place)
        return made

    inner = onnx.helper.make_graph([], "inner", [], [], initializer=[tensor("deep", "/etc/passwd")])
    nodes = [
        onnx.helper.make_node("If", ["c"], ["o"], then_branch=inner),
        onnx.helper.make_node("Constant", [], ["v"], value=tensor("constant", "../secret")),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [], [], initializer=[tensor("here", ""), tensor("<weight>", "state")])
    content = onnx.helper.make_model(graph).SerializeToString()
    assert external_tensors(content) == {"deep (inner)", "constant (inner)", "<weight>"}
    with pytest.raises(InputError, match=r"it reads 'constant \(inner\)', 'deep \(inner\)' from a file"):
        Graphs({"query": content}, {"weight": np.ones(1, np.float32), "deep": np.ones(1, np.float32)})
    with pytest.raises(InputError, match="not an ONNX graph"):
        Graphs({"query": b"\x3a\x7f"}, {})


def _save(path: Path, seed: int, rounds: int) -> None:
    data = tastes()
    assembly = recipe.build(RECIPE).fit(data, seed=seed)
    for _ in range(rounds):
        bundle.write(path, assembly, data, seed=seed)


def test_saves_at_the_same_time_leave_the_bundle_whole(tmp_path: Path) -> None:
    path = tmp_path / "b"
    _save(path, 0, 1)
    context = multiprocessing.get_context("forkserver")
    savers = [context.Process(target=_save, args=(path, seed, 5)) for seed in (1, 2)]
    for saver in savers:
        saver.start()
    while any(saver.is_alive() for saver in savers):
        assert bundle.read(path).manifest["seed"] in (0, 1, 2)
    assert [saver.exitcode for saver in savers] == [0, 0]
    assert bundle.read(path).manifest["seed"] in (1, 2)
    assert {file.name for file in path.iterdir()} == {
        bundle_files.MANIFEST,
        *(entry["file"] for entry in bundle.read(path).manifest["files"].values()),
    }
