"""Amazon reviews in JSON lines (McAuley's data): `reviewerID`, `asin`, `overall`, `unixReviewTime`; also .gz.

Review texts and reviewers' names are left out. The source `tables` reads the newer layout (`user_id`, `parent_asin`,
`rating`, `timestamp`), whose columns it recognises by their names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pasand.data.log import Log, Options
from pasand.errors import InputError
from pasand.sources import tables

FIELDS = ("reviewerID", "asin", "overall", "unixReviewTime")
ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def _reviews_file(location: str) -> Path | None:
    """Return the file of reviews: the path itself, or the only JSON lines file of the folder; None: there is none."""
    path = Path(location)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.name.endswith(ENDINGS) and file.is_file()]
    return files[0] if len(files) == 1 else None


def recognises(location: str) -> float:
    """Return 1 for a file whose first line has the fields of a review, or a folder with exactly one such file."""
    import gzip

    file = _reviews_file(location)
    if file is None:
        return 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            head = opened.readline(1 << 20)
    except (OSError, EOFError):
        return 0
    return 1 if all(f'"{name}"'.encode() in head for name in FIELDS) else 0


def read(location: str, options: Options) -> Log:
    """Return the reviews as ratings."""
    file = _reviews_file(location)
    if file is None:
        raise InputError(location, cause="there is no file of reviews", cure="name a file of JSON lines")
    user, item, value, time = FIELDS
    options = replace(
        options,
        user=options.user or user,
        item=options.item or item,
        value=options.value or value,
        time=options.time or time,
        values=options.values or "rating",
    )
    log = tables.read(str(file), options)
    return replace(log, name=Path(location).name, notes=("Amazon reviews", *log.notes))
