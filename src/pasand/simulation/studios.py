"""Studios of the films, and prices: attributes that no utility depends on, from random numbers of their own."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pasand.data.features import Feature
from pasand.simulation.choice_model import Films
from pasand.simulation.population import numbered
from pasand.types import Rows

DAY = 86_400
REGIONS = ("east", "north", "south", "west")
CITIES = ("Bengaluru", "Chennai", "Delhi", "Guwahati", "Hyderabad", "Jaipur", "Kolkata", "Mumbai", "Pune")
REGION_OF_CITY = ("south", "south", "north", "east", "south", "north", "east", "west", "west")
SIZES = ("large", "medium", "small")


def draw_studios(n: int, films: Films, days: int, start: int, rng: Generator) -> dict[str, Feature]:
    """Return the features studio, its region, city, size and first day (`studio_since`), and price of the films.

    The n studios are in four regions, half of those of a region in its metro. One studio in five is new: its first day
    is between 60 days before the log and its end, but not after its first film. A tenth of the studios is large and
    makes most films. Prices are in rupees. Viewers neither like nor avoid a studio or a price, so differences of their
    exposure, beyond those of the films themselves, are the recommender's.
    """
    weight = rng.lognormal(0, 1, n)
    studio = rng.choice(n, len(films), p=weight / weight.sum()).astype(np.int32)
    rank = np.argsort(np.argsort(-weight, kind="stable"), kind="stable")
    size = np.where(rank < max(1, n // 10), 0, np.where(rank < max(2, 2 * n // 5), 1, 2)).astype(np.int32)
    region = rng.integers(0, len(REGIONS), n).astype(np.int32)
    is_new = rng.random(n) < 0.2
    since = np.where(is_new, rng.uniform(-60, days, n), rng.uniform(-3650, -365, n))
    np.minimum.at(since, studio, films.arrives)
    price = 10 * np.clip(np.round(rng.lognormal(2.5, 0.5, len(films))), 3, 60) - 1
    city = _cities(region, rng)
    return {
        "studio": Feature(kind="categorical", values=studio, names=tuple(numbered("studio", n))),
        "studio_region": Feature(kind="categorical", values=region[studio], names=REGIONS),
        "studio_city": Feature(kind="categorical", values=city[studio], names=CITIES),
        "studio_size": Feature(kind="categorical", values=size[studio], names=SIZES),
        "studio_since": Feature(kind="time", values=(start + np.floor(since[studio]) * DAY).astype(np.int64)),
        "price": Feature(kind="number", values=price.astype(np.float32)),
    }


def _cities(region: Rows, rng: Generator) -> Rows:
    """Return the city of each studio, (n,): in half of the cases the metro of its region, else any city of it."""
    metro = np.array([CITIES.index(name) for name in ("Kolkata", "Delhi", "Chennai", "Mumbai")])
    others = [[c for c, name in enumerate(REGION_OF_CITY) if name == REGIONS[r]] for r in range(len(REGIONS))]
    drawn = np.array([others[r][int(len(others[r]) * u)] for r, u in zip(region, rng.random(len(region)), strict=True)])
    return np.where(rng.random(len(region)) < 0.5, metro[region], drawn).astype(np.int32)
