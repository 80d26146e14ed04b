"""RetailRocket, a shop: a folder with events.csv, item_properties_part*.csv and category_tree.csv.

Source: Retailrocket recommender system dataset, Kaggle 2017.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from pasand.data.encoding.text_files import find_file
from pasand.data.log import Log, Options
from pasand.sources import published_folders

WEIGHTS = {"view": 1.0, "addtocart": 2.0, "transaction": 3.0}


def recognises(location: str) -> float:
    """Return 1 for a folder with events.csv beside properties of items in the layout of RetailRocket."""
    folder = Path(location)
    return 1 if folder.is_dir() and find_file(folder, "events.csv") and _properties(folder) else 0


def _properties(folder: Path) -> list[Path]:
    return sorted(folder.glob("item_properties_part*.csv"))


def read(location: str, options: Options) -> Log:
    """Return views, carts and purchases, which weigh 1, 2 and 3 unless `events` or `where` choose.

    Items have the category of their first known property, and the one above it in the tree. All other properties are
    hashed texts and left out.
    """
    folder = Path(location)
    file = find_file(folder, "events.csv")
    assert file is not None
    chosen = options if options.events or options.where else replace(options, events=WEIGHTS)
    weights = ", ".join(f"{name} {weight:g}" for name, weight in chosen.events.items())
    note = f"RetailRocket: weights are {weights}; --events changes them" if chosen is not options else "RetailRocket"
    return published_folders.log(file, chosen, _items(folder), None, note)


def _items(folder: Path) -> pl.DataFrame:
    properties = pl.concat([pl.scan_csv(file, infer_schema=False) for file in _properties(folder)])
    first = (
        properties.filter(pl.col("property") == "categoryid")
        .sort(pl.col("timestamp").cast(pl.Int64), maintain_order=True)
        .unique("itemid", keep="first", maintain_order=True)
        .select(pl.col("itemid").alias("id"), pl.col("value").alias("category"))
        .collect()
    )
    tree = find_file(folder, "category_tree.csv")
    if tree is None:
        return first
    parents = pl.read_csv(tree, infer_schema=False).rename({"categoryid": "category", "parentid": "parent_category"})
    return first.join(parents.unique("category"), on="category", how="left", maintain_order="left")
