"""A ranker by expected minutes against one by clicks, on `bollywood`, where the true minutes are known.

Both are the same network, trained on the impressions of the first 80 % of the log's time; the last tenth of those says
when to stop, and calibrates minutes. Each of the users with impressions after the cut is asked once, at the cut, for
the ten best films that are available and not watched. What a list is worth is the sum over its films of the true
expected minutes of showing the film: the chance that it is taken times the minutes then watched. In this world a film
is taken if its utility plus Gumbel noise exceeds that of leaving, 2 plus Gumbel noise, so shown by itself the chance is
1 / (1 + exp(2 - utility)); positions are left out, as they are those of the lists, not of the films.

Calibration: what was shown after the cut, in ten parts of equal size by predicted minutes. The network is the one that
was learnt before the cut; histories and the counts of what is popular go up to each impression (`update_counts`), as in a
system in use. Predicted minutes are held against those watched, with standard errors over viewers, and against the
truth: the chance that the film is taken out of its slate, from its place, times the minutes then watched.
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

WORLD = World(n_users=2000)
SETTINGS = {"layers": (256, 128), "dropout": 0.2, "l2": 0.01, "averaging": 0.998, "epochs": 4, "id_dropout": 0.1}
K = 10


def fitted(data: Dataset, objective: Objective) -> YouTubeRanking:
    """Return the network trained to foresee minutes, or what is taken."""
    model = YouTubeRanking(objective=objective, **SETTINGS)  # type: ignore[arg-type]
    return model.fit(data, rng=np.random.default_rng(0))


def worth(users: Rows, items: Rows) -> Scores:
    """Return the true expected minutes of showing each film, (B, K)."""
    preference = np.clip(WORLD.preference(users, items).astype(np.float64), 1e-9, 1 - 1e-9)
    utility = np.log(preference / (1 - preference))
    minutes: Scores = (WORLD.expected_minutes(users, items) / (1 + np.exp(2 - utility))).astype(np.float32)
    return minutes


def best(model: YouTubeRanking, queries: Queries, allowed: Mask) -> Rows:
    """Return the K best allowed items of each query."""
    scores = np.where(allowed, model.score(queries, None), -np.inf)
    top: Rows = np.argsort(-scores, axis=1, kind="stable")[:, :K].astype(np.int32)
    return top


def expected(asked: Examples) -> Array:
    """Return the true expected minutes of each impression among its slate, (n,)."""
    assert asked.position is not None
    minutes = WORLD.click_probability(asked.user, asked.items, asked.position) * WORLD.expected_minutes(asked.user, asked.items)
    true: Array = minutes[asked.items >= 0]
    return true


def by_tenth(model: YouTubeRanking, asked: Examples) -> tuple[Calibration, Calibration]:
    """Return predicted minutes beside those watched, and beside the true expected ones."""
    predicted, watched, users = predicted_and_watched(model, asked)
    return calibration(predicted, watched, users), calibration(predicted, expected(asked), users)


def off(what: str, found: Calibration, detail: str) -> Row:
    """Return the row of the largest error."""
    return Row(
        target=f"largest error of predicted minutes in a tenth of later impressions, as a share of {what}",
        value=float(np.abs(found.error).max()),
        limit=0.05,
        better="lower",
        detail=detail,
    )


def tenths(found: Calibration) -> str:
    """Return the errors, least foreseen first."""
    return ", ".join(f"{error:+.3f}" for error in found.error)


def run() -> list[Row]:
    """Train both, ask both, and hold predicted minutes against watched ones."""
    data = WORLD.dataset()
    assert data.impressions is not None
    cut = int(np.quantile(data.time, 0.8))
    train = data.before(cut)
    by_minutes, by_clicks = fitted(train, "minutes"), fitted(train, "clicked")
    users = np.unique(data.impressions.user[data.impressions.time >= cut])
    queries = train.queries(users, k=K, time=np.full(len(users), cut))
    allowed = np.broadcast_to(data.item_features["available_from"].values <= cut, (len(users), data.n_items)).copy()
    row, place = np.nonzero(queries.history >= 0)
    allowed[row, queries.history[row, place]] = False
    lists = {name: best(model, queries, allowed) for name, model in (("minutes", by_minutes), ("clicks", by_clicks))}
    value = {name: worth(users, items).sum(axis=1) for name, items in lists.items()}
    gain = (value["minutes"] - value["clicks"]).astype(np.float64)
    drawn = np.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
    low, high = np.quantile(gain[drawn].mean(axis=1), [0.025, 0.975])
    even = worth(users, np.where(allowed, np.arange(data.n_items), 0).astype(np.int32))
    ideal = np.sort(np.where(allowed, even, 0), axis=1)[:, -K:].sum(axis=1).mean()
    whole = examples(data, "minutes", 4, 10**9, np.random.default_rng(0))
    later = whole.select(whole.time >= cut)
    _, stale = by_tenth(by_minutes, later)
    by_minutes.update_counts(data)
    watched, true = by_tenth(by_minutes, later)
    event_positions = by_minutes._learnt["weights.position_biases.weight"][1:21, 0]
    slope = float(np.polyfit(np.log(np.arange(1, 21)), event_positions, 1)[0])
    means = {name: float(worths.mean()) for name, worths in value.items()}
    told = f"{means['minutes']:.1f} against {means['clicks']:.1f} minutes, best possible {ideal:.1f}"
    return [
        Row(
            target="true minutes of the top 10, ranked by minutes less ranked by clicks: lower end of the interval",
            value=float(low),
            limit=0.0,
            better="higher",
            detail=f"gain {gain.mean():.2f} ({low:.2f} to {high:.2f}); {told}; {len(users):,} users",
        ),
        off("the true ones", true, f"by tenth {tenths(true)}; with counts that stop at the cut {tenths(stale)}"),
        off("those watched", watched, f"by tenth, with standard errors over viewers: {watched}"),
        Row(
            target="position bias learnt: how the logit falls with the log of the position (the world's own: 0.3)",
            value=-slope,
            limit=None,
            better="higher",
            detail="least squares over the 20 places of a slate; the world's choice is among a whole slate",
        ),
    ]
