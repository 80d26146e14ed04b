"""`Market`: a world that goes on after its log, in which new studios begin, and viewers and studios leave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.simulation.counter_random import uniform
from pasand.simulation.population import numbered
from pasand.simulation.slates import Events
from pasand.simulation.studios import CITIES
from pasand.simulation.world import DAY, START, World
from pasand.types import Array, Mask, Rows

METROS = ("Chennai", "Delhi", "Kolkata", "Mumbai")
METRO_SHARE = 0.6
"""Share of the studios that are in a metro."""
LEAVING_RATE = 0.05
"""Probability that a viewer whose satisfaction is 0 leaves for good after a visit."""
MEMORY = 0.7
"""Weight of the satisfaction before in that after a visit; the rest is that of the visit."""
VISIT, LEAVES = 11, 12
"""Counters of the random numbers of each purpose."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """A world with a log of `warm_days` days, and then rounds in which recommenders determine what is shown.

    Films, viewers and studios go on arriving until the end of the rounds. Of the studios, a share is new: it begins
    with a film that arrives in a round. Half of the later films are of new studios, as far as one has begun. Viewers
    neither like nor avoid a studio. Equal fields give equal markets.
    """

    n_users: int = 2000
    n_items: int = 600
    """Number of films, real and invented ones."""
    n_studios: int = 120
    new_studios: float = 0.3
    """Share of the studios that begin in the rounds, in [0, 1]."""
    warm_days: int = 60
    """Length of the log before the first round."""
    rounds: int = 50
    round_days: int = 3
    """Days between two rounds."""
    patience_days: int = 60
    """Days without a sale after which a studio leaves with its films; a sale is a film that is clicked."""
    visits: float = 0.5
    """Expected visits a day of the average viewer; in a round a viewer visits at most once."""
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = {"n_users": 2, "n_items": 20, "n_studios": 2, "warm_days": 1, "rounds": 1}
        for name, least in {**lowest, "round_days": 1, "patience_days": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.new_studios <= 1:
            raise ValueError(f"new_studios must be in [0, 1], got {self.new_studios}")

    @cached_property
    def world(self) -> World:
        """The world of log and rounds; half of its films and 30 % of its viewers arrive after the first day."""
        return World(
            n_users=self.n_users,
            n_items=self.n_items,
            days=self.warm_days + self.rounds * self.round_days,
            seed=self.seed,
            visits=self.visits,
            new_films=0.5,
            remembered=min(self.n_items, 32),
        )

    def day(self, round_: int) -> int:
        """Return the day of the world on which a round begins."""
        return self.warm_days + round_ * self.round_days

    def time(self, round_: int) -> int:
        """Return the time of a round's lists, in seconds since 1970, UTC."""
        return START + self.day(round_) * DAY

    @cached_property
    def studio(self) -> Rows:
        """The studio of each film, (N,)."""
        return self._studios[0]

    @cached_property
    def studio_since(self) -> Array:
        """The first day of each studio, (S,): before the log, or in a round that of its first film; inf: without."""
        return self._studios[1]

    @cached_property
    def is_new(self) -> Mask:
        """Which studios begin in the rounds, (S,)."""
        return np.asarray(self.studio_since >= self.warm_days) & np.isfinite(self.studio_since)

    @cached_property
    def metro(self) -> Mask:
        """Which studios are in a metro, (S,)."""
        inside: Mask = np.isin(np.array(CITIES)[self._city], METROS)
        return inside

    @cached_property
    def _studios(self) -> tuple[Rows, Array]:
        rng, arrives = np.random.default_rng([self.seed, 13]), self.world.films.arrives
        late = np.flatnonzero(arrives >= self.warm_days)
        n_new = min(round(self.new_studios * self.n_studios), len(late) // 2, self.n_studios - 1)
        n_old = self.n_studios - n_new
        weight = rng.lognormal(0, 1, n_old)
        studio = rng.choice(n_old, len(arrives), p=weight / weight.sum()).astype(np.int32)
        since = np.append(rng.uniform(-3650, -365, n_old), np.full(n_new, np.inf))
        first = rng.choice(late, n_new, replace=False) if n_new else np.empty(0, np.int64)
        studio[first] = np.arange(n_old, self.n_studios)
        since[n_old:] = arrives[first]
        for film in np.setdiff1d(late, first)[rng.random(len(late) - n_new) < 0.5]:
            begun = np.flatnonzero(since[n_old:] <= arrives[film])
            if len(begun):
                studio[film] = n_old + rng.choice(begun)
        return studio, since

    @cached_property
    def _city(self) -> Rows:
        rng = np.random.default_rng([self.seed, 14])
        metros = [CITIES.index(name) for name in METROS]
        others = [city for city in range(len(CITIES)) if city not in metros]
        in_metro = rng.random(self.n_studios) < METRO_SHARE
        return np.where(in_metro, rng.choice(metros, self.n_studios), rng.choice(others, self.n_studios)).astype(
            np.int32
        )

    def log(self) -> Dataset:
        """Return the events of the days before the first round, with all viewers and films of the rounds."""
        parts, world, end = [], self.world, self.time(0)
        for events in world.events():
            before = int(np.searchsorted(events.time, end))
            parts.append(Events._make(np.asarray(column)[:before] for column in events))
            if before < len(events.time):
                break
        columns = [np.concatenate([np.asarray(part[column]) for part in parts]) for column in range(4)]
        since = np.where(np.isfinite(self.studio_since), self.studio_since, 0)[self.studio]
        studios = tuple(numbered("studio", self.n_studios))
        return Dataset(
            name=f"market (seed {self.seed})",
            users=Vocabulary(world.viewers.ids),
            items=Vocabulary(world.films.ids),
            user=columns[0].astype(np.int32),
            item=columns[1].astype(np.int32),
            time=columns[2].astype(np.int64),
            value=columns[3].astype(np.float32),
            values="rating",
            positive_from=4,
            user_features=world.user_features(),
            item_features={
                **world.item_features(),
                "studio": Feature(kind="categorical", values=self.studio, names=studios),
                "studio_city": Feature(kind="categorical", values=self._city[self.studio], names=CITIES),
                "studio_since": Feature(kind="time", values=(START + np.ceil(since) * DAY).astype(np.int64)),
            },
            notes=(world.description,),
        )

    def visitors(self, round_: int, active: Mask) -> Rows:
        """Return the viewers who visit in a round, in order, of the `active` viewers, who have not left, (U,)."""
        people = self.world.viewers
        chance = 1 - np.exp(-people.visits.astype(np.float64) * self.round_days)
        drawn = uniform(VISIT, self.seed, round_, np.arange(self.n_users)) < chance
        return np.flatnonzero(drawn & active & (people.arrives <= self.day(round_))).astype(np.int32)

    def leaves(self, round_: int, users: Rows, satisfaction: Array) -> Mask:
        """Return which visitors leave for good, (B,), given their remembered satisfaction in [0, 1], (B,).

        The probability is `LEAVING_RATE` times the square of what is missing to full satisfaction.
        """
        chance = LEAVING_RATE * (1 - satisfaction) ** 2
        left: Mask = uniform(LEAVES, self.seed, round_, users) < chance
        return left
