"""`Retrieved`: the candidates of a retriever, kept for a stage that chooses among them once more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from pasand.contracts import Retriever
from pasand.types import Candidates, Queries

KEPT = 8
"""Calls whose candidates are kept: a request makes one, and one more for each group of a rule that is short."""


@dataclass(frozen=True)
class Retrieved:
    """Returns what a retriever returns, and keeps the last few lists for `again`."""

    retriever: Retriever
    at_least: int = 1
    """Number of candidates that the recommender retrieves at least."""
    _last: deque[tuple[Queries, Candidates]] = field(
        default_factory=lambda: deque(maxlen=KEPT), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.at_least < 1:
            raise ValueError(f"at_least must be positive, got {self.at_least}")

    def __call__(self, queries: Queries) -> Candidates:
        """Return the candidates, (B, K)."""
        found = self.retriever(queries)
        self._last.append((queries, found))
        return found

    def again(self, queries: Queries, k: int) -> Candidates:
        """Return the max(k, queries.k, `at_least`) best candidates, without a second search after that of the list."""
        wanted = max(k, queries.k, self.at_least)
        for before, found in list(self._last):
            if before.k >= wanted and _same(before, queries):
                return found
        return self.retriever(replace(queries, k=wanted))


def _same(one: Queries, other: Queries) -> bool:
    """Return whether two queries are the same but for k: their arrays are the same objects."""
    names = ("users", "history", "history_time", "history_value", "time", "features", "exclude", "seen", "allowed")
    return all(getattr(one, name) is getattr(other, name) for name in names)
