"""Types that every package shares: queries, candidates, and aliases of array types.

Legend of shape letters, used in all of pasand's documentation:
B queries, K candidates, N items, U users, H history, D dimensions, G groups, E events, R relevant items.

Row ``-1`` is padding or unknown. Score ``-inf`` is padding or "cannot be scored". External ids never appear here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]
Rows: TypeAlias = NDArray[np.int32]
Scores: TypeAlias = NDArray[np.float32]
Vectors: TypeAlias = NDArray[np.float32]
Times: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Offsets: TypeAlias = NDArray[np.int64]


@overload
def within(rows: Rows, n: int) -> Rows: ...
@overload
def within(rows: Rows | None, n: int) -> Rows | None: ...
def within(rows: Rows | None, n: int) -> Rows | None:
    """Return the rows with those at or beyond n, which are unknown, replaced by -1; None stays None.

    >>> within(np.array([0, 7, -1], np.int32), 5)
    array([ 0, -1, -1], dtype=int32)
    """
    return rows if rows is None or not (rows >= n).any() else np.where(rows < n, rows, np.int32(-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """A batch of requests for the k best items of users at a time; the same type offline and online."""

    users: Rows
    """(B,) row of the user, -1: not in the training data."""
    history: Rows
    """(B, H) items of the user's events before `time`, oldest first, left-padded with -1; positive or not."""
    history_time: Times
    """(B, H) seconds since 1970, UTC; 0 at padding and where the log has no time."""
    history_value: Scores
    """(B, H) rating or strength of each event; nan at padding and where the event has none."""
    time: Times
    """(B,) time of the query, in seconds since 1970, UTC."""
    features: Mapping[str, Array] = field(default_factory=dict)
    """(B, ...) user features given with the query, encoded as in the dataset's user features; one row per query."""
    exclude: Rows | None = None
    """(B, X) items that must not be returned, padded with -1; None: none."""
    seen: Rows | None = None
    """(B, S) items that the user has seen, if `history` does not hold them all; padded with -1; None: it does."""
    allowed: Mask | None = None
    """(1, N) or (B, N) items that may be returned; None: all."""
    draw: Array | None = None
    """(B,) number from 0 by which stages draw for the query, such as a hash of a request's id; -1 or None: they draw by
    its user, history and time."""
    k: int
    """Number of items to return, at least 1. List length is set here only, never inside a component."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        for name, values in self.features.items():
            if not np.ndim(values) or len(values) != len(self.users):
                rows = f"{len(values)} rows" if np.ndim(values) else "a single value"
                raise ValueError(f"feature {name!r} has {rows} for {len(self.users)} queries: give a row for each")

    def __len__(self) -> int:
        return len(self.users)

    def take(self, which: Rows | Array) -> Queries:
        """Return the queries at the given positions, in their order."""
        return replace(
            self,
            users=self.users[which],
            history=self.history[which],
            history_time=self.history_time[which],
            history_value=self.history_value[which],
            time=self.time[which],
            features={name: values[which] for name, values in self.features.items()},
            exclude=None if self.exclude is None else self.exclude[which],
            seen=None if self.seen is None else self.seen[which],
            allowed=self.allowed if self.allowed is None or len(self.allowed) == 1 else self.allowed[which],
            draw=None if self.draw is None else self.draw[which],
        )

    def within(self, n_items: int) -> Queries:
        """Return the queries for a model of the first `n_items` items: other items of the history become -1."""
        history = within(self.history, n_items)
        return self if history is self.history else replace(self, history=history)

    def liked(self, positive_from: float) -> Rows:
        """Return `history` with the events valued below `positive_from` replaced by -1; (B, H).

        An event without a value counts as positive: it was a view, a purchase or a play.
        """
        return np.where(self.history_value < positive_from, np.int32(-1), self.history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Lists of items, one per query, best first; what retrievers and stages exchange."""

    items: Rows
    """(B, K) rows, -1 at padding; padding comes last."""
    scores: Scores
    """(B, K) non-increasing within a list; -inf at padding."""
    propensity: Array | None = None
    """(B, K) probability of the item at this position, given the positions above, if a stage randomises the list."""
    slot_propensity: Array | None = None
    """(B, K) the same whatever the positions above show, if a stage knows it; nan where it does not."""

    def __len__(self) -> int:
        return len(self.items)

    def top(self, k: int) -> Candidates:
        """Return the first k of each list; (B, min(k, K))."""
        return Candidates(
            items=self.items[:, :k],
            scores=self.scores[:, :k],
            propensity=None if self.propensity is None else self.propensity[:, :k],
            slot_propensity=None if self.slot_propensity is None else self.slot_propensity[:, :k],
        )
