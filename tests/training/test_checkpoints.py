"""Checkpoints are read back as written, and damaged or foreign ones are refused with the reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.models.towers.bpr_mf import BPRMF
from pasand.training import checkpoints
from pasand.training.checkpoints import Checkpoint, saving_to
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
    checkpoint.write(ARRAYS, {"epochs": 3, "curve": [0.1, 1 / 3]})
    return checkpoint


def test_a_checkpoint_is_read_back_as_written(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "deep" / "x.checkpoint", {"rate": 0.1})
    assert checkpoint.read() is None
    checkpoint.write({}, {})
    checkpoint.write(ARRAYS, {"epochs": 3, "curve": [0.1, 1 / 3]})
    found = checkpoint.read()
    assert found is not None
    arrays, numbers = found
    assert numbers == {"epochs": 3, "curve": [0.1, 1 / 3]}
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert [file.name for file in checkpoint.path.parent.iterdir()] == ["x.checkpoint"]


@pytest.mark.parametrize("length", [0, 5, 40, -1, -20])
def test_a_file_cut_short_is_refused(length: int, tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"incomplete or damaged.*Cure: remove its folder to train from scratch"):
        checkpoint.read()


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    content = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="damaged: its sha256 differs"):
        checkpoint.read()
    checkpoint.path.write_bytes(content.replace(b'\\"epochs\\": 3', b'\\"epochs\\": 4'))
    with pytest.raises(InputError, match="damaged: its sha256 differs"):
        checkpoint.read()


def test_another_training_is_refused_and_the_differences_are_named(tmp_path: Path) -> None:
    path = written(tmp_path).path
    with pytest.raises(InputError, match=r"another training: model was this, is that; rate was 0\.1, is absent"):
        Checkpoint(path, {"model": "that"}).read()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Checkpoint(tmp_path / "file" / "x.checkpoint", {}).write(ARRAYS, {})


def test_trainings_are_numbered_inside_saving_to_and_not_saved_outside(tmp_path: Path) -> None:
    assert checkpoints.checkpoint("a", {}) is None
    with saving_to(tmp_path):
        names = [checkpoint.path.name for name in "ab" if (checkpoint := checkpoints.checkpoint(name, {}))]
        with saving_to(None):
            assert checkpoints.checkpoint("c", {}) is None
    assert names == ["01-a.checkpoint", "02-b.checkpoint"]
    assert checkpoints.checkpoint("a", {}) is None
    assert not any(tmp_path.iterdir())


def test_settings_that_json_cannot_represent_are_compared_as_text(tmp_path: Path) -> None:
    with saving_to(tmp_path):
        first = checkpoints.checkpoint("a", {"layers": (1, 2), "path": Path("x")})
    assert first is not None
    first.write({}, {})
    with saving_to(tmp_path):
        second = checkpoints.checkpoint("a", {"layers": (1, 2), "path": Path("x")})
    assert second is not None
    assert second.read() == ({}, {})


def test_folders_are_found_resumable_discarded_and_left_alone_with_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    assert not checkpoints.resumable(folder)
    checkpoints.discard(folder)
    written(folder)
    assert checkpoints.resumable(folder)
    (folder / "y.checkpoint.part").write_text("")
    checkpoints.discard(folder)
    assert not folder.exists()
    written(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        checkpoints.resumable(folder)
    checkpoints.discard(folder)
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="holds other files"):
        checkpoints.resumable(folder / "notes.txt")


def test_a_fit_saves_its_trainings_and_refuses_those_of_another(tmp_path: Path) -> None:
    data = clusters()[0]
    with saving_to(tmp_path):
        first = BPRMF(epochs=2, batch_size=512).fit(data, rng=np.random.default_rng(1))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["01-bprmf.checkpoint", "02-bprmf.checkpoint"]
    with saving_to(tmp_path):
        again = BPRMF(epochs=2, batch_size=512).fit(data, rng=np.random.default_rng(1))
    for name, array in first.state().items():
        np.testing.assert_array_equal(again.state()[name], array)
    for model, seed, difference in (
        (BPRMF(epochs=2, batch_size=512, learning_rate=0.5), 1, "learning_rate was 0.01, is 0.5"),
        (BPRMF(epochs=2, batch_size=512), 2, "seed was"),
    ):
        with saving_to(tmp_path), pytest.raises(InputError, match=f"another training: {difference}"):
            model.fit(data, rng=np.random.default_rng(seed))
    with saving_to(tmp_path), pytest.raises(InputError, match="data was"):
        BPRMF(epochs=2, batch_size=512).fit(data.select(slice(0, 900)), rng=np.random.default_rng(1))


def test_the_folder_of_checkpoints_is_next_to_the_bundle() -> None:
    assert checkpoints.folder_of("/somewhere/films/") == Path("/somewhere/films.training")
    assert checkpoints.folder_of(".").parent == Path.cwd().parent


def test_importing_needs_no_torch() -> None:
    code = "import sys, pasand.training.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
