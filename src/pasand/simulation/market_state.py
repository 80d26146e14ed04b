"""`MarketState`: who is still in a market, what was sold, and how the choices of a round change that."""

from __future__ import annotations

import numpy as np

from pasand.simulation.market import MEMORY, Market
from pasand.types import Array, Mask, Rows

GENRE_DECAY = 0.9
"""Weight per round of what a viewer watched before, in the genres that a viewer watches."""


class MarketState:
    """The viewers and studios of a market that have not left, after some rounds."""

    def __init__(self, market: Market) -> None:
        self.market = market
        n_genres = len(market.world.genres)
        self.active: Mask = np.ones(market.n_users, np.bool_)
        """Which viewers have not left, (U,); later ones are active before they arrive."""
        self.satisfaction: Array = np.full(market.n_users, 0.5)
        """Remembered satisfaction of each viewer, in [0, 1], (U,)."""
        self.selling: Mask = np.ones(market.n_studios, np.bool_)
        """Which studios have not left, (S,)."""
        self.last_sale: Array = np.maximum(market.studio_since, market.warm_days).astype(np.float64)
        """Day of the last sale of each studio, (S,); where it has none, its first day, or that of the first round."""
        self.first_sale: Array = np.full(market.n_studios, np.inf)
        """Day of the first sale of each studio in the rounds, (S,); inf: none yet."""
        self.genres: Array = np.zeros((market.n_users, n_genres), np.float32)
        """Films watched per genre, (U, G), with less weight for earlier rounds."""
        codes = market.world.films.genres
        share = 1.0 / np.maximum((codes >= 0).sum(axis=1, keepdims=True), 1)
        self._of_film = np.zeros((market.n_items, n_genres), np.float32)
        film, column = np.nonzero(codes >= 0)
        np.add.at(self._of_film, (film, codes[film, column]), np.broadcast_to(share, codes.shape)[film, column])

    def available(self, round_: int) -> Mask:
        """Return which films can be shown in a round, (N,): those that have arrived, of studios that have not left."""
        arrived = np.ceil(self.market.world.films.arrives) <= self.market.day(round_)
        available: Mask = arrived & self.selling[self.market.studio]
        return available

    def arrived(self, round_: int) -> Mask:
        """Return which viewers have arrived until a round, whether they have left or not, (U,)."""
        arrived: Mask = self.market.world.viewers.arrives <= self.market.day(round_)
        return arrived

    def begun(self, round_: int) -> Mask:
        """Return which studios have begun until a round, whether they have left or not, (S,)."""
        begun: Mask = self.market.studio_since <= self.market.day(round_)
        return begun

    def update(self, round_: int, users: Rows, items: Rows, clicked: Mask, preference: Array) -> None:
        """Count the choices of a round: sales, genres, satisfaction, and who leaves; (B,), (B, K) three times.

        The satisfaction of a visit is the true preference for the best film that is clicked, 0 without a click.
        """
        market, day = self.market, self.market.day(round_)
        row, column = np.nonzero(clicked)
        film = items[row, column]
        sold = np.unique(market.studio[film])
        self.last_sale[sold] = day
        self.first_sale[sold] = np.minimum(self.first_sale[sold], day)
        self.selling &= day - self.last_sale < market.patience_days
        self.genres *= GENRE_DECAY
        np.add.at(self.genres, users[row], self._of_film[film])
        of_visit = np.where(clicked, preference, 0).max(axis=1, initial=0)
        self.satisfaction[users] = MEMORY * self.satisfaction[users] + (1 - MEMORY) * of_visit
        self.active[users] = ~market.leaves(round_, users, self.satisfaction[users])
