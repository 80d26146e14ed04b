"""Bundles: loading restores every bit, changed or foreign files are refused, and saves are atomic."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle, bundle_files, recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.types import Candidates
from tests.bundles import rewrite, rewrite_manifest
from tests.logs import tastes


def saved(path: Path, seed: int = 0) -> Dataset:
    data = tastes()
    bundle.write(path, recipe.read("classic").fit(data, seed=seed), data, seed=seed)
    return data


def recommendations(loaded: bundle.Bundle) -> Candidates:
    return loaded.assembly.recommender(loaded.data.queries(np.arange(-1, 20, dtype=np.int32), k=7))


def test_a_loaded_bundle_recommends_the_same_bit_for_bit(tmp_path: Path) -> None:
    data = tastes()
    assembly = recipe.read("classic").fit(data, seed=0)
    bundle.write(tmp_path / "b", assembly, data, seed=0)
    loaded = bundle.read(tmp_path / "b")
    before = assembly.recommender(data.queries(np.arange(-1, 20, dtype=np.int32), k=7))
    assert np.array_equal(recommendations(loaded).items, before.items)
    assert np.array_equal(recommendations(loaded).scores, before.scores)
    assert loaded.data.fingerprint == data.fingerprint == loaded.manifest["data"]["fingerprint"]
    assert loaded.data.item_features["title"].show(3) == data.item_features["title"].show(3)
    assert loaded.data.item_features["group"].names == ("a", "b", "c")


def test_a_changed_byte_in_any_file_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "b")
    for file in sorted((tmp_path / "b").iterdir()):
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(InputError):
            bundle.read(tmp_path / "b")
        file.write_bytes(content)
    bundle.read(tmp_path / "b")


@pytest.mark.parametrize("version", [1, 3, 99])
def test_another_format_is_refused_with_the_command_that_rebuilds_the_bundle(tmp_path: Path, version: int) -> None:
    path = tmp_path / "b"
    saved(path)
    manifest = path / bundle_files.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": version}))
    with pytest.raises(InputError) as error:
        bundle.read(path)
    assert f"a bundle of format {version}, and this release of pasand reads format 4 only" in str(error.value)
    assert f"pasand fit LOG --recipe RECIPE --out {path}" in str(error.value)
    assert (f"a release of pasand that reads format {version}" in str(error.value)) == (version > bundle.FORMAT)


def test_a_class_outside_pasand_is_refused_even_with_the_right_checksums(tmp_path: Path) -> None:
    saved(tmp_path / "b")
    rewrite(tmp_path / "b", "recipe.toml", lambda content: content + b'\n[evil]\nclass = "os:system"\n')
    with pytest.raises(InputError, match="only classes of pasand"):
        bundle.read(tmp_path / "b")


def test_a_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "b")
    elsewhere = {"file": "../../etc/passwd"}
    rewrite_manifest(tmp_path / "b", lambda manifest: manifest["files"]["recipe.toml"].update(elsewhere))
    with pytest.raises(InputError, match="own folder"):
        bundle.read(tmp_path / "b")


@pytest.mark.parametrize("what", ["nothing", "empty", "file", "folder"])
def test_folders_that_are_not_bundles_are_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "b"
    if what == "file":
        path.write_text("hello")
    elif what != "nothing":
        path.mkdir()
        if what == "folder":
            (path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not a bundle"):
        bundle.read(path)


def test_other_folders_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not a bundle"):
        saved(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


SAVER = """
import sys
from pathlib import Path
from pasand import bundle, bundle_files, recipe
from tests.logs import tastes
data = tastes()
assemblies = [recipe.read("classic").fit(data, seed=seed) for seed in (0, 1)]
print("ready", flush=True)
for turn in range(100000):
    bundle.write(Path(sys.argv[1]), assemblies[turn % 2], data, seed=turn % 2)
"""


def test_a_killed_save_leaves_a_complete_bundle(tmp_path: Path) -> None:
    path = tmp_path / "b"
    saved(path)
    chance = random.Random(0)
    with subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE) as saver:
        assert saver.stdout is not None
        saver.stdout.readline()
        for _ in range(8):
            time.sleep(chance.uniform(0.0, 0.05))
            saver.send_signal(signal.SIGSTOP)
            assert bundle.read(path).manifest["seed"] in (0, 1)
            saver.send_signal(signal.SIGCONT)
        time.sleep(chance.uniform(0.0, 0.05))
        saver.kill()
    assert bundle.read(path).manifest["seed"] in (0, 1)
    saved(path)
    assert not list(path.glob("*.part"))


FULL = """
import resource, signal, sys
from tests.test_bundle import saved
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
saved(Path(sys.argv[1]), seed=5)
"""


def test_a_full_disk_leaves_the_old_bundle(tmp_path: Path) -> None:
    path = tmp_path / "b"
    saved(path)
    before = sorted(file.name for file in path.iterdir())
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True)
    assert "cannot be written" in done.stderr
    assert sorted(file.name for file in path.iterdir()) == before
    assert bundle.read(path).manifest["seed"] == 0


def test_an_interrupted_first_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.metadata.version", stopped)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path / "b")
    assert not (tmp_path / "b").exists()


DEEP = """
[tower]
class = "pasand.models.towers.two_tower:TwoTower"
epochs = 2
patience = 0
batch_size = 64

