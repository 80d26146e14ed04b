"""What a world showed: slates of films, taken from or not, thinned to what memory holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from pasand.data.impressions import Impressions
from pasand.types import Array, Mask, Rows, Scores, Times

MOST = 5_000_000
"""Impressions that a dataset of a world holds; of a world that shows more a random part of the visits is kept."""


class Slates(NamedTuple):
    """Films shown, taken or not, in order of time, of visit and of place."""

    user: Rows
    item: Rows
    time: Times
    position: Rows
    clicked: Mask
    watched_seconds: Scores
    """(n,) 0 where not taken."""


def thinned(parts: Iterable[Slates], share: float, rng: Generator) -> Iterator[Slates]:
    """Yield the parts with a random `share` of the visits, each whole or not at all; parts hold whole visits."""
    for part in parts:
        if share >= 1:
            yield part
            continue
        visit = np.cumsum(part.position == 1) - 1
        kept = rng.random(int(visit[-1]) + 1 if len(visit) else 0) < share
        chosen = kept[visit] if len(visit) else np.zeros(0, np.bool_)
        yield Slates(*(np.asarray(column)[chosen] for column in part))


def together(parts: list[Slates]) -> Impressions:
    """Return the parts as impressions, in order of time and then of position."""
    kinds = (np.int32, np.int32, np.int64, np.int32, np.bool_, np.float32)
    whole: list[Array] = [
        np.concatenate([np.zeros(0, kind), *(np.asarray(part[column]) for part in parts)]).astype(kind, copy=False)
        for column, kind in enumerate(kinds)
    ]
    order = np.lexsort((whole[3], whole[2]))
    user, item, time, position, clicked, seconds = (column[order] for column in whole)
    return Impressions(user=user, item=item, time=time, position=position, clicked=clicked, watched_seconds=seconds)
