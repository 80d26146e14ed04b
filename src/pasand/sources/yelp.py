"""Yelp: a folder with yelp_academic_dataset_review.json and yelp_academic_dataset_business.json.

Source: Yelp Open Dataset.
"""

from __future__ import annotations

import polars as pl

from pasand.data.encoding.text_files import find_file
from pasand.data.log import Log, Options
from pasand.sources import published_folders

EVENTS = ("yelp_academic_dataset_review.json", "review.json")
ITEMS = ("yelp_academic_dataset_business.json", "business.json")
BUSINESS = ("name", "city", "state", "categories", "latitude", "longitude")


def recognises(location: str) -> float:
    """Return 1 for a folder with reviews of Yelp beside the businesses."""
    file = published_folders.events_file(location, *EVENTS)
    return 1 if file is not None and find_file(file.parent, *ITEMS) else 0


def read(location: str, options: Options) -> Log:
    """Return the stars of the reviews, with name, city and categories of each business.

    Stars and numbers of reviews of businesses and users are left out: they count all reviews, also later ones.
    """
    file = published_folders.events_file(location, *EVENTS)
    assert file is not None
    items = published_folders.columns(find_file(file.parent, *ITEMS), "item", BUSINESS)
    if items is not None and "categories" in items.columns:
        parts = pl.col("categories").cast(pl.String).str.split(",").list.eval(pl.element().str.strip_chars())
        items = items.with_columns(parts)
    return published_folders.log(file, options, items, None, "Yelp: stars of reviews")
