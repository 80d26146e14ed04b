"""The listening history that Spotify sends to a listener: StreamingHistory*.json or Streaming_History_Audio_*.json."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import polars as pl

from pasand.data.log import Log, Options
from pasand.errors import InputError
from pasand.sources.python_rows import json_frames

NAME = re.compile(r"(StreamingHistory(_music_)?\d+|Streaming_History_Audio_.*|endsong_\d+)\.json")
COLUMNS = {
    "time": ("ts", "endTime"),
    "value": ("ms_played", "msPlayed"),
    "artist": ("master_metadata_album_artist_name", "artistName"),
    "title": ("master_metadata_track_name", "trackName"),
}


def recognises(location: str) -> float:
    """Return 1 for a file of a listening history, and for a folder with such files."""
    path = Path(location)
    return 1 if (path.is_file() and NAME.fullmatch(path.name)) or (path.is_dir() and _files(path)) else 0


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if NAME.fullmatch(file.name))


def read(location: str, options: Options) -> Log:
    """Return the plays of songs by the minutes played, with each song's title and artist.

    The short form names no listener: all plays are then those of the user "me". Podcasts are left out. Raises
    InputError where a file is no listening history.
    """
    path = Path(location)
    files = _files(path) if path.is_dir() else [path]
    plays = pl.concat([_plays(file) for file in files])
    songs = plays.group_by("item", maintain_order=True).agg(pl.col("title").first(), pl.col("artist").first())
    return Log(
        name=path.name,
        events=partial(iter, [plays.select("user", "item", "time", "value")]),
        values=options.values or "strength",
        items=songs.rename({"item": "id"}),
        kinds={"title": "text", "artist": "categorical"},
        column_names={"user": "username", "item": "track", "time": "ts or endTime", "value": "minutes"},
        notes=("Spotify: plays of songs", "strength: minutes played"),
    )


def _plays(file: Path) -> pl.DataFrame:
    frame = pl.concat(json_frames(file, file, None), how="diagonal_relaxed")
    found = {role: next((name for name in names if name in frame.columns), None) for role, names in COLUMNS.items()}
    missing = [role for role, name in found.items() if name is None]
    if missing:
        cause = f"no listening history: it has no {' or '.join(COLUMNS[missing[0]])}"
        raise InputError(file, cause=cause, cure="name the JSON files that Spotify sent")
    frame = frame.select(
        (pl.col("username") if "username" in frame.columns else pl.lit("me")).alias("user"),
        *(pl.col(str(name)).alias(role) for role, name in found.items()),
    ).filter(pl.col("title").is_not_null())
    item = pl.concat_str("artist", "title", separator=" - ")
    return frame.with_columns(item.alias("item"), (pl.col("value").cast(pl.Float64) / 60_000).alias("value"))
