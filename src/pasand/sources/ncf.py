"""The splits of Neural Collaborative Filtering: `*.train.rating*`, `*.test.rating*`, `*.test.negative*`; also .gz.

The events of the log are those of the training file; `read_negatives` returns the test cases of the sampled protocol.
Source: He et al., Neural Collaborative Filtering, WWW 2017.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pasand.data.encoding.text_files import check_lines, read_text
from pasand.data.encoding.unpacking import uncompressed
from pasand.data.log import Log, Options
from pasand.errors import InputError
from pasand.sources.movielens import ratings


class Negatives(NamedTuple):
    """Test cases of the sampled protocol: for each user a held-out item and the negatives it competes with, as ids."""

    users: list[str]
    """(B,)"""
    positives: list[str]
    """(B,) the held-out item of each user."""
    negatives: list[list[str]]
    """(B, M) the items that it should be ranked above, in the order of the file; some may equal the positive."""


def _part(location: str | Path, part: str) -> Path | None:
    """Return the file of a part: "train.rating", "test.rating" or "test.negative"."""
    folder = Path(location)
    return next(iter(sorted(folder.glob(f"*.{part}*"))), None) if folder.is_dir() else None


def recognises(location: str) -> float:
    """Return 1 for a folder with a training file and negatives."""
    return 1 if _part(location, "train.rating") and _part(location, "test.negative") else 0


def read(location: str, options: Options) -> Log:
    """Return the training events, ratings with or without times; the test events are left out."""
    path = _part(location, "train.rating")
    assert path is not None
    file, keep_alive = uncompressed(path)
    check_lines(file, path)
    with file.open("rb") as opened:
        timed = len(opened.readline().split(b"\t")) > 3
    return Log(
        name=Path(location).name,
        events=partial(ratings, file, path, timed, "\t"),
        values=options.values or "rating",
        order="time" if timed else "none",
        column_names={"value": "rating"},
        notes=(
            f"training events of the NCF split, {path.name}; the test events are used by sampled-negatives only",
            *["no time: the order of events has no meaning"] * (not timed),
        ),
        keep_alive=(keep_alive,),
    )


def read_negatives(folder: str | Path) -> Negatives:
    """Return the test users, their held-out items and negatives; raises InputError where a line is malformed.

    An item without training events is missing from the dataset's vocabulary.
    """
    path = _part(folder, "test.negative")
    if path is None:
        cause = "there is no *.test.negative file"
        raise InputError(folder, cause=cause, cure="give a folder with the NCF split")
    cases = Negatives([], [], [])
    for row, line in enumerate(read_text(path).splitlines(), 1):
        pair, *rest = line.split("\t")
        user, comma, item = pair.strip().removeprefix("(").removesuffix(")").partition(",")
        if not (pair.startswith("(") and comma and rest):
            cause = "a line must be (user,item), then items, separated by tabs"
            raise InputError(path, row=row, value=line[:40], cause=cause, cure="download the file again")
        cases.users.append(user.strip())
        cases.positives.append(item.strip())
        cases.negatives.append([negative.strip() for negative in rest])
    return cases


def read_test_events(folder: str | Path) -> pl.DataFrame | None:
    """Return the test events with columns user, item, value and time as text; None where the file is absent."""
    path = _part(folder, "test.rating")
    if path is None:
        return None
    rows = [line.split("\t") for line in read_text(path).splitlines()]
    names = ["user", "item", "value", "time"][: min(map(len, rows), default=0)]
    return pl.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(names)})
