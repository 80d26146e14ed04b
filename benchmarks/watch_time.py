"""Ranking by expected minutes against ranking by clicks, on `bollywood`, where the true minutes are known.

Both rankers are the same network, trained on the impressions of the first 80 % of the log's time. The last tenth of
these is the validation split, which stops the training and calibrates minutes. Each user with impressions after the
cut is one query, at the cut, for the ten best films that are available and not watched. The value of a list is the sum
over its films of the true expected minutes of showing the film: the click probability times the minutes then watched.
In the simulation a film is clicked if its utility plus Gumbel noise exceeds that of leaving, 2 plus Gumbel noise. Shown
alone, its click probability is therefore 1 / (1 + exp(2 - utility)). Positions are ignored, since they belong to the
lists and not to the films.

Calibration: the impressions after the cut are in ten parts of equal size by predicted minutes. The network is the one
trained before the cut. Histories and popularity counts go up to each impression (`follow`); a server renews
the counts with each refresh.
Predicted minutes are compared with the watched ones, with standard errors over viewers, and with the truth: the
probability of a click on the film in its slate and at its position, times the minutes then watched.
"""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Row
from pasand.data.dataset import Dataset
from pasand.evaluation.watch_minutes import predicted_and_watched
from pasand.models.rankers.youtube_ranking import YouTubeRanking
from pasand.sources.bollywood import World
from pasand.training.calibration import Calibration, calibration
from pasand.training.ranking_examples import Examples, Objective, examples
from pasand.types import Array, Mask, Queries, Rows, Scores

MEASURES = (
    "evaluation/watch_minutes.py",
    "features",
    "layers",
    "models/deep_model.py:DeepModel._train",
    "models/deep_model.py:DeepModel.fit",
    "models/rankers",
    "simulation",
    "training",
)
WORLD = World(n_users=2000)
SETTINGS = {"layers": (256, 128), "dropout": 0.2, "l2": 0.01, "averaging": 0.998, "epochs": 4, "id_dropout": 0.1}
K = 10


def fitted(data: Dataset, objective: Objective) -> YouTubeRanking:
    """Return the network trained to predict minutes or clicks."""
    model = YouTubeRanking(objective=objective, **SETTINGS)  # type: ignore[arg-type]
    return model.fit(data, rng=np.random.default_rng(0))


def expected_minutes(users: Rows, items: Rows) -> Scores:
    """Return the true expected minutes of showing each film alone, (B, K)."""
    preference = np.clip(WORLD.preference(users, items).astype(np.float64), 1e-9, 1 - 1e-9)
    utility = np.log(preference / (1 - preference))
    minutes: Scores = (WORLD.expected_minutes(users, items) / (1 + np.exp(2 - utility))).astype(np.float32)
    return minutes


def best(model: YouTubeRanking, queries: Queries, allowed: Mask) -> Rows:
    """Return the K best allowed items of each query."""
    scores = np.where(allowed, model.score(queries, None), -np.inf)
    top: Rows = np.argsort(-scores, axis=1, kind="stable")[:, :K].astype(np.int32)
    return top


def expected_in_slate(impressions: Examples) -> Array:
    """Return the true expected minutes of each impression in its slate, (n,)."""
    assert impressions.position is not None
    user, items = impressions.user, impressions.items
    minutes = WORLD.click_probability(user, items, impressions.position) * WORLD.expected_minutes(user, items)
    true: Array = minutes[items >= 0]
    return true


def calibrations(model: YouTubeRanking, impressions: Examples) -> tuple[Calibration, Calibration]:
    """Return the calibrations of predicted minutes against watched minutes and against true expected minutes."""
    predicted, watched, users = predicted_and_watched(model, impressions)
    return calibration(predicted, watched, users), calibration(predicted, expected_in_slate(impressions), users)


def error_row(reference: str, errors: Calibration, detail: str) -> Row:
    """Return the row of the largest relative error of predicted minutes in a tenth of the impressions."""
    return Row(
        target=f"largest relative error of predicted minutes in a tenth of later impressions, against {reference}",
        value=float(np.abs(errors.error).max()),
        limit=0.05,
        better="lower",
        comparable=True,
        synthetic=True,
        detail=detail,
    )


def tenths(errors: Calibration) -> str:
    """Return the relative errors by tenth as text, lowest predictions first."""
    return ", ".join(f"{error:+.3f}" for error in errors.error)


def run() -> list[Row]:
    """Train both rankers, compare their lists, and compare predicted minutes with watched and true ones."""
    data = WORLD.dataset()
    assert data.impressions is not None
    cut = int(np.quantile(data.time, 0.8))
    train = data.before(cut)
    by_minutes, by_clicks = fitted(train, "minutes"), fitted(train, "clicked")
    users = np.unique(data.impressions.user[data.impressions.time >= cut])
    queries = train.queries(users, k=K, time=np.full(len(users), cut))
    allowed = np.broadcast_to(data.item_features["available_from"].values <= cut, (len(users), data.n_items)).copy()
    row, position = np.nonzero(queries.history >= 0)
    allowed[row, queries.history[row, position]] = False
    lists = {name: best(model, queries, allowed) for name, model in (("minutes", by_minutes), ("clicks", by_clicks))}
    value = {name: expected_minutes(users, items).sum(axis=1) for name, items in lists.items()}
    gain = (value["minutes"] - value["clicks"]).astype(np.float64)
    drawn = np.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
    low, high = np.quantile(gain[drawn].mean(axis=1), [0.025, 0.975])
    of_all_items = expected_minutes(users, np.where(allowed, np.arange(data.n_items), 0).astype(np.int32))
    ideal = np.sort(np.where(allowed, of_all_items, 0), axis=1)[:, -K:].sum(axis=1).mean()
    impressions = examples(data, "minutes", 4, 10**9, np.random.default_rng(0))
    later = impressions.select(impressions.time >= cut)
    _, stale = calibrations(by_minutes, later)
    by_minutes.follow(data)
    watched, true = calibrations(by_minutes, later)
    position_biases = by_minutes._learnt["weights.position_biases.weight"][1:21, 0]
    slope = float(np.polyfit(np.log(np.arange(1, 21)), position_biases, 1)[0])
    means = {name: float(minutes.mean()) for name, minutes in value.items()}
    compared = f"{means['minutes']:.1f} against {means['clicks']:.1f} minutes, best possible {ideal:.1f}"
    return [
        Row(
            target="true minutes of the top 10, ranked by minutes minus ranked by clicks: lower bound of the interval",
            value=float(low),
            limit=0.0,
            better="higher",
            comparable=True,
            synthetic=True,
            detail=f"gain {gain.mean():.2f} ({low:.2f} to {high:.2f}); {compared}; {len(users):,} users",
        ),
        error_row("true minutes", true, f"by tenth {tenths(true)}; with counts that stop at the cut {tenths(stale)}"),
        error_row("watched minutes", watched, f"by tenth, with standard errors over viewers: {watched}"),
        Row(
            target="learnt position bias: fall of the logit with the log of the position (0.3 in the simulation)",
            value=-slope,
            limit=None,
            better="higher",
            synthetic=True,
            detail="least squares over the 20 positions of a slate; the simulation's choice is among a whole slate",
        ),
    ]
