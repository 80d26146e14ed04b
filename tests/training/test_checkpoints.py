"""Checkpoints come back as they were written, or say why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.models.towers.bpr_mf import BPRMF
from pasand.training import checkpoints
from pasand.training.checkpoints import Checkpoint, keeping
from pasand.types import Array
from tests.models.test_contract import clusters

ARRAYS: dict[str, Array] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "empty": np.zeros((0, 3), np.int64),
    "one": np.array(7.0),
    "state": np.arange(5, dtype=np.uint8),
}


def written(folder: Path, about: str = "this") -> Checkpoint:
    checkpoint = Checkpoint(folder / "x.checkpoint", {"model": about, "rate": 0.1})
    checkpoint.write(ARRAYS, {"done": 3, "curve": [0.1, 1 / 3]})
    return checkpoint


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "deep" / "x.checkpoint", {"rate": 0.1})
    assert checkpoint.read() is None
    checkpoint.write({}, {})
    checkpoint.write(ARRAYS, {"done": 3, "curve": [0.1, 1 / 3]})
    found = checkpoint.read()
    assert found is not None
    arrays, numbers = found
    assert numbers == {"done": 3, "curve": [0.1, 1 / 3]}
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert [file.name for file in checkpoint.path.parent.iterdir()] == ["x.checkpoint"]


@pytest.mark.parametrize("length", [0, 5, 40, -1, -20])
def test_a_file_cut_short_is_refused(length: int, tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"cut short or damaged.*Cure: remove its folder to train anew"):
        checkpoint.read()


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    content = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="damaged: its sha256 differs"):
        checkpoint.read()
    checkpoint.path.write_bytes(content.replace(b'\\"done\\": 3', b'\\"done\\": 4'))
    with pytest.raises(InputError, match="damaged: its sha256 differs"):
        checkpoint.read()


def test_another_training_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = written(tmp_path).path
    with pytest.raises(InputError, match=r"another training: model was this, is that; rate was 0\.1, is nothing"):
        Checkpoint(path, {"model": "that"}).read()


def test_no_room_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Checkpoint(tmp_path / "file" / "x.checkpoint", {}).write(ARRAYS, {})


def test_trainings_are_numbered_inside_keeping_and_not_kept_outside(tmp_path: Path) -> None:
    assert checkpoints.checkpoint("a", {}) is None
    with keeping(tmp_path):
        names = [checkpoint.path.name for name in "ab" if (checkpoint := checkpoints.checkpoint(name, {}))]
        with keeping(None):
            assert checkpoints.checkpoint("c", {}) is None
    assert names == ["01-a.checkpoint", "02-b.checkpoint"]
    assert checkpoints.checkpoint("a", {}) is None
    assert not any(tmp_path.iterdir())


def test_settings_that_json_cannot_hold_are_compared_as_words(tmp_path: Path) -> None:
    with keeping(tmp_path):
        first = checkpoints.checkpoint("a", {"layers": (1, 2), "place": Path("x")})
    assert first is not None
    first.write({}, {})
    with keeping(tmp_path):
        second = checkpoints.checkpoint("a", {"layers": (1, 2), "place": Path("x")})
    assert second is not None
    assert second.read() == ({}, {})


def test_folders_are_begun_discarded_and_left_alone_where_they_are_not_ours(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert not checkpoints.begun(folder)
    checkpoints.discard(folder)
    written(folder)
    assert checkpoints.begun(folder)
    (folder / "y.checkpoint.part").write_text("")
    checkpoints.discard(folder)
    assert not folder.exists()
    written(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something else is there"):
        checkpoints.begun(folder)
    checkpoints.discard(folder)
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="something else is there"):
        checkpoints.begun(folder / "notes.txt")


def test_a_fit_keeps_its_trainings_and_refuses_those_of_another(tmp_path: Path) -> None:
    data = clusters()[0]
    with keeping(tmp_path):
        first = BPRMF(epochs=2, batch_size=512).fit(data, rng=np.random.default_rng(1))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["01-bprmf.checkpoint", "02-bprmf.checkpoint"]
    with keeping(tmp_path):
        again = BPRMF(epochs=2, batch_size=512).fit(data, rng=np.random.default_rng(1))
    for name, array in first.state().items():
        np.testing.assert_array_equal(again.state()[name], array)
    for model, seed, told in (
        (BPRMF(epochs=2, batch_size=512, learning_rate=0.5), 1, "learning_rate was 0.01, is 0.5"),
        (BPRMF(epochs=2, batch_size=512), 2, "seed was"),
    ):
        with keeping(tmp_path), pytest.raises(InputError, match=f"another training: {told}"):
            model.fit(data, rng=np.random.default_rng(seed))
    with keeping(tmp_path), pytest.raises(InputError, match="data was"):
        BPRMF(epochs=2, batch_size=512).fit(data.select(slice(0, 900)), rng=np.random.default_rng(1))


def test_a_bundle_has_its_folder_beside_it() -> None:
    assert checkpoints.beside("/somewhere/films/") == Path("/somewhere/films.training")
    assert checkpoints.beside(".").parent == Path.cwd().parent


def test_importing_needs_no_torch() -> None:
    code = "import sys, pasand.training.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
