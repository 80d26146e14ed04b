"""Goodreads (UCSD Book Graph): a folder with goodreads_interactions*.json or .csv, and goodreads_books*.json.

Source: Wan and McAuley, Item Recommendation on Monotonic Behavior Chains, RecSys 2018.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pasand.data.log import Log, Options
from pasand.sources import published_folders

BOOKS = ("title", "publication_year", "num_pages", "language_code", "publisher", "format", "description")
RATED = "rating > 0"


def recognises(location: str) -> float:
    """Return 1 for a folder with interactions of Goodreads."""
    return 1 if _file(Path(location), "goodreads_interactions") else 0


def read(location: str, options: Options) -> Log:
    """Return the ratings; books on a shelf without a rating have 0 and are left out, unless `where` chooses rows.

    Items have the features that a book has from its publication on. Average ratings, numbers of ratings and shelves are
    left out: they count the ratings of all users, also later ones.
    """
    file, books = _file(Path(location), "goodreads_interactions"), _file(Path(location), "goodreads_books")
    assert file is not None
    chosen = options if options.where else replace(options, where=(RATED,))
    note = "" if options.where else "Goodreads: a rating of 0 means not rated; such rows are left out"
    items = published_folders.columns(books, "item", BOOKS)
    return published_folders.log(file, chosen, items, None, *([note] if note else []))


def _file(folder: Path, name: str) -> Path | None:
    files = [file for end in ("json", "json.gz", "csv", "csv.gz") for file in sorted(folder.glob(f"{name}*.{end}"))]
    return next((file for file in files if file.is_file()), None)
