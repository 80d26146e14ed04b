"""Groups of queries that are padded together, so that one user's long history does not slow down or fill a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pasand.types import Rows

MAX_CELLS = 1 << 18
"""Entries that the histories of a group take at most, with padding; a single longer history is a group of its own."""


def groups_by_size(sizes: Sequence[int], max_cells: int = MAX_CELLS) -> list[list[int]]:
    """Return the positions of some sizes in groups, such that each group's largest size times its length is bounded.

    All are one group where that is within the bound, in their order; else groups are of similar sizes.

    >>> groups_by_size([3, 900, 2, 800], 2000)
    [[2, 0], [3, 1]]
    """
    positions = range(len(sizes))
    if max(sizes, default=0) * len(sizes) <= max_cells:
        return [list(positions)] if sizes else []
    groups: list[list[int]] = []
    for position in sorted(positions, key=sizes.__getitem__):
        if not groups or sizes[position] * (len(groups[-1]) + 1) > max_cells:
            groups.append([])
        groups[-1].append(position)
    return groups


def padded(lists: Sequence[Rows | None]) -> Rows | None:
    """Return rows as one array, (B, X), padded with -1; None if there are none."""
    longest = max(0 if rows is None else len(rows) for rows in lists)
    if not longest:
        return None
    out = np.full((len(lists), longest), -1, np.int32)
    for i, rows in enumerate(lists):
        if rows is not None:
            out[i, : len(rows)] = rows
    return out
