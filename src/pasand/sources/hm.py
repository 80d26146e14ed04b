"""H&M, purchases of clothes: a folder with transactions_train.csv, articles.csv and customers.csv.

Source: H&M Personalized Fashion Recommendations, Kaggle 2022.
"""

from __future__ import annotations

from pasand.data.encoding.text_files import find_file
from pasand.data.log import Log, Options
from pasand.sources import published_folders

ARTICLES = (
    "prod_name",
    "product_type_name",
    "product_group_name",
    "graphical_appearance_name",
    "colour_group_name",
    "perceived_colour_master_name",
    "department_name",
    "index_name",
    "section_name",
    "garment_group_name",
    "detail_desc",
)
"""The names; the codes beside them, in columns of their own, are the same."""
CUSTOMERS = ("age", "club_member_status", "fashion_news_frequency")


def recognises(location: str) -> float:
    """Return 1 for a folder with the transactions of H&M."""
    return 1 if published_folders.events_file(location, "transactions_train.csv") else 0


def read(location: str, options: Options) -> Log:
    """Return the purchases with the names of the articles, which are their titles, and features of the customers.

    Ids keep their leading zeros. Prices are scaled, and are no strengths. Postal codes are left out.
    """
    file = published_folders.events_file(location, "transactions_train.csv")
    assert file is not None
    items = published_folders.columns(find_file(file.parent, "articles.csv"), "item", ARTICLES)
    if items is not None:
        items = items.rename({"prod_name": "title"}, strict=False)
    users = published_folders.columns(find_file(file.parent, "customers.csv"), "user", CUSTOMERS)
    return published_folders.log(file, options, items, users, "H&M: purchases")
