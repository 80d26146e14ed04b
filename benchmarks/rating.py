"""RMSE of biased MF and Bayesian MF on the five folds u1-u5 of ML-100K, against Surprise's SVD and SVD++.

Every hyper-parameter is chosen inside the fold's own base file: a random tenth of it is held out, each configuration
is trained on the other nine tenths, and the best one is trained on the whole base and tested once. The choice is made
for each fold separately, since the base of one fold contains the test ratings of the others. Surprise's SVD is tuned on
the same tenths' share of the base, in as many trials as ours; the number of epochs, which our model chooses on a tenth
of its training ratings, is among the settings of these trials. SVD and SVD++ with their defaults are not comparable
with tuned models. All test ratings count,
those of users and items without ratings in the base included.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.rows import Row, data_folder, peer_python, run_peer
from pasand.contracts import PredictsRatings
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.models.ratings.bayesian_mf import BayesianMF
from pasand.models.ratings.biased_mf import BiasedMF

MEASURES = (
    "features/rating_histories.py",
    "models/ratings/bayesian_mf.py",
    "models/ratings/biased_mf.py",
    "models/ratings/posterior.py",
    "models/ratings/rating_model.py",
    "models/ratings/sgd.py",
)
Table: TypeAlias = NDArray[np.int64]

HELD_OUT = 0.1
BIASED: list[dict[str, Any]] = [
    {"dimensions": dimensions, "l2": l2, "l2_bias": l2_bias, "learning_rate_decay": decay}
    for dimensions, l2, l2_bias, decay in product((200, 400), (0.05, 0.06, 0.07, 0.08), (0.01, 0.05), (0.95, 0.98))
]
STEADY: dict[str, Any] = {"epochs": 200, "learning_rate": 0.02, "init_std": 0.01, "patience": 12}
BAYESIAN: list[dict[str, Any]] = [{"dimensions": dimensions} for dimensions in (4, 6, 8, 10, 12)]
LONG: dict[str, Any] = {"epochs": 300, "burn_in": 60, "samples": 120}


def read(name: str) -> Table:
    """Return the rows (user, item, rating, time) of a split file."""
    with gzip.open(data_folder("ml-100k") / "splits" / f"{name}.gz") as file:
        return np.loadtxt(file, dtype=np.int64)


def log(table: Table) -> Dataset:
    """Return the ratings as a dataset without times, since the folds are random."""
    users, items = Vocabulary(range(1, 944)), Vocabulary(range(1, 1683))
    return Dataset(
        name="ml-100k",
        users=users,
        items=items,
        user=users.rows(table[:, 0].tolist()),
        item=items.rows(table[:, 1].tolist()),
        time=np.zeros(len(table), np.int64),
        value=table[:, 2].astype(np.float32),
        values="rating",
        order="none",
    )


def inner(base: Dataset, fold: int) -> tuple[Dataset, Dataset]:
    """Return the base without a random held-out tenth, and that tenth."""
    held = np.random.default_rng(fold).random(len(base)) < HELD_OUT
    return base.select(~held), base.select(held)


def rmse(model: PredictsRatings, train: Dataset, test: Dataset) -> float:
    """Return the root mean squared error of the predicted test ratings."""
    assert test.value is not None
    predicted = model.predict(train.queries(test.user, k=1), test.item[:, None])[:, 0]
    return float(np.sqrt(np.mean((predicted - test.value) ** 2, dtype=np.float64)))


def biased(base: Dataset, fold: int) -> BiasedMF:
    """Return biased MF with the options that are best on the inner hold-out, trained on the whole base.

    `BiasedMF` itself chooses the number of epochs, on a random tenth of its training ratings.
    """
    train, held = inner(base, fold)
    fitted = (BiasedMF(**STEADY, **options).fit(train, rng=np.random.default_rng(fold)) for options in BIASED)
    best = min(((rmse(model, train, held), n) for n, model in enumerate(fitted)))[1]
    return BiasedMF(**STEADY, **BIASED[best]).fit(base, rng=np.random.default_rng(fold))


def bayesian(base: Dataset, fold: int) -> BayesianMF:
    """Return Bayesian MF with the dimensions that are best on the inner hold-out, trained on the whole base."""
    train, held = inner(base, fold)
    fitted = (BayesianMF(**options).fit(train, rng=np.random.default_rng(fold)) for options in BAYESIAN)
    best = min(((rmse(model, train, held), n) for n, model in enumerate(fitted)))[1]
    return BayesianMF(**LONG, **BAYESIAN[best]).fit(base, rng=np.random.default_rng(fold))


def folds() -> Iterator[tuple[int, Dataset, Dataset]]:
    """Yield the number, base and test of each fold."""
    for fold in range(1, 6):
        yield fold, log(read(f"u{fold}.base")), log(read(f"u{fold}.test"))


def run() -> list[Row]:
    """Measure our two models and the peers on all five folds."""
    python = peer_python("surprise", "scikit-surprise==1.1.5", "numpy<2")
    ours: dict[str, list[float]] = {"biased": [], "Bayesian": []}
    chosen: dict[str, list[str]] = {"biased": [], "Bayesian": []}
    peers: dict[str, list[float]] = {"SVD": [], "SVDpp": [], "SVD tuned": []}
    for fold, base, test in folds():
        for name, model in (("biased", biased(base, fold)), ("Bayesian", bayesian(base, fold))):
            ours[name].append(rmse(model, base, test))
            options = (model.dimensions, model.l2) if isinstance(model, BiasedMF) else (model.dimensions,)
            chosen[name].append("/".join(map(str, options)))
        result = run_peer(python, "surprise_rating.py", data_folder("ml-100k") / "splits", fold)
        for name, values in peers.items():
            values.append(result[name])

    def row(name: str, limit: float, peer: str, label: str, what: str, *, tuned: bool) -> Row:
        values, others = np.array(ours[name]), np.array(peers[peer])
        return Row(
            target=f"RMSE of {name} MF",
            value=float(np.mean(values)),
            limit=limit,
            better="lower",
            peer=label,
            peer_value=float(np.mean(others)),
            detail=f"u1-u5: {folds_as_text(values)}; {difference(values, others)}; "
            f"{what} chosen inside each base: {', '.join(chosen[name])}",
            comparable=tuned,
            reason="" if tuned else "ours is tuned, the peer has its defaults",
        )

    tuned = f"Surprise SVD, tuned in {len(BIASED)} trials as ours"
    return [
        row("biased", 0.912, "SVD tuned", tuned, "dimensions/l2", tuned=True),
        row("Bayesian", 0.905, "SVD tuned", tuned, "dimensions", tuned=True),
        row("biased", 0.912, "SVD", "Surprise SVD, defaults", "dimensions/l2", tuned=False),
        row("Bayesian", 0.905, "SVDpp", "Surprise SVD++, defaults", "dimensions", tuned=False),
    ]


def folds_as_text(values: NDArray[np.float64]) -> str:
    """Return the figures of the folds as text."""
    return " ".join(f"{value:.4f}" for value in values)


def difference(own: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    """Return the mean difference over folds with its 95 % interval by Student's t, as text; a tie if it contains 0."""
    pairs = own - other
    half = float(stats.t.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / len(pairs) ** 0.5)
    low, high = float(pairs.mean()) - half, float(pairs.mean()) + half
    return f"difference {pairs.mean():+.4f} ({low:+.4f} to {high:+.4f}){', a tie' if low <= 0 <= high else ''}"
