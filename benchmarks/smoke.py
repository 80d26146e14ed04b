"""Quick figures of three kinds, repeatable to the digit, which show whether a refactoring changed behaviour.

They are those of biased and Bayesian MF on fold u1 of ML-100K with one setting each, of the sequence tower of Beauty
after three epochs, and of two stages on 500 users of `bollywood` (whose 100 films are no test of a first stage: a
repeatable figure is wanted here). Compare them with `results/smoke.json`, which was measured on one thread.

It declares no `MEASURES`, so that its result is older than its code after a change of any module that it loads, those
that all benchmarks share (reading, encoding, splitting, evaluating) included.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks import rating, sequences, two_stage
from benchmarks.rows import Row
from benchmarks.sequence_beauty import CONTEST
from pasand import recipe
from pasand.evaluation.protocols.temporal import Temporal
from pasand.models.ratings.bayesian_mf import BayesianMF
from pasand.models.ratings.biased_mf import BiasedMF
from pasand.recommender import fallback_chain
from pasand.sources import load


def run() -> list[Row]:
    """Measure all figures."""
    _, base, test = next(rating.folds())
    models: dict[str, BiasedMF | BayesianMF] = {"biased MF": BiasedMF(), "Bayesian MF": BayesianMF(dimensions=8)}
    rows = []
    for name, model in models.items():
        fitted = model.fit(base, rng=np.random.default_rng(1))
        rows.append(_row(f"RMSE of {name}, fold u1 of ML-100K", rating.rmse(fitted, base, test), "lower"))
    contest = replace(CONTEST, settings={**CONTEST.settings, "epochs": 3})
    split = sequences.test_split(contest)
    figures = sequences.measured(fallback_chain(sequences.tower(contest, split.train)), split)
    rows += [_row(f"{name}, Beauty, one tower of three epochs", figures[name].mean) for name in figures]
    split = Temporal().split(load("bollywood:n_users=500"))[0]
    components = recipe.read("best").fit(split.train, seed=0).components
    recommenders = two_stage.parts(components, split.train)
    found = two_stage.compared("bollywood of 500 users", split, recommenders, synthetic=True)
    return rows + [replace(row, limit=None, comparable=False) for row in found]


def _row(target: str, value: float, better: str = "higher") -> Row:
    return Row(target=target, value=value, limit=None, better=better)  # type: ignore[arg-type]
