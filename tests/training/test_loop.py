"""The training loop: best weights, early stopping, errors, and resuming to the same bits."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pasand.errors import InputError
from pasand.models.towers.bpr_mf import BPRMF
from pasand.progress import listening
from pasand.training import checkpoints, loop, optimiser
from pasand.training.checkpoints import Checkpoint
from pasand.training.loop import Settings, train
from pasand.types import Arrays
from tests.models.test_contract import clusters

CPU = torch.device("cpu")


class Line:
    """The task of finding a slope of 2 from noisy points; dropout and noise are drawn while training."""

    def __init__(self, points: int = 64, batch_size: int = 16) -> None:
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.x = torch.linspace(-1, 1, points)[:, None]
        self.batch_size, self.n_batches = batch_size, -(-points // batch_size)

    def batches(self, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        for chosen in torch.randperm(len(self.x), generator=generator).split(self.batch_size):
            yield {"x": self.x[chosen]}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        noise = 0.1 * torch.randn(batch["x"].shape, generator=generator)
        error: Tensor = self.network(batch["x"]) - 2 * batch["x"] - noise
        return error.square().mean()


def settings(**changed: float) -> Settings:
    return Settings(**{"epochs": 6, "learning_rate": 0.05, **changed})  # type: ignore[arg-type]


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].flatten() for name in sorted(weights)])


def test_the_loss_falls_and_the_last_weights_are_returned() -> None:
    task = Line()
    trained = train(task, settings(epochs=30), seed=0, device=CPU)
    assert trained.best_epoch == 30
    assert len(trained.curves["train loss"]) == 30
    assert trained.curves["train loss"][-1] < 0.3 < trained.curves["train loss"][0]
    assert set(trained.curves) == {"train loss"}
    torch.testing.assert_close(flat(trained.weights), flat(task.network.state_dict()), rtol=0, atol=0)
    assert not task.network.training


def test_one_seed_gives_one_training() -> None:
    first, second, other = (train(Line(), settings(), seed=seed, device=CPU) for seed in (3, 3, 4))
    assert flat(first.weights).tolist() == flat(second.weights).tolist()
    assert flat(first.weights).tolist() != flat(other.weights).tolist()


def test_early_stopping_keeps_the_earliest_of_the_best() -> None:
    values, seen, task = [0.1, 0.5, 0.2, 0.5, 0.3, 0.9], [], Line()

    def validate() -> float:
        assert not task.network.training
        seen.append(flat(task.network.state_dict()))
        return values[len(seen) - 1]

    trained = train(task, settings(patience=3), seed=0, device=CPU, validate=validate)
    assert trained.best_epoch == 2
    assert trained.curves["validation ndcg@10"] == values[:5]
    assert flat(trained.weights).tolist() == seen[1].tolist()
    assert flat(task.network.state_dict()).tolist() == seen[1].tolist()


def test_without_patience_all_epochs_are_trained() -> None:
    trained = train(Line(), settings(patience=0), seed=0, device=CPU, validate=lambda: 0.5)
    assert trained.best_epoch == 1
    assert len(trained.curves["train loss"]) == 6


def test_the_learning_rate_warms_up_and_gradients_are_clipped() -> None:
    task = Line(batch_size=64)
    before = flat(task.network.state_dict())
    train(task, settings(epochs=1, warmup=100), seed=0, device=CPU)
    assert (flat(task.network.state_dict()) - before).abs().max() == pytest.approx(
        0.05, rel=1e-3
    )  # the warm-up is at most one epoch
    slow = Line(points=640, batch_size=16)
    train(slow, settings(epochs=1, warmup=1000), seed=0, device=CPU)
    quick = Line(points=640, batch_size=16)
    train(quick, settings(epochs=1, warmup=0), seed=0, device=CPU)
    assert (flat(slow.network.state_dict()) - before).norm() < (flat(quick.network.state_dict()) - before).norm()


def test_the_moving_average_replaces_the_weights() -> None:
    """The decay of the average is at most .5, and before 0, 1/11, 2/12, 3/13, ..."""
    task = Line()
    after: list[Tensor] = []
    seen: list[Tensor] = []
    batches = task.batches

    def watched(generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        for batch in batches(generator):
            if seen or after or task.network[0].weight.grad is not None:
                after.append(flat(task.network.state_dict()).clone())
            yield batch

    def validate() -> float:
        seen.append(flat(task.network.state_dict()).clone())
        return float(len(seen))

    task.batches = watched  # type: ignore[method-assign]
    trained = train(task, settings(epochs=5, averaging=0.5), seed=0, device=CPU, validate=validate)
    average = after[0]
    for step in range(1, 16):  # the steps of the first four epochs
        decay = min(0.5, step / (step + 10))
        average = decay * average + (1 - decay) * after[step]
    torch.testing.assert_close(seen[3], average)
    torch.testing.assert_close(flat(trained.weights), seen[4], rtol=0, atol=0)


def test_an_epoch_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pasand.training.loop"):
        train(Line(), settings(epochs=2), seed=0, device=CPU, validate=lambda: 0.25, label="line")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("line: epoch 1, loss ")
    assert "validation ndcg@10 0.2500, " in lines[1]
    assert len(lines) == 2


def test_progress_is_closed_and_never_past_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT", -1.0)
    reports: list[tuple[str, int, int | None]] = []
    with listening(lambda *step: reports.append(step)):
        train(Line(), settings(epochs=2), seed=0, device=CPU, label="line")
    assert reports[:3] == [("line", 1, 8), ("line", 2, 8), ("line", 3, 8)]
    assert reports[-1] == ("line", 1, 1)
    assert all(done < (whole or 0) for _, done, whole in reports[:-1])


def test_bfloat16_learns() -> None:
    assert train(Line(), settings(epochs=30, bf16=True), seed=0, device=CPU).curves["train loss"][-1] < 0.3


def test_no_batches_are_no_error() -> None:
    task = Line(points=0)
    before = flat(task.network.state_dict())
    trained = train(task, settings(), seed=0, device=CPU)
    assert flat(trained.weights).tolist() == before.tolist()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is available")
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "tpu"])
def test_an_unavailable_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"device: '{name}' is wrong: not available.*\"auto\" or one of: .*cpu"):
        loop.device_of(name)
    assert loop.device_of("cpu") == CPU
    assert loop.device_of("auto").type in {"cpu", "mps"}


class NotFinite(Line):
    """A task with a nan or an infinite gradient in batch 3 of epoch 2, at a chosen position of the computation."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.epoch = where, 0
        self.network.register_buffer("prices", torch.zeros(2))

    def batches(self, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        self.epoch += 1
        for number, batch in enumerate(super().batches(generator), 1):
            bad = math.nan if (self.epoch, number) == (2, 3) else 0.0
            if self.where == "buffer" and bad:
                self.network.get_buffer("prices").fill_(bad)
            yield {**batch, "age": torch.full((16, 1), bad if self.where == "input" else 0.0), "bad": torch.tensor(bad)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        loss = super().loss(batch, generator) + batch["age"].mean() + self.network.get_buffer("prices").mean()
        if self.where == "gradient" and batch["bad"].isnan():
            loss = loss + (self.network[2].weight * math.inf).sum()
        return loss

    def describe(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: batch[name] for name in ("x", "age")}


@pytest.mark.parametrize("every", [1, 16])
@pytest.mark.parametrize(
    ("where", "named"), [("input", r"\(input age\)"), ("buffer", r"\(table prices\)"), ("gradient", r"2\.weight")]
)
def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_cause(
    where: str, named: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop._Monitor.__init__
    monkeypatch.setattr(loop._Monitor, "__init__", lambda self, task, label, **_: original(self, task, label, every))
    with pytest.raises(InputError, match=f"line, epoch 2, batch 3: loss or gradient is not finite.*{named}"):
        train(NotFinite(where), settings(), seed=0, device=CPU, label="line")


def test_entries_of_a_batch_are_named_where_the_task_does_not_describe_them() -> None:
    task = Line()
    task.x[5] = math.inf
    with pytest.raises(InputError, match=r"training, epoch 1, batch \d: .*\(input x\)"):
        train(task, settings(), seed=0, device=CPU)


def test_weights_that_overflow_in_the_last_step_are_found() -> None:
    with pytest.raises(InputError, match="epoch 1: weights not finite"):
        train(Line(points=1), settings(epochs=1, learning_rate=1e39), seed=0, device=CPU)


class HasCount(Line):
    """A task with state that changes from batch to batch and enters the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.count = torch.zeros(1)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        self.count += 1
        return super().loss(batch, generator) * (1 + self.count.item() / 10)

    def state(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        self.count = tensors["count"]


class LooksUp(Line):
    """A task that reads two rows per batch of a table whose read rows alone are updated."""

    def __init__(self) -> None:
        super().__init__()
        self.network.append(nn.Embedding(40, 4))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        read = self.network[3](torch.randint(40, (2,), generator=generator))
        error: Tensor = self.network[:3](batch["x"]) - read.mean()
        return error.square().mean()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(("task", "averaging"), [(Line, 0.0), (HasCount, 0.0), (LooksUp, 0.0), (Line, 0.9)])
@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    task: type[Line], averaging: float, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(optimiser, "LARGE", 160)

    def values_from(start: int, stop: int | None = None) -> Iterator[float]:
        yield from [0.1, 0.4, 0.2, 0.3, 0.1, 0.2][start:stop]
        raise Interrupted

    checkpoint = Checkpoint(tmp_path / "line.checkpoint", {"model": "line"})
    chosen = settings(patience=5, averaging=averaging)
    all_values, first, rest = values_from(0), values_from(0, after), values_from(after)
    uninterrupted = train(task(), chosen, seed=2, device=CPU, validate=lambda: next(all_values))
    with pytest.raises(Interrupted):
        train(task(), chosen, seed=2, device=CPU, validate=lambda: next(first), checkpoint=checkpoint)
    torch.manual_seed(99)
    end = task()
    torch.rand(7)
    resumed = train(end, chosen, seed=2, device=CPU, validate=lambda: next(rest), checkpoint=checkpoint)
    assert flat(resumed.weights).tolist() == flat(uninterrupted.weights).tolist()
    assert (resumed.best_epoch, resumed.curves) == (uninterrupted.best_epoch, uninterrupted.curves)
    again = train(task(), chosen, seed=2, device=CPU, validate=lambda: next(rest), checkpoint=checkpoint)
    assert flat(again.weights).tolist() == flat(uninterrupted.weights).tolist()
    assert again.curves == uninterrupted.curves


SCRIPT = """
import os, signal, sys
import numpy as np
from pasand.training import checkpoints
from pasand.training import loop
from tests.training.test_loop import fitted
write = checkpoints.Checkpoint.write
def killing(self, arrays, numbers):
    write(self, arrays, numbers)
    if numbers["epochs"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.Checkpoint.write = killing
loop.CHECKPOINT_INTERVAL = 0.0
fitted(sys.argv[1])
"""


def fitted(folder: str | Path | None) -> BPRMF:
    torch.set_num_threads(1)
    model = BPRMF(epochs=5, batch_size=256, learning_rate=0.05, patience=2)
    with checkpoints.saving_to(folder):
        return model.fit(clusters()[0], rng=np.random.default_rng(1))


def test_a_fit_that_was_killed_ends_to_the_bit_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the number of epochs is chosen, and interrupted in the training on all events that follows."""
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    threads = torch.get_num_threads()
    uninterrupted = fitted(None)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [file.name for file in tmp_path.iterdir()] == ["01-bprmf.checkpoint"]

    write = Checkpoint.write

    def interrupting(self: Checkpoint, arrays: Arrays, numbers: Mapping[str, Any]) -> None:
        write(self, arrays, numbers)
        if self.path.name.startswith("02"):
            raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "write", interrupting)
        with pytest.raises(Interrupted):
            fitted(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    resumed = fitted(tmp_path)
    torch.set_num_threads(threads)
    assert resumed.curves() == uninterrupted.curves()
    assert resumed.state().keys() == uninterrupted.state().keys()
    for name, array in uninterrupted.state().items():
        np.testing.assert_array_equal(resumed.state()[name], array)
