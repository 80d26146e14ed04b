"""MIND, news of Microsoft: `behaviors.tsv` with the articles shown and clicked in each visit, and `news.tsv`.

Source: Wu et al., MIND: A Large-scale Dataset for News Recommendation, ACL 2020. For research only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from pasand.data.encoding.text_files import check_lines, find_file
from pasand.data.encoding.unpacking import uncompressed
from pasand.data.log import ImpressionTable, Log, Options

COLUMNS = ["visit", "user", "time", "history", "shown"]
NEWS = ["id", "category", "subcategory", "title", "abstract"]
VISITS = 20_000
"""Visits read at a time; each shows some forty articles."""
TIME = "%m/%d/%Y %I:%M:%S %p"


def recognises(location: str) -> float:
    """Return 1 for a file behaviors.tsv, and for a folder with one."""
    path = Path(location)
    is_file = path.is_file() and path.name.removesuffix(".gz") == "behaviors.tsv"
    return 1 if is_file or (path.is_dir() and find_file(path, "behaviors.tsv")) else 0


def read(location: str, options: Options) -> Log:
    """Return the clicks as events, all articles shown as impressions, and the articles' categories and texts.

    The articles of the column "history" are left out, as they have no times.
    """
    path = Path(location) if Path(location).is_file() else find_file(Path(location), "behaviors.tsv")
    assert path is not None
    file, keep_alive = uncompressed(path)
    check_lines(file, path)
    news = find_file(path.parent, "news.tsv")
    items = None
    if news is not None:
        opened, _keep = uncompressed(news)
        table = pl.read_csv(opened, separator="\t", has_header=False, infer_schema=False, quote_char=None)
        items = table.select(pl.col(table.columns[: len(NEWS)])).rename(dict(zip(table.columns, NEWS, strict=False)))
    return Log(
        name=path.parent.name or path.name,
        events=partial(_events, file),
        items=items,
        kinds={"category": "categorical", "subcategory": "categorical", "title": "text", "abstract": "text"},
        column_names={"user": "user", "item": "impressions", "time": "time"},
        notes=(
            "MIND: events are clicks on articles; the user is the second column, not the impression id",
            "not used: the histories, whose clicks have no time",
        ),
        impressions=ImpressionTable(name=path.name, frames=partial(_impressions, file), distinct=True),
        keep_alive=(keep_alive,),
    )


def _impressions(file: Path) -> Iterator[pl.DataFrame]:
    """Yield columns user, item, time, position and clicked, a row for each article of each visit."""
    visits = pl.scan_csv(
        file, separator="\t", has_header=False, new_columns=COLUMNS, infer_schema=False, quote_char=None
    )
    for frame in visits.collect_batches(chunk_size=VISITS, maintain_order=True):
        shown = pl.col("shown").str.strip_chars().str.split(" ")
        rows = frame.select("user", pl.col("time").str.to_datetime(TIME, strict=False), shown).with_columns(
            position=pl.int_ranges(1, pl.col("shown").list.len() + 1)
        )
        rows = rows.explode("shown", "position").filter(pl.col("shown") != "")
        yield rows.select(
            "user",
            pl.col("shown").str.replace(r"-[01]$", "").alias("item"),
            "time",
            "position",
            pl.col("shown").str.ends_with("-1").alias("clicked"),
        )


def _events(file: Path) -> Iterator[pl.DataFrame]:
    for frame in _impressions(file):
        yield frame.filter("clicked").select("user", "item", "time")
