"""Buyers of the simulated marketplace: viewers of `population` with other languages, favourite crafts and prices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from pasand.simulation import listings, population
from pasand.simulation.choice_model import Films, Viewers
from pasand.simulation.crafts import CRAFTS
from pasand.types import Rows, Scores

ENGLISH = (0.35, 0.2, 0.1)
"""Share of English in what buyers of each city tier read."""
PREFERRED_LEVEL = (8.0, 2.0, -4.0)
"""Mean price level that buyers of each city tier prefer, in steps of `products.PRICE_STEPS`."""
OWN_REGION = 3.0
"""Weight of a craft of the buyer's own region among the favourites; that of any other one is 1."""
REGION_OF_STATE = {
    "Andhra Pradesh": "south",
    "Assam": "east",
    "Bihar": "east",
    "Delhi": "north",
    "Gujarat": "west",
    "Karnataka": "south",
    "Kerala": "south",
    "Madhya Pradesh": "north",
    "Maharashtra": "west",
    "Punjab": "north",
    "Rajasthan": "west",
    "Tamil Nadu": "south",
    "Telangana": "south",
    "Uttar Pradesh": "north",
    "West Bengal": "east",
}


def draw_buyers(n: int, films: Films, days: int, late: float, visits: float, rng: Generator) -> Viewers:
    """Return n buyers with hidden attributes; a share `late` arrives on a random day.

    Languages follow the state, with a share of English that falls with the city tier; one without listings counts as
    English. Price sensitivity is a low `preferred_year`, which is here the price level of the largest utility: it rises
    with the size of the city and varies between buyers. Favourites are three crafts, those of the own region first.
    """
    people = population.draw_viewers(n, films, days, late, visits, rng)
    return replace(
        people,
        ids=tuple(population.numbered("buyer", n)),
        languages=_languages(people.languages, people.city_tier),
        preferred_year=(np.array(PREFERRED_LEVEL)[people.city_tier] + 8 * rng.standard_normal(n)).astype(np.float32),
        favourites=_favourites(people.state, rng),
    )


def _languages(spoken: Scores, city_tier: Rows) -> Scores:
    """Return the share of each language of listings in what buyers read, (U, L); rows add up to 1."""
    english = listings.LANGUAGES.index("English")
    code = [listings.LANGUAGES.index(one) if one in listings.LANGUAGES else english for one in population.languages()]
    to_listing = np.zeros((len(code), len(listings.LANGUAGES)))
    to_listing[np.arange(len(code)), code] = 1
    share = np.array(ENGLISH)[city_tier][:, None]
    mixed = (1 - share) * (spoken @ to_listing) + share * (np.arange(len(listings.LANGUAGES)) == english)
    return np.asarray(mixed / mixed.sum(axis=1, keepdims=True), np.float32)


def _favourites(state: Rows, rng: Generator) -> Rows:
    """Return three different crafts for each buyer, (U, 3), drawn in proportion to their weights."""
    region = [REGION_OF_STATE[name] for name in population.STATES]
    weight = np.array([[OWN_REGION if craft.region == own else 1.0 for craft in CRAFTS] for own in region])
    noise = rng.gumbel(size=(len(state), len(CRAFTS)))
    return np.asarray(np.argsort(-(np.log(weight)[state] + noise), axis=1, kind="stable")[:, :3], np.int32)
