"""KuaiRec, short videos of Kuaishou: a folder with big_matrix.csv or small_matrix.csv, captions, categories and users.

Source: Gao et al., KuaiRec: A Fully-observed Dataset and Insights for Evaluating Recommender Systems, CIKM 2022.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pasand.data.encoding.text_files import find_file
from pasand.data.log import Log, Options
from pasand.sources import published_folders

USERS = (
    "user_active_degree",
    "is_lowactive_period",
    "is_live_streamer",
    "is_video_author",
    "follow_user_num_range",
    "fans_user_num_range",
    "friend_user_num_range",
    "register_days_range",
)
CAPTIONS = ("caption", "first_level_category_name", "second_level_category_name")


def recognises(location: str) -> float:
    """Return 1 for a folder with a matrix of KuaiRec."""
    return 1 if published_folders.events_file(location, "big_matrix.csv", "small_matrix.csv") else 0


def read(location: str, options: Options) -> Log:
    """Return the views of the big matrix by their watch ratio, or of the small one if it is alone.

    Items have their tags, and captions and categories where kuairec_caption_category.csv is present. The small matrix,
    in which every user has seen every video, is read by its own name. Daily counts of videos are left out, as they
    are of all users and days.
    """
    file = published_folders.events_file(location, "big_matrix.csv", "small_matrix.csv")
    assert file is not None
    users = published_folders.columns(find_file(file.parent, "user_features.csv"), "user", USERS)
    tags = published_folders.columns(find_file(file.parent, "item_categories.csv"), "item", ("feat",))
    captions = published_folders.columns(find_file(file.parent, "kuairec_caption_category.csv"), "item", CAPTIONS)
    items = None if tags is None else tags.select("id", _tags(tags["feat"]).alias("tags"))
    if captions is not None:
        named = captions.rename({"caption": "title"}, strict=False).unique("id", keep="first", maintain_order=True)
        items = named if items is None else items.join(named, on="id", how="left", maintain_order="left")
    return published_folders.log(file, options, items, users, f"KuaiRec: views of {Path(file).name}")


def _tags(texts: pl.Series) -> pl.Series:
    return texts.cast(pl.String).str.strip_chars("[] ").str.split(",").list.eval(pl.element().str.strip_chars())
