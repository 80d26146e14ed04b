"""Impressions (slates) and events of a simulated world, and the sampling of visits that bounds their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from pasand.data.impressions import Impressions
from pasand.types import Array, Mask, Rows, Scores, Times

MAX_IMPRESSIONS = 5_000_000
"""Largest expected number of impressions in a dataset of a world; beyond it, a random sample of the visits is kept."""


class Events(NamedTuple):
    """Films watched, in order of time; one value per event, (E,) each. Users and items are rows of the world."""

    user: Rows
    item: Rows
    time: Times
    """(E,) seconds since 1970."""
    rating: Scores
    """(E,) whole numbers from 1 to 5."""
    watched_seconds: Scores
    position: Rows
    """(E,) position in the slate, from 1."""


class Slates(NamedTuple):
    """Impressions, clicked or not, in order of time, of visit and of position; (n,) each."""

    user: Rows
    item: Rows
    time: Times
    position: Rows
    clicked: Mask
    watched_seconds: Scores
    """(n,) 0 where not clicked."""


def watched(slates: Slates, rating: Scores) -> Events:
    """Return the clicked impressions as events."""
    mask = slates.clicked
    return Events(
        slates.user[mask],
        slates.item[mask],
        slates.time[mask],
        rating[mask],
        slates.watched_seconds[mask],
        slates.position[mask],
    )


def sample_visits(parts: Iterable[Slates], share: float, rng: Generator) -> Iterator[Slates]:
    """Yield the parts with a random `share` of the visits, whole ones only; every part must hold whole visits."""
    for part in parts:
        if share >= 1:
            yield part
            continue
        visit = np.cumsum(part.position == 1) - 1
        kept = rng.random(int(visit[-1]) + 1 if len(visit) else 0) < share
        selected = kept[visit] if len(visit) else np.zeros(0, np.bool_)
        yield Slates(*(np.asarray(column)[selected] for column in part))


def to_impressions(parts: list[Slates]) -> Impressions:
    """Return the concatenated parts as impressions, in order of time and then of position."""
    dtypes = (np.int32, np.int32, np.int64, np.int32, np.bool_, np.float32)
    columns: list[Array] = [
        np.concatenate([np.zeros(0, dtype), *(np.asarray(part[column]) for part in parts)]).astype(dtype, copy=False)
        for column, dtype in enumerate(dtypes)
    ]
    order = np.lexsort((columns[3], columns[2]))
    user, item, time, position, clicked, seconds = (column[order] for column in columns)
    return Impressions(user=user, item=item, time=time, position=position, clicked=clicked, watched_seconds=seconds)
