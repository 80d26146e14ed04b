"""The splits of Neural Collaborative Filtering: `*.train.rating*`, `*.test.rating*`, `*.test.negative*`; also .gz.

The events of the log are those of the training file; `negatives` gives what the sampled protocol asks.
Source: He et al., Neural Collaborative Filtering, WWW 2017.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pasand.data.encoding.text_files import check_lines, plain, text
from pasand.data.log import Log, Options
from pasand.errors import InputError
from pasand.sources.movielens import ratings


class Negatives(NamedTuple):
    """What is asked in the sampled protocol, in ids."""

    users: list[str]
    """(B,)"""
    positives: list[str]
    """(B,) the held-out item of each user."""
    negatives: list[list[str]]
    """(B, M) the items it must stand before, in the order of the file; some may equal the positive."""


def _part(place: str | Path, part: str) -> Path | None:
    """Return the file of a part: "train.rating", "test.rating" or "test.negative"."""
    folder = Path(place)
    return next(iter(sorted(folder.glob(f"*.{part}*"))), None) if folder.is_dir() else None


def recognises(place: str) -> float:
    """Return 1 for a folder with a training file and negatives."""
    return 1 if _part(place, "train.rating") and _part(place, "test.negative") else 0


def read(place: str, options: Options) -> Log:
    """Return the training events, ratings with or without times; test events are not among them."""
    path = _part(place, "train.rating")
    assert path is not None
    file, keeps = plain(path)
    check_lines(file, path)
    with file.open("rb") as opened:
        timed = len(opened.readline().split(b"\t")) > 3
    return Log(
        name=Path(place).name,
        events=partial(ratings, file, path, timed, "\t"),
        values=options.values or "rating",
        order="time" if timed else "none",
        named={"value": "rating"},
        notes=(
            f"training events of the NCF split, {path.name}; the test events are asked by sampled-negatives alone",
            *["no time: the order of events means nothing"] * (not timed),
        ),
        holds=(keeps,),
    )


def negatives(folder: str | Path) -> Negatives:
    """Return the test users, their held-out items and negatives; raises InputError where a line is malformed.

    An item that no training event has is unknown to the dataset's vocabulary.
    """
    path = _part(folder, "test.negative")
    if path is None:
        cause = "there is no *.test.negative file"
        raise InputError(folder, cause=cause, cure="give a folder with the NCF split")
    found = Negatives([], [], [])
    for row, line in enumerate(text(path).splitlines(), 1):
        pair, *rest = line.split("\t")
        user, comma, item = pair.strip().removeprefix("(").removesuffix(")").partition(",")
        if not (pair.startswith("(") and comma and rest):
            cause = "a line must be (user,item), then items, with tabs between them"
            raise InputError(path, row=row, value=line[:40], cause=cause, cure="fetch the file again")
        found.users.append(user.strip())
        found.positives.append(item.strip())
        found.negatives.append([negative.strip() for negative in rest])
    return found


def held_out(folder: str | Path) -> pl.DataFrame | None:
    """Return the test events, columns user, item, value and time as text; None where the file is absent."""
    path = _part(folder, "test.rating")
    if path is None:
        return None
    rows = [line.split("\t") for line in text(path).splitlines()]
    names = ["user", "item", "value", "time"][: min(map(len, rows), default=0)]
    return pl.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(names)})
