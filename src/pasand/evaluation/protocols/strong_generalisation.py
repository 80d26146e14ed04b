"""The strong-generalisation protocol of the autoencoder papers: test users are not in train."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.protocols.temporal import one_query_per_user
from pasand.evaluation.split import (
    WHOLE_CATALOGUE,
    Split,
    event_counts,
    event_positions,
    hidden_positives,
    hidden_ratings,
)
from pasand.types import Offsets


@dataclass(frozen=True)
class StrongGeneralisation:
    """Holds out users, gives the model their first events as history (fold-in), and tests on the remaining events.

    Liang et al., WWW 2018. They draw the fold-in events at random; here these are the earliest if the order is known.
    """

    holdout_share: float = 0.1
    """Share of the users with at least two events that are held out; at least one user."""
    fold_in_share: float = 0.8
    """Share of a held-out user's events that the model is given; at least one and not all."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("holdout_share", "fold_in_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError if fewer than two users have at least two events."""
        rng = np.random.default_rng(self.seed)
        count = event_counts(data)
        eligible = np.flatnonzero(count >= 2)
        if len(eligible) < 2:
            cause = f"{len(eligible)} of {data.n_users} users have at least two events, but two such users are needed"
            raise InputError(data.name, cause=cause, cure="give events of more users")
        held_out = np.zeros(data.n_users, np.bool_)
        held_out[rng.permutation(eligible)[: max(1, round(self.holdout_share * len(eligible)))]] = True
        position = event_positions(data) if data.order != "none" else _shuffled_positions(data, rng)
        n_given = np.clip((self.fold_in_share * count).astype(np.int64), 1, np.maximum(count - 1, 1))
        hidden = held_out[data.user] & (position >= n_given[data.user])
        log = data.select(held_out[data.user] & ~hidden)
        shown = None if data.impressions is None else data.impressions.select(~held_out[data.impressions.user])
        event = hidden_positives(data, hidden)
        rated = hidden_ratings(data, hidden)
        now = int(data.time[-1]) + 1
        first = "first" if data.order != "none" else "random"
        return [
            Split(
                name=f"strong-generalisation, {held_out.sum()} users held out, "
                f"{first} {100 * self.fold_in_share:g} % of their events given, seed {self.seed}",
                leakage="train holds events of other users that are later than the test events, "
                f"and {WHOLE_CATALOGUE}" + ("" if data.order != "none" else "; the given events are drawn at random"),
                rules={
                    "relevant": "every liked item of the user's hidden events that is not in the given ones",
                    "seen": "every given event",
                    "test queries": "one per held-out user; none of them is in train",
                    "ratings": "all hidden ratings of held-out users",
                },
                train=data.select(~held_out[data.user], impressions=shown),
                test=data.select(hidden),
                test_queries=one_query_per_user(data, log, event, time=now, ratings=False),
                rating_queries=None if rated is None else one_query_per_user(data, log, rated, time=now, ratings=True),
            )
        ]


def _shuffled_positions(data: Dataset, rng: np.random.Generator) -> Offsets:
    """Return random positions of each user's events, from 0; (E,)."""
    order = np.lexsort((rng.random(len(data)), data.user))
    position = np.empty(len(data), np.int64)
    position[order] = np.arange(len(data)) - data.by_user.start[data.user[order]]
    return position
