"""A ranker by expected minutes against one by clicks, on `bollywood`, where the true minutes are known.

Both are the same network, trained on the impressions of the first 80 % of the log's time. Each of the users with
impressions after the cut is asked once, at the cut, for the ten best films that are available and not watched. What a
list is worth is the sum over its films of the true expected minutes of showing the film: the chance that it is taken
times the minutes then watched. In this world a film is taken if its utility plus Gumbel noise exceeds that of leaving,
2 plus Gumbel noise, so shown by itself the chance is 1 / (1 + exp(2 - utility)); positions are left out, as they are
those of the lists, not of the films.

Calibration: impressions after the cut, in ten parts of equal size by predicted minutes; predicted against watched, as
a share of what was watched. Predictions know no positions, so that what an average place adds is estimated on the
training impressions, as one factor for all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.rows import Row
from pasand.data.dataset import Dataset
from pasand.data.sources.bollywood import World
from pasand.models.youtube_ranking import YouTubeRanking
from pasand.training.ranked import Examples, Objective, examples
from pasand.types import Array, Mask, Queries, Rows, Scores

WORLD = World(n_users=2000)
SETTINGS = {"layers": (256, 128), "dropout": 0.2, "l2": 0.01, "averaging": 0.998, "epochs": 4}
K = 10


def fitted(data: Dataset, objective: Objective) -> YouTubeRanking:
    """Return the network trained to foresee minutes, or what is taken."""
    model = YouTubeRanking(objective=objective, **SETTINGS)  # type: ignore[arg-type]
    return model.fit(data, rng=np.random.default_rng(0))


def worth(users: Rows, items: Rows) -> Scores:
    """Return the true expected minutes of showing each film, (B, K)."""
    liking = np.clip(WORLD.liking(users, items).astype(np.float64), 1e-9, 1 - 1e-9)
    utility = np.log(liking / (1 - liking))
    minutes: Scores = (WORLD.expected_minutes(users, items) / (1 + np.exp(2 - utility))).astype(np.float32)
    return minutes


def best(model: YouTubeRanking, queries: Queries, allowed: Mask) -> Rows:
    """Return the K best allowed items of each query."""
    scores = np.where(allowed, model.score(queries, None), -np.inf)
    top: Rows = np.argsort(-scores, axis=1, kind="stable")[:, :K].astype(np.int32)
    return top


def calibration(model: YouTubeRanking, known: Examples, later: Examples) -> tuple[Array, float]:
    """Return by how much predicted minutes exceed watched ones in each tenth, and the factor of an average place."""

    def both(made: Examples) -> tuple[Array, Array]:
        predicted, watched = [], []
        for part, queries in made.batches():
            items = made.items[part]
            assert made.minutes is not None
            predicted.append(model.minutes(queries, items)[items >= 0])
            watched.append(made.minutes[part][items >= 0])
        return np.concatenate(predicted).astype(np.float64), np.concatenate(watched).astype(np.float64)

    predicted, watched = both(known)
    factor = watched.sum() / predicted.sum()
    predicted, watched = both(later)
    parts = np.array_split(np.argsort(predicted, kind="stable"), 10)
    off = np.array([factor * predicted[part].sum() / watched[part].sum() - 1 for part in parts])
    return off, float(factor)


def run() -> list[Row]:
    """Train both, ask both, and hold predicted minutes against watched ones."""
    data = WORLD.dataset()
    assert data.impressions is not None
    cut = int(np.quantile(data.time, 0.8))
    train = data.before(cut)
    by_minutes, by_clicks = fitted(train, "minutes"), fitted(train, "taken")
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
    late = whole.time >= cut
    columns = ("user", "time", "upto", "items", "label", "minutes", "position", "shown")
    known, later = (
        replace(whole, **{name: getattr(whole, name)[which] for name in columns}) for which in (~late, late)
    )
    off, factor = calibration(by_minutes, known, later)
    places = by_minutes._learnt["weights.places.weight"][1:21, 0]
    slope = float(np.polyfit(np.log(np.arange(1, 21)), places, 1)[0])
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
        Row(
            target="largest error of predicted minutes in a tenth of the later impressions, as a share",
            value=float(np.abs(off).max()),
            limit=0.05,
            better="lower",
            detail=f"by tenth {', '.join(f'{one:+.3f}' for one in off)}; factor of an average place {factor:.3f}",
        ),
        Row(
            target="position bias learnt: how the logit falls with the log of the position (the world's own: 0.3)",
            value=-slope,
            limit=None,
            better="higher",
            detail="least squares over the 20 places of a slate; the world's choice is among a whole slate",
        ),
    ]
