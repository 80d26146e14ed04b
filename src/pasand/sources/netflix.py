"""The Netflix Prize in its own layout: `combined_data_*.txt`, a line "FILM:" and then its ratings; and titles.

Source: Bennett and Lanning, The Netflix Prize, KDD Cup 2007. For research only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from pasand.data.encoding.text_files import find_file, read_text
from pasand.data.encoding.unpacking import uncompressed
from pasand.data.log import Log, Options

NAME = re.compile(r"(combined_data_\d+|mv_\d+|qualifying|probe)\.txt(\.gz)?")
LINES = 1_000_000
"""Lines read at a time."""


def recognises(location: str) -> float:
    """Return 1 for a file combined_data_N.txt, and for a folder with such files."""
    path = Path(location)
    return 1 if (path.is_file() and NAME.fullmatch(path.name)) or (path.is_dir() and _files(path)) else 0


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if re.fullmatch(r"combined_data_\d+\.txt(\.gz)?", file.name))


def read(location: str, options: Options) -> Log:
    """Return the ratings in order of film, and the films' titles and years where movie_titles.csv is beside them."""
    path = Path(location)
    files = [uncompressed(file) for file in (_files(path) if path.is_dir() else [path])]
    folder = path if path.is_dir() else path.parent
    return Log(
        name=path.name,
        events=partial(_events, [file for file, _ in files]),
        values=options.values or "rating",
        items=_titles(folder),
        kinds={"title": "text", "year": "number"},
        column_names={"user": "customer", "item": "film", "time": "date", "value": "rating"},
        notes=("Netflix Prize: ratings of 1 to 5 with their days",),
        keep_alive=tuple(keep for _, keep in files),
    )


def _events(files: list[Path]) -> Iterator[pl.DataFrame]:
    for file in files:
        film: str | None = None
        lines = pl.scan_csv(file, separator="\x01", has_header=False, new_columns=["line"], infer_schema=False)
        for frame in lines.collect_batches(chunk_size=LINES, maintain_order=True):
            named = pl.col("line").str.extract(r"^\s*(\S+):\s*$")
            rows = frame.with_columns(item=named).with_columns(
                item=pl.col("item").forward_fill().fill_null(pl.lit(film)), is_name=named.is_not_null()
            )
            film = rows["item"][-1]
            cells = pl.col("line").str.split_exact(",", 2).struct.rename_fields(["user", "value", "time"])
            yield (
                rows.filter(~pl.col("is_name"))
                .with_columns(cells.alias("cells"))
                .unnest("cells")
                .select("user", "item", "time", "value")
            )


def _titles(folder: Path) -> pl.DataFrame | None:
    """Return the films' years and titles, which may hold commas; None without movie_titles.csv."""
    path = find_file(folder, "movie_titles.csv", "movie_titles.txt")
    if path is None:
        return None
    rows = [line.split(",", 2) for line in read_text(path, encoding="latin-1").splitlines() if line.count(",") >= 2]
    years = [year if year.isdigit() else None for _, year, _ in rows]
    return pl.DataFrame({"id": [row[0] for row in rows], "year": years, "title": [row[2] for row in rows]})
