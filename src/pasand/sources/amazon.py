"""Amazon reviews in JSON lines (McAuley's data): `reviewerID`, `asin`, `overall`, `unixReviewTime`; also .gz.

Text and reviewers' names are left out; the later layout (`user_id`, `parent_asin`, `rating`, `timestamp`) is a table
whose columns are found by their names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pasand.data.log import Log, Options
from pasand.errors import InputError
from pasand.sources import tables

FIELDS = ("reviewerID", "asin", "overall", "unixReviewTime")
ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def _file(place: str) -> Path | None:
    """Return the file of reviews: the path itself, or the only such file of the folder."""
    path = Path(place)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.name.endswith(ENDINGS) and file.is_file()]
    return files[0] if len(files) == 1 else None


def recognises(place: str) -> float:
    """Return 1 for a file whose first line has the fields of a review, and for a folder with one such file."""
    import gzip

    file = _file(place)
    if file is None:
        return 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            head = opened.readline(1 << 20)
    except (OSError, EOFError):
        return 0
    return 1 if all(f'"{name}"'.encode() in head for name in FIELDS) else 0


def read(place: str, options: Options) -> Log:
    """Return the reviews as ratings."""
    file = _file(place)
    if file is None:
        raise InputError(place, cause="there is no file of reviews", cure="name a file of JSON lines")
    user, item, value, time = FIELDS
    told = replace(
        options,
        user=options.user or user,
        item=options.item or item,
        value=options.value or value,
        time=options.time or time,
        values=options.values or "rating",
    )
    log = tables.read(str(file), told)
    return replace(log, name=Path(place).name, notes=("Amazon reviews", *log.notes))
