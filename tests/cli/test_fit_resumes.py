"""pasand fit resumes an interrupted training, and removes its checkpoints once the bundle is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand import bundle, recipe
from pasand.cli import main
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.sources import load
from pasand.training import loop
from pasand.training.checkpoints import Checkpoint
from pasand.types import Arrays
from tests.models.test_contract import clusters

RECIPE = """
[bpr]
class = "pasand.models.towers.bpr_mf:BPRMF"
epochs = 3
batch_size = {batch_size}

[retriever]
class = "pasand.stages.retrieval:FromModel"
model = "@bpr"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@retriever"
"""


def fit(folder: Path, out: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main.run(["fit", str(folder / "log.csv"), "--recipe", str(folder / "bpr.toml"), "--out", str(folder / out)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_an_interrupted_fit_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    data = clusters()[0]
    rows = [f"u{u},i{i},5,{t}\n" for u, i, t in zip(data.user, data.item, data.time, strict=True)]
    (tmp_path / "log.csv").write_text("user,item,rating,timestamp\n" + "".join(rows))
    (tmp_path / "bpr.toml").write_text(RECIPE.format(batch_size=256))
    log = load(tmp_path / "log.csv")
    undisturbed = recipe.read(tmp_path / "bpr.toml").fit(log, seed=0).fitted["bpr"].state()
    write = Checkpoint.write

    def interrupting(self: Checkpoint, arrays: Arrays, numbers: Mapping[str, Any]) -> None:
        write(self, arrays, numbers)
        if self.path.name.startswith("02"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "write", interrupting)
        assert fit(tmp_path, "out") == 130
    kept = tmp_path / "out.training"
    assert sorted(file.name for file in kept.iterdir()) == ["01-bprmf.checkpoint", "02-bprmf.checkpoint"]
    assert not (tmp_path / "out").exists()

    (tmp_path / "bpr.toml").write_text(RECIPE.format(batch_size=128))
    capsys.readouterr()
    assert fit(tmp_path, "out") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "checkpoint of another training: batch_size was 256, is 128" in error

    (tmp_path / "bpr.toml").write_text(RECIPE.format(batch_size=256))
    assert fit(tmp_path, "out") == 0
    assert "resuming training from" in capsys.readouterr().err
    assert not kept.exists()
    resumed = bundle.read(tmp_path / "out").assembly.fitted["bpr"].state()
    for name, array in undisturbed.items():
        np.testing.assert_array_equal(resumed[name], array)


CLASSICAL = """
[ease]
class = "pasand.models.classical.ease:EASE"

[mf]
class = "pasand.models.classical.ials:IALS"
dimensions = 4

[retriever]
class = "pasand.stages.retrieval:FromModel"
model = "@ease"

[more]
class = "pasand.stages.retrieval:FromModel"
model = "@mf"

[both]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@retriever", "@more"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@both"
"""


def test_components_that_are_not_trained_in_epochs_are_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "KEPT_SECONDS", 0.0)
    data = clusters()[0]
    rows = [f"u{u},i{i},5,{t}\n" for u, i, t in zip(data.user, data.item, data.time, strict=True)]
    (tmp_path / "log.csv").write_text("user,item,rating,timestamp\n" + "".join(rows))
    (tmp_path / "bpr.toml").write_text(CLASSICAL)
    assert fit(tmp_path, "undisturbed") == 0

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(IALS, "fit", interrupted)
        assert fit(tmp_path, "out") == 130
    kept = tmp_path / "out.training"
    assert [file.name for file in kept.iterdir()] == ["01-ease.checkpoint"]
    with monkeypatch.context() as patched:
        patched.setattr(EASE, "fit", interrupted)
        assert fit(tmp_path, "out") == 0
    assert not kept.exists()
    before, after = bundle.read(tmp_path / "undisturbed"), bundle.read(tmp_path / "out")
    assert before.digest == after.digest
