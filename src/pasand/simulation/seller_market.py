"""`SellerMarket`: a marketplace that goes on in rounds after its log, in which new sellers join every week."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from pasand.data.dataset import Dataset
from pasand.simulation import pictures
from pasand.simulation.market import Market
from pasand.simulation.marketplace import Marketplace
from pasand.types import Array, Mask, Rows


@dataclass(frozen=True, kw_only=True)
class SellerMarket(Market):
    """A `Market` whose world is a `Marketplace`: its films are products, its studios sellers, its viewers buyers.

    `new_studios` is the share of the sellers who join after the first day of the log, at the start of a week; those of
    them who join in the rounds are the new ones (`is_new`). They list their first product at once.
    """

    new_studios: float = 0.5
    pictures: str = ""
    """Folder into which the pictures of the products are drawn by `log`; "": none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_items < self.n_studios:
            raise ValueError(f"n_items must be at least n_studios, got {self.n_items} and {self.n_studios}")

    @cached_property
    def world(self) -> Marketplace:
        """The marketplace of log and rounds; half of the products of established sellers arrive after the first day."""
        return Marketplace(
            n_users=self.n_users,
            n_items=self.n_items,
            n_sellers=self.n_studios,
            new_sellers=self.new_studios,
            days=self.warm_days + self.rounds * self.round_days,
            seed=self.seed,
            visits=self.visits,
            new_films=0.5,
            remembered=min(self.n_items, 32),
            pictures=self.pictures,
        )

    @cached_property
    def studio(self) -> Rows:
        """The seller of each product, (N,)."""
        return self.world.products.seller

    @cached_property
    def studio_since(self) -> Array:
        """The first day of each seller, (S,): before the log, or at the start of a week."""
        return self.world.sellers.since

    @cached_property
    def metro(self) -> Mask:
        """Which sellers are in a metro, (S,)."""
        return self.world.in_metro

    def log(self) -> Dataset:
        """Return the events of the days before the first round, with all buyers and products of the rounds."""
        if self.pictures:
            pictures.write(self.world, self.pictures)
        return replace(super().log(), name=f"marketplace (seed {self.seed})", item_features=self.world.item_features())
