"""Steam's purchases and hours of play, `steam-200k.csv`: user, game, "purchase" or "play", 1 or hours; no header."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pasand.data.log import Log, Options
from pasand.sources import tables

NAME = re.compile(r"steam-\d+k\.csv(\.(gz|bz2|xz|zip))?")


def recognises(location: str) -> float:
    """Return 1 for a file named like steam-200k.csv."""
    path = Path(location)
    return 1 if path.is_file() and NAME.fullmatch(path.name) else 0


def read(location: str, options: Options) -> Log:
    """Return the plays, with their hours as strengths; with weights of types of events, the purchases too.

    Without such weights or conditions of the user's own, purchases are left out: every game that was played was bought.
    """
    chosen = replace(
        options,
        header=False,
        user=options.user or "column_0",
        item=options.item or "column_1",
        event=options.event or "column_2",
        value=options.value or (None if options.events else "column_3"),
        values=options.values or "strength",
        where=options.where or (() if options.events else ("column_2 = play",)),
    )
    log = tables.read(location, chosen)
    return replace(log, notes=("Steam: hours of play; purchases: --events 'play=2,purchase=1'", *log.notes))
