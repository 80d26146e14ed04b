"""Sequences as next-item papers share them: `user item item ...` or `user item` a line, in order of time; also .gz."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from pasand.data.encoding.text_files import check_lines, plain
from pasand.data.log import BATCH, Log, Options

PATTERN = re.compile(rb"\S+( \S+)+")


def recognises(place: str) -> float:
    """Return .8 for a text file (.txt) whose first lines are ids with single spaces between them."""
    path = Path(place)
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
    # lines of one length above two are rows of a table: user item rating time
    widths = {len(line.split()) for line in ids}
    return 0.4 if len(ids) > 1 and len(widths) == 1 and max(widths) > 2 else 0.8


def read(place: str, options: Options) -> Log:
    """Return the sequences as events without times, in their order."""
    path = Path(place)
    file, keeps = plain(path)
    check_lines(file, path)
    return Log(
        name=path.name,
        events=partial(_batches, file),
        order="sequence",
        notes=("sequences of items, a line begins with its user", "no time: events are in order within a user"),
        holds=(keeps,),
    )


def _batches(file: Path) -> Iterator[pl.DataFrame]:
    """Yield user and item; an item missing after its user stays empty."""
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
