"""Propensities of the items of a response, and the number by which a request draws its random items."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from msgspec import UNSET, UnsetType

from pasand.serving.schemas import Recommended, RecommendRequest
from pasand.types import Array


def draws(requests: Sequence[RecommendRequest]) -> Array | None:
    """Return the `draw` of queries, (B,): a hash of the request's id, -1 without one; None if no request has one."""
    if all(request.request_id is None for request in requests):
        return None
    return np.array([-1 if request.request_id is None else _hash(request.request_id) for request in requests])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def known_of(propensity: Array | None, row: int, shown: Array) -> list[float | None]:
    """Return the propensities of the shown positions of a list, as float64; None where there is none."""
    if propensity is None:
        return [None] * len(shown)
    return [None if value != value else value for value in propensity[row, shown].tolist()]


def list_propensity(items: Sequence[Recommended]) -> float | UnsetType:
    """Return the probability of the drawn items of a list together; UNSET if no stage draws items."""
    found = [item.propensity for item in items if item.propensity is not None]
    return math.prod(found) if found else UNSET
