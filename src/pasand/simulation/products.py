"""Products of the simulated marketplace: what sellers list, in which language, at what price, and how good it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.simulation import listings
from pasand.simulation.choice_model import Films
from pasand.simulation.crafts import (
    CATEGORIES,
    COLOURS,
    CRAFTS,
    FINISHES,
    LISTED_IN,
    PRICE_BANDS,
    REGION_OF_TOWN,
    TOWNS,
)
from pasand.simulation.population import N_FACTORS, numbered
from pasand.simulation.sellers import Sellers
from pasand.types import Array, Rows, Scores

PRICE_STEPS = 20
"""Steps of the price level for each factor of e in the price."""
LISTING_DAYS = 28
"""Days after a new seller's first one within which the other first products are listed."""


@dataclass(frozen=True, kw_only=True)
class Products:
    """Attributes of the N products that the choice model has no words for."""

    seller: Rows
    """(N,)"""
    craft: Rows
    """(N,) code of the craft."""
    kind: Rows
    """(N,) what it is: its position in the `products` of the craft."""
    colour: Rows
    """(N,) code of the colour."""
    finish: Rows
    """(N,) what the description reports of the quality: position in `FINISHES`."""
    price: Scores
    """(N,) rupees."""
    price_band: Rows
    """(N,) code of the band: the lower, middle or upper third of the prices of the category."""
    description: tuple[str, ...]


def draw_products(n: int, sellers: Sellers, days: int, late: float, rng: Generator) -> tuple[Products, Films]:
    """Return n products, and the same products as the choice model reads them.

    Every seller has one product at least, where n allows it; a new one lists the first on the first day, and further
    ones within four weeks. Of the products of established sellers a share `late` arrives after the first day.
    """
    seller = _sellers_of_products(n, sellers, rng)
    craft = sellers.craft[seller]
    kind = np.array([rng.integers(len(CRAFTS[code].products)) for code in craft], np.int32)
    colour = rng.integers(0, len(COLOURS), n).astype(np.int32)
    quality = 0.6 * sellers.skill[seller] + 0.8 * rng.standard_normal(n)
    finish = np.digitize(quality + 0.5 * rng.standard_normal(n), [-0.5, 0.5]).astype(np.int32)
    relative = 0.45 * rng.standard_normal(n) + 0.15 * quality
    median = np.array([one.price for one in CRAFTS])[craft]
    price = np.maximum(10 * np.round(median * np.exp(relative) / 10) - 1, 9)
    category = np.array([CATEGORIES.index(one.category) for one in CRAFTS], np.int32)[craft]
    language = _languages(sellers.town[seller], rng)
    keys = [_keys(*codes) for codes in zip(sellers.town[seller], craft, kind, strict=True)]
    named = [listings.LANGUAGES[code] for code in language]
    described = tuple(
        listings.description(name, **key, colour=COLOURS[c], finish=FINISHES[f])
        for name, key, c, f in zip(named, keys, colour, finish, strict=True)
    )
    padding = np.full((n, 3), -1, np.int32)
    films = Films(
        ids=tuple(numbered("product", n)),
        title=tuple(listings.title(name, **key) for name, key in zip(named, keys, strict=True)),
        year=np.round(PRICE_STEPS * np.log(price / median)).astype(np.int32),
        minutes=np.zeros(n, np.float32),
        language=language,
        genres=np.column_stack([category, padding]).astype(np.int32),
        cast=np.column_stack([craft, padding]).astype(np.int32),
        arrives=_arrivals(seller, sellers, days, late, rng),
        factors=_factors(craft, kind, rng),
        quality=quality.astype(np.float32),
    )
    return (
        Products(
            seller=seller,
            craft=craft,
            kind=kind,
            colour=colour,
            finish=finish,
            price=price.astype(np.float32),
            price_band=_bands(price, category),
            description=described,
        ),
        films,
    )


def _sellers_of_products(n: int, sellers: Sellers, rng: Generator) -> Rows:
    """Return the seller of each product, in random order."""
    first = np.arange(min(n, len(sellers)))
    more = rng.choice(len(sellers), n - len(first), p=sellers.weight)
    return rng.permutation(np.append(first, more)).astype(np.int32)


def _arrivals(seller: Rows, sellers: Sellers, days: int, late: float, rng: Generator) -> Scores:
    """Return the day from which each product can be bought, (N,): at or after the first day of its seller."""
    n = len(seller)
    arrives = np.where(rng.random(n) < late, np.floor(rng.random(n) * days), 0)
    since = sellers.since[seller]
    after = np.floor(rng.random(n) * LISTING_DAYS)
    _, first = np.unique(seller, return_index=True)
    after[first] = 0
    return np.where(since > 0, since + after, arrives).astype(np.float32)


def _factors(craft: Rows, kind: Rows, rng: Generator) -> Scores:
    """Return the hidden factors, (N, D): those of the craft, of the kind of product, and of the product alone."""
    of_craft = rng.standard_normal((len(CRAFTS), N_FACTORS))
    of_kind = rng.standard_normal((len(CRAFTS), max(len(one.products) for one in CRAFTS), N_FACTORS))
    alone = rng.standard_normal((len(craft), N_FACTORS))
    factors = 0.6 * of_craft[craft] + 0.5 * of_kind[craft, kind] + 0.6 * alone
    return np.asarray(factors / math.sqrt(N_FACTORS), np.float32)


def _languages(town: Rows, rng: Generator) -> Rows:
    """Return the language of each listing, by the region of its seller's town."""
    share = np.array([[LISTED_IN[REGION_OF_TOWN[name]].get(one, 0.0) for one in listings.LANGUAGES] for name in TOWNS])
    drawn = rng.random(len(town))[:, None] > np.cumsum(share, axis=1)[town]
    return np.asarray(np.minimum(drawn.sum(axis=1), len(listings.LANGUAGES) - 1), np.int32)


def _keys(town: int, craft: int, kind: int) -> dict[str, str]:
    made = CRAFTS[craft]
    return {"town": TOWNS[town], "material": made.material, "product": made.products[kind]}


def _bands(price: Array, category: Rows) -> Rows:
    """Return the code of the price band of each product: its third of the prices of the category."""
    low, middle, high = (PRICE_BANDS.index(name) for name in ("economy", "standard", "premium"))
    band = np.full(len(price), middle, np.int32)
    for code in np.unique(category):
        inside = category == code
        lower, upper = np.quantile(price[inside], [1 / 3, 2 / 3])
        band[inside & (price <= lower)] = low
        band[inside & (price > upper)] = high
    return band
