"""The protocol of the autoencoder papers: users that were never trained on bring a part of their events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.protocols.temporal import at_the_cut
from pasand.evaluation.split import Split, event_counts, event_positions, hidden_positives, rated_among
from pasand.types import Offsets


@dataclass(frozen=True)
class StrongGeneralisation:
    """Holds out users, tells their first events (in random order where none is known), and asks for the others.

    Liang et al., WWW 2018; they draw the events told at random, here the earliest are told where the order is known.
    """

    held_out: float = 0.1
    """Share of the users with at least two events that are held out; at least one user is."""
    fold_in: float = 0.8
    """Share of each held-out user's events that is told, at least one and not all."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("held_out", "fold_in"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError with fewer than two users of at least two events."""
        rng = np.random.default_rng(self.seed)
        count = event_counts(data)
        able = np.flatnonzero(count >= 2)
        if len(able) < 2:
            cause = f"{len(able)} of {data.n_users} users have two events or more, and two such users are needed"
            raise InputError(data.name, cause=cause, cure="give events of more users")
        held = np.zeros(data.n_users, np.bool_)
        held[rng.permutation(able)[: max(1, round(self.held_out * len(able)))]] = True
        place = event_positions(data) if data.order != "none" else _shuffled(data, rng)
        told = np.clip((self.fold_in * count).astype(np.int64), 1, np.maximum(count - 1, 1))
        hidden = held[data.user] & (place >= told[data.user])
        log = data.select(held[data.user] & ~hidden)
        shown = None if data.impressions is None else data.impressions.select(~held[data.impressions.user])
        event = hidden_positives(data, hidden)
        rated = rated_among(data, hidden)
        now = int(data.time[-1]) + 1
        first = "first" if data.order != "none" else "random"
        return [
            Split(
                name=f"strong-generalisation, {held.sum()} users held out, "
                f"{first} {100 * self.fold_in:g} % of their events told, seed {self.seed}",
                leaks="train holds events of other users that are later than those asked for"
                + ("" if data.order != "none" else "; which events are told is drawn at random"),
                rules={
                    "relevant": "every liked item among the held-out user's hidden events that was not told",
                    "seen": "every event told",
                    "warm": "all: every user asked is told of, though none was trained on",
                    "cold": "none",
                    "asked": "each held-out user once",
                    "ratings": "all hidden ratings of held-out users",
                },
                train=data.select(~held[data.user], impressions=shown),
                test=data.select(hidden),
                lists=at_the_cut(data, log, event, time=now, ratings=False),
                ratings=None if rated is None else at_the_cut(data, log, rated, time=now, ratings=True),
            )
        ]


def _shuffled(data: Dataset, rng: np.random.Generator) -> Offsets:
    order = np.lexsort((rng.random(len(data)), data.user))
    place = np.empty(len(data), np.int64)
    place[order] = np.arange(len(data)) - data.by_user.start[data.user[order]]
    return place
