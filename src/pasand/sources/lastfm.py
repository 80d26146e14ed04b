"""Last.fm of HetRec 2011: how often each user listened to each artist, and the tags given to artists; also .gz.

Source: Cantador, Brusilovsky and Kuflik, HetRec 2011. For research only.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pasand.data.encoding.text_files import check_lines, find_file, read_text
from pasand.data.encoding.unpacking import uncompressed
from pasand.data.log import Log, Options


def recognises(location: str) -> float:
    """Return 1 for a folder with `user_artists.dat`."""
    return 1 if Path(location).is_dir() and find_file(Path(location), "user_artists.dat") else 0


def read(location: str, options: Options) -> Log:
    """Return the plays, as strengths without time, with artists' names and tags."""
    folder = Path(location)
    path = find_file(folder, "user_artists.dat")
    assert path is not None
    file, keep_alive = uncompressed(path)
    check_lines(file, path)
    names = ["user", "item", "value"]
    events = pl.scan_csv(file, separator="\t", new_columns=names, infer_schema=False, quote_char=None)
    return Log(
        name=folder.name,
        events=events,
        values=options.values or "strength",
        order="none",
        items=_artists(folder),
        kinds={"name": "text", "tags": "bag"},
        column_names={"user": "userID", "item": "artistID", "value": "weight"},
        notes=("Last.fm of HetRec 2011", "strength: plays of an artist", "no time: the order of events has no meaning"),
        keep_alive=(keep_alive,),
    )


def _rows(folder: Path, name: str, encoding: str) -> list[list[str]]:
    """Return the cells of a table without its header; [] where the file is absent."""
    path = find_file(folder, name)
    return [] if path is None else [line.split("\t") for line in read_text(path, encoding=encoding).splitlines()[1:]]


def _artists(folder: Path) -> pl.DataFrame | None:
    """Return each artist's name and distinct tags, in the order in which they were first given; None: no artists."""
    names = {row[0]: row[1] for row in _rows(folder, "artists.dat", "utf-8") if len(row) > 1}
    words = {row[0]: row[1] for row in _rows(folder, "tags.dat", "latin-1") if len(row) > 1}
    tags: dict[str, dict[str, None]] = {}
    for row in _rows(folder, "user_taggedartists.dat", "utf-8"):
        if len(row) > 2 and row[2] in words:
            tags.setdefault(row[1], {})[words[row[2]]] = None
    if not names:
        return None
    bags = pl.Series("tags", [list(tags.get(artist, {})) for artist in names], dtype=pl.List(pl.String))
    return pl.DataFrame({"id": list(names), "name": list(names.values())}).with_columns(bags)
