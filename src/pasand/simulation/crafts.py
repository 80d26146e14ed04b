"""Crafts of the simulated marketplace: where they are at home, what is made, of what, and for how much."""

from __future__ import annotations

from typing import NamedTuple

from pasand.simulation.studios import REGIONS

CATEGORIES = ("clothing", "electronics", "home", "jewellery", "kitchen", "tools", "toys")
COLOURS = ("black", "blue", "green", "red", "white", "yellow")
FINISHES = ("plain", "good", "fine")
"""What a description reports of the quality, lowest first."""
PRICE_BANDS = ("economy", "premium", "standard")
SIZES = ("large", "medium", "small")
METROS = ("Chennai", "Delhi", "Hyderabad", "Kolkata", "Mumbai")


class Craft(NamedTuple):
    """What sellers of one kind make."""

    name: str
    town: str
    """Town at which the craft is at home; "": factory goods, made in every metro."""
    region: str
    category: str
    material: str
    products: tuple[str, ...]
    price: float
    """Median price in rupees."""


CRAFTS = (
    Craft("brass", "Moradabad", "north", "home", "brass", ("bell", "bowl", "lamp"), 900),
    Craft("cotton", "Santipur", "east", "clothing", "cotton", ("sari", "shirt", "towel"), 1200),
    Craft("factory goods", "", "", "electronics", "plastic", ("charger", "speaker", "torch"), 1100),
    Craft("jewellery", "Jaipur", "west", "jewellery", "silver", ("bangles", "earrings", "necklace"), 2500),
    Craft("pottery", "Khurja", "north", "kitchen", "ceramic", ("cup", "jar", "plate"), 350),
    Craft("silk", "Kanchipuram", "south", "clothing", "silk", ("blouse", "sari", "stole"), 4500),
    Craft("terracotta", "Bishnupur", "east", "home", "terracotta", ("horse", "pot", "tile"), 400),
    Craft("tools", "Rajkot", "west", "tools", "steel", ("drill", "hammer", "spanner"), 700),
    Craft("toys", "Channapatna", "south", "toys", "wooden", ("cart", "doll", "top"), 500),
    Craft("woodwork", "Saharanpur", "north", "home", "teak", ("box", "frame", "stool"), 1800),
)
"""The crafts, in order of code."""
TOWNS = tuple(sorted({*METROS, *(craft.town for craft in CRAFTS if craft.town)}))
REGION_OF_TOWN = {
    **{craft.town: craft.region for craft in CRAFTS if craft.town},
    **dict(zip(METROS, ("south", "north", "south", "east", "west"), strict=True)),
}
LISTED_IN = {
    "east": {"Bengali": 0.6, "English": 0.2, "Hindi": 0.2},
    "north": {"Hindi": 0.7, "English": 0.3},
    "south": {"Tamil": 0.4, "Telugu": 0.35, "English": 0.25},
    "west": {"Hindi": 0.6, "English": 0.4},
}
"""Share of each language in the listings of the sellers of a region."""
assert set(LISTED_IN) == set(REGIONS)
