"""Text files of item sequences, published with next-item papers: lines `user item item ...` or `user item`; also .gz.

The items of a user are in order of time.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from pasand.data.encoding.text_files import check_lines
from pasand.data.encoding.unpacking import uncompressed
from pasand.data.log import BATCH, Log, Options

PATTERN = re.compile(rb"\S+( \S+)+")


def recognises(location: str) -> float:
    """Return .8 for a text file (.txt) whose first lines are ids separated by single spaces.

    .4 where all lines have the same number of ids, above two: they may be rows of a table.
    """
    path = Path(location)
    if not path.is_file() or not path.name.removesuffix(".gz").endswith(".txt"):
        return 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            lines = opened.read(1 << 16).split(b"\n")[:-1][:20]
    except (OSError, EOFError):
        return 0
    ids = [line.strip() for line in lines]
    if not ids or not all(PATTERN.fullmatch(line) and not re.search(rb"[,;|\t]", line) for line in ids):
        return 0
    if ids[0].lower().startswith(b"user"):
        return 0
    # lines of equal length above two are more likely rows of a table: user item rating time
    widths = {len(line.split()) for line in ids}
    return 0.4 if len(ids) > 1 and len(widths) == 1 and max(widths) > 2 else 0.8


def read(location: str, options: Options) -> Log:
    """Return the sequences as events without times, in the order of the file."""
    path = Path(location)
    file, keep_alive = uncompressed(path)
    check_lines(file, path)
    return Log(
        name=path.name,
        events=partial(_batches, file),
        order="sequence",
        notes=("sequences of items, each line begins with its user", "no time: the events of each user are in order"),
        keep_alive=(keep_alive,),
    )


def _batches(file: Path) -> Iterator[pl.DataFrame]:
    """Yield columns user and item; the item is null where a line has a user alone."""
    users: list[str] = []
    items: list[str | None] = []
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            user, *rest = line.split() or [""]
            if user:
                users += [user] * max(1, len(rest))
                items += rest or [None]
            if len(users) >= BATCH:
                yield pl.DataFrame({"user": users, "item": items}, schema={"user": pl.String, "item": pl.String})
                users, items = [], []
    if users:
        yield pl.DataFrame({"user": users, "item": items}, schema={"user": pl.String, "item": pl.String})
