"""`World`, a simulated streaming platform with known preferences: 100 real Indian films and invented viewers.

Titles, years, languages, genres, running times and leading actors are facts; preferences, visits and ratings are drawn
at random. Popular films are shown more often, and films and viewers arrive over time. The true preference of every
viewer for every film is available, so that recommenders can be compared with the truth and not only with the log.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.progress import track
from pasand.simulation import population
from pasand.simulation.choice_model import (
    SLATE_SIZE,
    Effects,
    Films,
    Viewers,
    click_probabilities,
    preferences,
    simulate_visits,
    utility_inputs,
)
from pasand.simulation.slates import MAX_IMPRESSIONS, Events, Slates, sample_visits, to_impressions, watched
from pasand.simulation.studios import draw_studios
from pasand.types import Array, Rows, Scores

START = 1_735_689_600
"""Start of the log, 2025-01-01 UTC, in seconds since 1970."""
DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class World:
    """A platform whose true preferences are known; equal fields give equal worlds and equal events."""

    n_users: int = 500
    n_items: int = 100
    """Number of films; up to 100 are real, evenly picked from all languages, the others invented: "film 00101" ..."""
    days: int = 180
    """Length of the log."""
    seed: int = 7
    visits: float = 0.5
    """Expected visits a day of the average viewer; few viewers visit often, most seldom."""
    feedback: float = 0.7
    """Share of exposure that follows the popularity of the last weeks, in [0, 1]; the rest is uniform over films."""
    position_bias: float = 0.3
    """Rate at which examination falls with the position in the slate; 0: no position bias."""
    new_films: float = 0.3
    """Share of the films that arrive after the first day, in [0, 1]."""
    new_viewers: float = 0.3
    """Share of the viewers that arrive after the first day, in [0, 1]."""
    remembered: int = 128
    """Number of films last watched that a viewer is not shown again; takes four bytes of memory for each and viewer."""
    studios: int = 0
    """Number of studios; with any, films have a studio, its region, city, size and first day, and a price, and viewers
    their second language. Events and the other features do not depend on it."""
    rural: float = 0.0
    """Share of viewers who live in a rural area; above 0, viewers have a feature `area`. Nothing else depends on it."""
    effects: Effects = field(default_factory=Effects)

    def __post_init__(self) -> None:
        for name in ("n_users", "n_items", "days", "remembered"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.studios < 0:
            raise ValueError(f"studios must be at least 0, got {self.studios}")
        for name in ("feedback", "new_films", "new_viewers", "rural"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("visits", "position_bias"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    @property
    def description(self) -> str:
        """One sentence on what is real and what is simulated."""
        n_real = min(self.n_items, 100)
        return f"a synthetic world (seed {self.seed}): {n_real} real films, simulated viewers and events"

    def aligned(self, data: Dataset) -> tuple[Rows, Rows]:
        """Return the row in this world of each user, (U,), and of each item, (N,), of a dataset of its events.

        A log that was written and read has no users without events, so its rows may differ. -1: not in this world.
        """
        people, films = Vocabulary(self.viewers.ids), Vocabulary(self.films.ids)
        return people.rows(data.users.series), films.rows(data.items.series)

    def _rng(self, purpose: int) -> Generator:
        return np.random.default_rng([self.seed, purpose])

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Names of the languages, in order of code."""
        return population.languages()

    @cached_property
    def genres(self) -> tuple[str, ...]:
        """Names of the genres, in order of code."""
        return population.genres()

    @cached_property
    def stars(self) -> tuple[str, ...]:
        """Names of the actors, in order of code; the actors of invented films are "star 00001" and so on."""
        return population.stars(self.n_items)

    @cached_property
    def films(self) -> Films:
        """The films, in order of id."""
        named = population.catalogue(self.n_items, self._rng(0))
        return population.draw_films(named, self.days, self.new_films, self._rng(1))

    @cached_property
    def viewers(self) -> Viewers:
        """The viewers, in order of id."""
        return population.draw_viewers(self.n_users, self.films, self.days, self.new_viewers, self.visits, self._rng(2))

    @cached_property
    def _utility_inputs(self) -> tuple[Array, ...]:
        return utility_inputs(self.viewers, self.films, self.effects)

    def preference(self, users: Rows, items: Rows) -> Scores:
        """Return the true preference of users for items, in [0, 1]: (B,), (B, K) -> (B, K); nan at row -1.

        It is the expected share of a film that is watched once the film is clicked, and it sets the expected rating.
        """
        inside = (users.max(initial=-1) < self.n_users) and (items.max(initial=-1) < self.n_items)
        if not inside or items.ndim != 2 or users.shape != items.shape[:1]:
            raise ValueError(
                f"users (B,) and items (B, K) must be rows of this world, got {users.shape}, {items.shape}"
            )
        values: Scores = preferences(self._utility_inputs, users.astype(np.int32), items.astype(np.int32))
        return values

    def expected_minutes(self, users: Rows, items: Rows) -> Scores:
        """Return the expected minutes watched once a film is clicked; shapes as in `preference`."""
        return self.preference(users, items) * self.films.minutes[items]

    def expected_rating(self, users: Rows, items: Rows) -> Scores:
        """Return the expected rating, in [1, 5], of a film once watched; shapes as in `preference`.

        A rating is 1 + 4 preference + .7 noise, rounded and clipped to 1 to 5, so its mean is 1 plus the sum of the
        probabilities to exceed 1.5, 2.5, 3.5 and 4.5.
        """
        from scipy.special import ndtr

        centre = 1 + 4 * self.preference(users, items)
        exceeded = sum(ndtr((centre - threshold) / 0.7) for threshold in (1.5, 2.5, 3.5, 4.5))
        return np.asarray(1 + exceeded, np.float32)

    def examination(self, position: Rows) -> Scores:
        """Return the true examination weight of positions, relative to the first: position ** -position_bias, (n,).

        The odds of the first click of a slate are exp(utility) times this weight, so it is the position effect that a
        model of the impressions should find; nan where the position is unknown (below 1).
        """
        rank = np.asarray(position, np.float64)
        return np.where(rank >= 1, np.maximum(rank, 1) ** -self.position_bias, np.nan).astype(np.float32)

    def click_probability(self, users: Rows, items: Rows, position: Rows) -> Scores:
        """Return the true probability that each film of a slate is clicked: (B,), (B, K), (B, K) -> (B, K).

        The films of a slate compete for clicks, so all of them must be given. 0 at row -1, nan where a position is
        unknown.
        """
        preference = np.clip(self.preference(users, items).astype(np.float64), 1e-9, 1 - 1e-9)
        weights = np.where(items >= 0, preference / (1 - preference) * self.examination(position), 0)
        probabilities: Scores = click_probabilities(weights).astype(np.float32)
        return probabilities

    def _visits(self, chunk: int) -> Iterator[tuple[Slates, Scores]]:
        """Yield the impressions of up to `chunk` visits of a day, and their ratings; memory is bounded."""
        people, films = self.viewers, self.films
        visits_rng, choice_rng = self._rng(3), self._rng(4)
        seen = np.full((self.n_users, min(self.remembered, self.n_items)), -1, np.int32)
        n_seen = np.zeros(self.n_users, np.int32)
        popularity = np.zeros(self.n_items)
        hours = np.array([1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 4, 4, 5, 6, 8, 11, 13, 11, 7, 3], np.float64)
        for day in track(range(self.days), "simulating days"):
            weekend = 1.4 if (day + 2) % 7 in (5, 6) else 0.84
            present = np.clip(day + 1 - people.arrives, 0, 1)
            n_visits = visits_rng.poisson(people.visits * weekend * present)
            visitors = np.repeat(np.arange(self.n_users, dtype=np.int32), n_visits)
            hour = visits_rng.choice(24, len(visitors), p=hours / hours.sum())
            second = hour * 3600 + visits_rng.integers(0, 3600, len(visitors))
            order = np.argsort(second, kind="stable")
            time = (START + day * DAY + second[order]).astype(np.int64)
            available = (films.arrives <= day).astype(np.float64)
            if not available.any():
                continue
            popular = popularity * available
            uniform = available / available.sum()
            feedback = self.feedback if popular.any() else 0
            exposure = np.cumsum((1 - feedback) * uniform + feedback * popular / max(popular.sum(), 1e-9))
            popularity *= 0.5 ** (1 / 14)
            for first in range(0, len(visitors), chunk):
                users, visit_time = visitors[order[first : first + chunk]], time[first : first + chunk]
                shown, clicked, seconds, rating = simulate_visits(
                    self._utility_inputs, users, exposure, films.minutes, seen, n_seen, self.position_bias, choice_rng
                )
                real = shown >= 0
                popularity += np.bincount(shown[clicked], minlength=self.n_items)
                row, column = np.nonzero(real)
                position = (column + 1).astype(np.int32)
                yield (
                    Slates(users[row], shown[real], visit_time[row], position, clicked[real], seconds[real]),
                    rating[real],
                )

    def events(self, *, chunk: int = 20_000) -> Iterator[Events]:
        """Yield the films watched, in order of time, in parts of at most 3 `chunk` events; the same at each call."""
        for slates, rating in self._visits(chunk):
            yield watched(slates, rating)

    def impressions(self, *, chunk: int = 20_000) -> Iterator[Slates]:
        """Yield the films shown in the visits of `events`, in parts of at most 20 `chunk` impressions."""
        for slates, _ in self._visits(chunk):
            yield slates

    def visit_share(self, max_impressions: int = MAX_IMPRESSIONS) -> float:
        """Return the share of visits, in (0, 1], whose expected number of impressions is at most `max_impressions`."""
        expected = SLATE_SIZE * float((self.viewers.visits * np.clip(self.days - self.viewers.arrives, 0, None)).sum())
        return min(1.0, max_impressions / max(expected, 1.0))

    def impression_frames(self, *, max_impressions: int = MAX_IMPRESSIONS) -> Iterator[pl.DataFrame]:
        """Yield the parts of `impressions` with ids, of a random sample of visits with about `max_impressions`."""
        users, items = pl.Series(self.viewers.ids), pl.Series(self.films.ids)
        for part in sample_visits(self.impressions(), self.visit_share(max_impressions), self._rng(5)):
            yield pl.DataFrame(part._asdict()).with_columns(user=users.gather(part.user), item=items.gather(part.item))

    def frames(self, *, chunk: int = 20_000) -> Iterator[pl.DataFrame]:
        """Yield the parts of `events` with ids in place of rows; parts without events are left out."""
        users, items = pl.Series(self.viewers.ids), pl.Series(self.films.ids)
        for events in self.events(chunk=chunk):
            if len(events.user):
                yield pl.DataFrame(events._asdict()).with_columns(
                    user=users.gather(events.user), item=items.gather(events.item)
                )

    def write(self, folder: Path, *, chunk: int = 20_000, format: str = "parquet") -> int:
        """Write the events as numbered parts, "parquet" or "csv", into a folder and return the number of events.

        Columns: user, item (ids), time (seconds since 1970), rating, watched_seconds, position. Memory does not grow
        with the number of events. The folder is created if needed; parts from an earlier call are replaced.
        """
        if format not in ("parquet", "csv"):
            raise ValueError(f'format must be "parquet" or "csv", got {format!r}')
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("part-*.*"):
            old.unlink()
        written = 0
        for number, frame in enumerate(self.frames(chunk=chunk)):
            part = folder / f"part-{number:06d}.{format}"
            if format == "csv":
                frame.write_csv(part)
            else:
                frame.write_parquet(part)
            written += len(frame)
        return written

    def user_features(self) -> dict[str, Feature]:
        """Return the features of the viewers that a platform may know."""
        people = self.viewers
        understood = people.languages >= 0.1
        order = np.argsort(-people.languages, axis=1, kind="stable")[:, : int(understood.sum(axis=1).max())]
        bag = np.where(np.take_along_axis(understood, order, axis=1), order, -1).astype(np.int32)
        more = {}
        if self.studios:
            second = bag[:, 1] if bag.shape[1] > 1 else np.full(len(bag), -1, np.int32)
            more["second_language"] = Feature(kind="categorical", values=second.copy(), names=self.languages)
        if self.rural:
            drawn = population.draw_areas(people.city_tier, self.rural, self._rng(7))
            more["area"] = Feature(kind="categorical", values=drawn, names=population.AREAS)
        return {
            "age_band": Feature(kind="categorical", values=people.age_band, names=population.AGE_BANDS),
            "gender": Feature(kind="categorical", values=people.gender, names=population.GENDERS),
            "city_tier": Feature(kind="categorical", values=people.city_tier, names=population.CITY_TIERS),
            "state": Feature(kind="categorical", values=people.state, names=tuple(population.STATES)),
            "language": Feature(kind="categorical", values=order[:, 0].astype(np.int32), names=self.languages),
            "languages": Feature(kind="bag", values=bag, names=self.languages),
            **more,
        }

    def item_features(self) -> dict[str, Feature]:
        """Return the observable features of the films; `available_from` may be after the end of the log."""
        films = self.films
        day = np.ceil(films.arrives).astype(np.int64)
        made = draw_studios(self.studios, films, self.days, START, self._rng(6)) if self.studios else {}
        return {
            "title": Feature(kind="text", values=np.array(films.title, dtype=np.dtypes.StringDType())),
            "year": Feature(kind="number", values=films.year.astype(np.float32)),
            "minutes": Feature(kind="number", values=films.minutes),
            "language": Feature(kind="categorical", values=films.language, names=self.languages),
            "genres": Feature(kind="bag", values=films.genres, names=self.genres),
            "cast": Feature(kind="bag", values=films.cast, names=self.stars),
            "available_from": Feature(kind="time", values=(START + day * DAY).astype(np.int64)),
            **made,
        }

    def dataset(self, *, impressions: bool = True, max_impressions: int = MAX_IMPRESSIONS) -> Dataset:
        """Return all events as a dataset whose rows are the rows of this world; ratings of 4 and 5 are positives.

        With `impressions` it also has the impressions. Where `max_impressions` or more are expected, it has those of a
        random sample of whole visits.
        """
        parts: list[Events] = []

        def slates() -> Iterator[Slates]:
            for part, rating in self._visits(20_000):
                parts.append(watched(part, rating))
                yield part

        share = self.visit_share(max_impressions) if impressions else 1
        kept = [part for part in sample_visits(slates(), share, self._rng(5)) if impressions]
        user, item, time, rating, watched_seconds, position = (
            np.concatenate([np.asarray(part[column]) for part in parts]) if parts else np.zeros(0, dtype)
            for column, dtype in enumerate((np.int32, np.int32, np.int64, np.float32, np.float32, np.int32))
        )
        return Dataset(
            name="bollywood",
            users=Vocabulary(self.viewers.ids),
            items=Vocabulary(self.films.ids),
            user=user,
            item=item,
            time=time,
            value=rating,
            values="rating",
            positive_from=4,
            user_features=self.user_features(),
            item_features=self.item_features(),
            columns={"watched_seconds": watched_seconds, "position": position},
            notes=(self.description, *self.sampling_note(share)),
            impressions=to_impressions(kept) if impressions else None,
        )

    def sampling_note(self, share: float) -> tuple[str, ...]:
        """Return the note that impressions are those of a share of the visits; () where the share is 1."""
        return () if share >= 1 else (f"impressions: those of {share:.1%} of the visits, drawn at random",)