[popular]
class = "pasand.models.classical.popularity:Popularity"

[exact]
class = "pasand.index.exact:Exact"

[from_tower]
class = "pasand.stages.retrieval:FromIndex"
model = "@tower"
index = "@exact"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_tower", "@from_popular"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""

LOAD_AND_RECOMMEND = """
import sys
from pathlib import Path
blocked = sys.argv[2].split(",")
for name in blocked:
    sys.modules[name] = None
import numpy as np
from pasand import bundle
loaded = bundle.read(Path(sys.argv[1]))
found = loaded.assembly.recommender(loaded.data.queries(np.arange(-1, 20, dtype=np.int32), k=7))
assert "torch" in blocked or "torch" in sys.modules
print(found.items.tolist())
"""


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Candidates]:
    """Return a bundle of a deep model, and its recommendations before it was saved."""
    path, data = tmp_path_factory.mktemp("deep") / "b", tastes()
    assembly = recipe.build(DEEP).fit(data, seed=0)
    bundle.write(path, assembly, data, seed=0)
    return path, assembly.recommender(data.queries(np.arange(-1, 20, dtype=np.int32), k=7))


@pytest.mark.parametrize("blocked", ["torch,onnx,onnxscript", "onnxruntime"])
def test_a_deep_bundle_recommends_without_torch_and_without_onnxruntime(
    deep: tuple[Path, Candidates], blocked: str
) -> None:
    path, before = deep
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_RECOMMEND, str(path), blocked], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == before.items.tolist()


def test_a_deep_bundle_with_neither_names_what_to_install(deep: tuple[Path, Candidates]) -> None:
    call = [sys.executable, "-c", LOAD_AND_RECOMMEND, str(deep[0]), "torch,onnxruntime"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert "InputError" in done.stderr
    assert "pip install 'pasand[serve]'" in done.stderr


def test_a_deep_bundle_is_the_same_saved_again(deep: tuple[Path, Candidates], tmp_path: Path) -> None:
    """Its graphs are copied, not exported again."""
    loaded = bundle.read(deep[0])
    bundle.write(tmp_path / "b", loaded.assembly, loaded.data, seed=0)
    again = json.loads((tmp_path / "b" / bundle_files.MANIFEST).read_text())["files"]
    assert again == loaded.manifest["files"]
    assert {"tower.query.onnx", "tower.item.onnx", "from_tower.index"} <= set(again)


def test_a_changed_byte_in_a_graph_or_an_index_is_refused(deep: tuple[Path, Candidates]) -> None:
    for file in [*deep[0].glob("*.onnx"), *deep[0].glob("*.index")]:
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match="changed since it was saved"):
            bundle.read(deep[0])
        file.write_bytes(content)
    assert len(list(deep[0].glob("*.onnx"))) == 2
    assert len(list(deep[0].glob("*.index"))) == 1


def test_files_of_an_older_save_are_removed(deep: tuple[Path, Candidates], tmp_path: Path) -> None:
    loaded = bundle.read(deep[0])
    bundle.write(tmp_path / "b", loaded.assembly, loaded.data, seed=0)
    saved(tmp_path / "b")
    assert {file.suffix for file in (tmp_path / "b").iterdir()} == {".json", ".toml", ".safetensors"}


def test_added_items_are_part_of_a_saved_bundle(deep: tuple[Path, Candidates], tmp_path: Path) -> None:
    group = Feature(kind="categorical", values=np.array([0, 1], np.int32), names=("b", "a"))
    loaded = bundle.read(deep[0]).add_items(["z first", "a second"], {"group": group})
    bundle.write(tmp_path / "b", loaded.assembly, loaded.data, seed=0)
    again = bundle.read(tmp_path / "b")
    assert again.data.items.rows(["z first", "a second"]).tolist() == [30, 31]
    assert again.data.item_features["group"].show(30) == "b"
    assert again.data.fingerprint == loaded.data.fingerprint != bundle.read(deep[0]).data.fingerprint
    before, after = recommendations(loaded), recommendations(again)
    assert np.array_equal(after.items, before.items)
    assert np.array_equal(after.scores, before.scores)
    assert {30, 31} & set(after.items.ravel().tolist())


def test_a_killed_first_save_can_be_repeated(tmp_path: Path) -> None:
    saved(tmp_path / "b")
    (tmp_path / "b" / bundle_files.MANIFEST).unlink()
    saved(tmp_path / "b")
    assert bundle.read(tmp_path / "b").manifest["seed"] == 0
