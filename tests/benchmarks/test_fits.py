"""Fits that are kept, figures over training seeds, and the catalogues on which two stages may be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fit_cache, sequences, two_stage
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.models.towers.sasrec import SASRec

USERS, ITEMS = 12, 10


def log() -> Dataset:
    """Return six events of each user."""
    user = np.repeat(np.arange(USERS, dtype=np.int32), 6)
    item = np.concatenate([np.random.default_rng(u).permutation(ITEMS)[:6] for u in range(USERS)]).astype(np.int32)
    return Dataset(
        name="small",
        users=Vocabulary(f"u{row:02}" for row in range(USERS)),
        items=Vocabulary(f"i{row:02}" for row in range(ITEMS)),
        user=user,
        item=item,
        time=np.arange(len(user), dtype=np.int64),
        order="sequence",
    )


def test_a_fit_is_kept_and_gives_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASAND_BENCHMARK_CACHE", str(tmp_path))
    data = log()
    queries = data.queries(np.arange(USERS, dtype=np.int32), k=3)

    def fitted(data: Dataset, seed: int = 0, epochs: int = 1) -> SASRec:
        model = SASRec(dimensions=4, epochs=epochs, patience=0, device="cpu")
        return fit_cache.fitted("small", model, data, seed=seed, threads=1, code=sequences.TRAINING)[0]

    first = fitted(data).score(queries, None)
    (entry,) = tmp_path.glob("*.npz")
    written = entry.stat().st_mtime_ns
    assert np.array_equal(fitted(data).score(queries, None), first)
    assert entry.stat().st_mtime_ns == written
    fitted(data, seed=1)
    fitted(data, epochs=2)
    fitted(data.select(slice(0, 60)))
    assert len(list(tmp_path.glob("*.npz"))) == 4
    assert not list(tmp_path.glob("*.part"))


def test_an_entry_names_the_device_and_does_not_depend_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASAND_BENCHMARK_CACHE", str(tmp_path))
    model = SASRec(dimensions=4, epochs=1, patience=0, device="cpu")
    for _ in ("fitted", "read"):
        how = fit_cache.fitted("small", model, log(), seed=0, threads=1, code=sequences.TRAINING)[1]
        assert how.device == "CPU"
        assert how.seconds > 0
    (entry,) = tmp_path.glob("*.npz")
    elsewhere = replace(model, device="cuda")
    assert fit_cache.entry("small", elsewhere, log(), seed=0, threads=1, code=sequences.TRAINING) == entry


def test_the_papers_setting_never_trains_on_the_validation_item() -> None:
    data = log()
    split = LeaveLastOut().split(data)[0]
    without = sequences.training_events(split, sequences.WITHOUT)
    last = split.test_queries.user * ITEMS + split.test_queries.item
    before = [int(split.train.item[split.train.user == user][-1]) for user in range(USERS)]
    validation = np.arange(USERS) * ITEMS + before
    pairs = without.user * ITEMS + without.item
    assert not np.isin(pairs, np.concatenate([last, validation])).any()
    assert len(without) == len(data) - 2 * USERS
    assert len(sequences.training_events(split, sequences.WITH)) == len(data) - USERS
    assert (split.test_queries.upto == 5).all()  # the validation item stays in the history


def test_figures_over_seeds_are_means_with_their_spread() -> None:
    mean, spread = sequences.over_seeds([np.array([0.0, 1.0]), np.array([0.0, 0.5]), np.array([0.0, 0.0])])
    assert mean == pytest.approx(0.25)
    assert spread.startswith("seeds 0.0000 to 0.5000, standard deviation 0.2500; users 0.0000 to 0.5000")


def test_two_stages_are_not_compared_where_the_candidates_are_the_catalogue() -> None:
    with pytest.raises(InputError, match="300 candidates selects little from 10 items"):
        two_stage.rows_of("small", LeaveLastOut().split(replace(log(), order="time"))[0])
