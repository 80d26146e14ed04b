"""`Marketplace`, a simulated market with known preferences: sellers of regional crafts and others, products, buyers.

It is a `World` of other things. Choices, visits, impressions and true values are computed by the same code, in which a
film is a product, a viewer a buyer, the language of a film that of the listing, a genre a category, a leading actor a
craft, and the year the price level: the logarithm of the price relative to others of the craft. An event is a purchase
with a rating.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.simulation import listings, pictures
from pasand.simulation.buyers import draw_buyers
from pasand.simulation.choice_model import Effects, Films, Viewers
from pasand.simulation.crafts import CATEGORIES, CRAFTS, METROS, PRICE_BANDS, REGION_OF_TOWN, SIZES, TOWNS
from pasand.simulation.population import numbered
from pasand.simulation.products import Products, draw_products
from pasand.simulation.sellers import Sellers, draw_sellers
from pasand.simulation.slates import MAX_IMPRESSIONS
from pasand.simulation.studios import REGIONS
from pasand.simulation.world import DAY, START, World
from pasand.types import Mask

EFFECTS = Effects(factors=1.0, language=1.2, era=1.2, star=1.0, quality=0.7, base=-1.2)
"""Effects on the utility of a product; "era" is that of the preferred price level, "star" that of a favourite craft."""


@dataclass(frozen=True, kw_only=True)
class Marketplace(World):
    """A market whose true preferences are known; equal fields give equal markets and equal events.

    Sellers differ in craft, town, size and age, and new ones join at the start of every week. Buyers neither like nor
    avoid a seller: the utility is that of the product, of which the craft, the price, the language of the listing and
    the quality are known or reported, and a taste and the exact quality are hidden.
    """

    n_items: int = 600
    """Number of products, at least that of the sellers."""
    n_sellers: int = 120
    new_sellers: float = 0.3
    """Share of the sellers who join after the first day, in [0, 1]."""
    pictures: str = ""
    """Folder of the pictures of the products; "": none. They are drawn by `pictures.write`, not by this class."""
    effects: Effects = field(default_factory=lambda: EFFECTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_users < 2:
            raise ValueError(f"n_users must be at least 2, got {self.n_users}")
        if self.n_sellers < 1:
            raise ValueError(f"n_sellers must be at least 1, got {self.n_sellers}")
        if self.n_items < self.n_sellers:
            raise ValueError(f"n_items must be at least n_sellers, got {self.n_items} and {self.n_sellers}")
        if not 0 <= self.new_sellers <= 1:
            raise ValueError(f"new_sellers must be in [0, 1], got {self.new_sellers}")
        if self.studios or self.rural:
            raise ValueError("studios and rural must be 0: a marketplace has neither")

    @property
    def description(self) -> str:
        """One sentence on what is real and what is simulated."""
        return (
            f"a synthetic marketplace (seed {self.seed}): real crafts and towns, simulated sellers, buyers and events"
        )

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Names of the languages of the listings, in order of code."""
        return listings.LANGUAGES

    @cached_property
    def genres(self) -> tuple[str, ...]:
        """Names of the categories, in order of code."""
        return CATEGORIES

    @cached_property
    def stars(self) -> tuple[str, ...]:
        """Names of the crafts, in order of code."""
        return tuple(craft.name for craft in CRAFTS)

    @cached_property
    def sellers(self) -> Sellers:
        """The sellers, established ones first, then new ones in order of their first day."""
        return draw_sellers(self.n_sellers, self.new_sellers, self.days, self._rng(8))

    @cached_property
    def _drawn(self) -> tuple[Products, Films]:
        return draw_products(self.n_items, self.sellers, self.days, self.new_films, self._rng(0))

    @property
    def products(self) -> Products:
        """The products, in order of id."""
        return self._drawn[0]

    @cached_property
    def films(self) -> Films:
        """The products as the choice model reads them, in order of id."""
        return self._drawn[1]

    @cached_property
    def viewers(self) -> Viewers:
        """The buyers, in order of id."""
        return draw_buyers(self.n_users, self.films, self.days, self.new_viewers, self.visits, self._rng(2))

    @property
    def in_metro(self) -> Mask:
        """Which sellers are in a metro, (S,)."""
        inside: Mask = np.isin(np.array(TOWNS)[self.sellers.town], METROS)
        return inside

    def item_features(self) -> dict[str, Feature]:
        """Return the observable features of the products; `available_from` may be after the end of the log.

        `seller_age` is that of the seller when the product was listed, in days. With `pictures` there is `image`, the
        names of the files.
        """
        made, sold, by = self.films, self.products, self.sellers
        seller, town = sold.seller, by.town[sold.seller]
        day, since = np.ceil(made.arrives).astype(np.int64), by.since.astype(np.int64)[seller]
        region = np.array([REGIONS.index(REGION_OF_TOWN[name]) for name in TOWNS], np.int32)
        made_by = tuple(numbered("seller", self.n_sellers))
        out = {
            "title": Feature(kind="text", values=np.array(made.title, dtype=np.dtypes.StringDType())),
            "description": Feature(kind="text", values=np.array(sold.description, dtype=np.dtypes.StringDType())),
            "language": Feature(kind="categorical", values=made.language, names=self.languages),
            "category": Feature(kind="categorical", values=made.genres[:, 0].copy(), names=CATEGORIES),
            "craft": Feature(kind="categorical", values=sold.craft, names=self.stars),
            "price": Feature(kind="number", values=sold.price),
            "price_band": Feature(kind="categorical", values=sold.price_band, names=PRICE_BANDS),
            "seller": Feature(kind="categorical", values=seller, names=made_by),
            "seller_region": Feature(kind="categorical", values=region[town], names=REGIONS),
            "seller_town": Feature(kind="categorical", values=town, names=TOWNS),
            "seller_size": Feature(kind="categorical", values=by.size[seller], names=SIZES),
            "seller_age": Feature(kind="number", values=(day - since).astype(np.float32)),
            "available_from": Feature(kind="time", values=START + day * DAY),
            "seller_since": Feature(kind="time", values=START + since * DAY),
        }
        if self.pictures:
            paths = np.array(pictures.paths(self.pictures, made.ids), dtype=np.dtypes.StringDType())
            out["image"] = Feature(kind="text", values=paths)
        return out

    def frames(self, *, chunk: int = 20_000) -> Iterator[pl.DataFrame]:
        """Yield the parts of `events` with ids in place of rows; parts without events are left out."""
        return (part.drop("watched_seconds") for part in super().frames(chunk=chunk))

    def impression_frames(self, *, max_impressions: int = MAX_IMPRESSIONS) -> Iterator[pl.DataFrame]:
        """Yield the parts of `impressions` with ids, of a random sample of visits with about `max_impressions`."""
        frames = super().impression_frames(max_impressions=max_impressions)
        return (part.drop("watched_seconds") for part in frames)

    def dataset(self, *, impressions: bool = True, max_impressions: int = MAX_IMPRESSIONS) -> Dataset:
        """Return all events as a dataset whose rows are the rows of this world, as `World.dataset`."""
        data = super().dataset(impressions=impressions, max_impressions=max_impressions)
        shown = data.impressions
        return replace(
            data,
            name="market",
            columns={"position": data.columns["position"]},
            impressions=None if shown is None else replace(shown, watched_seconds=None),
        )
