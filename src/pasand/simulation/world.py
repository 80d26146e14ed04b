"""Bollywood: a synthetic world with known truth, of 100 real Indian films and people who never lived.

Titles, years, languages, genres, running times and leading actors are facts; every taste, visit and rating is drawn.
Visits show what is popular more often, films and viewers arrive over time, and what anybody would think of any film
can be asked, so that recommenders can be held against the truth and not only against the log.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.data.vocabulary import Vocabulary
from pasand.progress import track
from pasand.simulation import population
from pasand.simulation.choice_model import SLATE, Effects, Films, Viewers, chances, mind, preferences, visit
from pasand.simulation.slates import MOST, Slates, thinned, together
from pasand.types import Array, Rows, Scores, Times

START = 1_735_689_600
"""The first day of the world, 2025-01-01 UTC, in seconds since 1970."""
DAY = 86_400


class Events(NamedTuple):
    """Films watched, in order of time; rows of users and items, a value per event."""

    user: Rows
    item: Rows
    time: Times
    """(E,) seconds since 1970."""
    rating: Scores
    """(E,) 1 to 5, whole."""
    watched_seconds: Scores
    position: Rows
    """(E,) place in the slate, 1 is the first."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Viewers and films whose likings are known; equal fields make equal worlds and equal events."""

    n_users: int = 500
    n_items: int = 100
    """Films; up to 100 are real and evenly picked from all languages, those beyond are invented, "film 00101"."""
    days: int = 180
    """Length of the log."""
    seed: int = 7
    visits: float = 0.5
    """Expected visits of a viewer a day, on average over viewers; few come often, most seldom."""
    feedback: float = 0.7
    """Share of the slots given by popularity of the last weeks, in [0, 1]; the rest shows all films alike."""
    position_bias: float = 0.3
    """How fast attention falls with the place in the slate; 0: not at all."""
    new_films: float = 0.3
    """Share of the films that arrive after the first day."""
    new_viewers: float = 0.3
    """Share of the viewers that arrive after the first day."""
    remembered: int = 128
    """Films that a viewer is not shown again after watching them; memory is four bytes for each and viewer."""
    effects: Effects = field(default_factory=Effects)

    def __post_init__(self) -> None:
        for name in ("n_users", "n_items", "days", "remembered"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("feedback", "new_films", "new_viewers"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("visits", "position_bias"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    @property
    def about(self) -> str:
        """What is real and what is not, in a sentence."""
        real = min(self.n_items, 100)
        return f"a synthetic world (seed {self.seed}): {real} real films, people and events drawn with known truth"

    def aligned(self, data: Dataset) -> tuple[Rows, Rows]:
        """Return the row in this world of each user, (U,), and of each item, (N,), of a dataset of its events.

        A log that was written and read leaves out who has no events, so its rows may differ; -1: not of this world.
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
        """Names of the actors, in order of code; those of invented films are "star 00001" and so on."""
        return population.stars(self.n_items)

    @cached_property
    def films(self) -> Films:
        """The films; rows follow the sorted ids."""
        named = population.catalogue(self.n_items, self._rng(0))
        return population.draw_films(named, self.days, self.new_films, self._rng(1))

    @cached_property
    def viewers(self) -> Viewers:
        """The people; rows follow the sorted ids."""
        return population.draw_viewers(self.n_users, self.films, self.days, self.new_viewers, self.visits, self._rng(2))

    @cached_property
    def _mind(self) -> tuple[Array, ...]:
        return mind(self.viewers, self.films, self.effects)

    def preference(self, users: Rows, items: Rows) -> Scores:
        """Return the truth, how much users like items, in [0, 1]: (B,), (B, K) -> (B, K); nan at row -1.

        It is the expected share of a film that is watched once the film is chosen, and sets the expected rating.
        """
        inside = (users.max(initial=-1) < self.n_users) and (items.max(initial=-1) < self.n_items)
        if not inside or items.ndim != 2 or users.shape != items.shape[:1]:
            raise ValueError(
                f"users (B,) and items (B, K) must be rows of this world, got {users.shape}, {items.shape}"
            )
        found: Scores = preferences(self._mind, users.astype(np.int32), items.astype(np.int32))
        return found

    def expected_minutes(self, users: Rows, items: Rows) -> Scores:
        """Return the expected minutes watched once a film is chosen; shapes as in `preference`."""
        return self.preference(users, items) * self.films.minutes[items]

    def expected_rating(self, users: Rows, items: Rows) -> Scores:
        """Return the expected rating, in [1, 5], of a film once watched; shapes as in `preference`.

        A rating is 1 + 4 liking + .7 noise, rounded and kept within 1 to 5, so its mean adds up the chances to pass
        1.5, 2.5, 3.5 and 4.5.
        """
        from scipy.special import ndtr

        centre = 1 + 4 * self.preference(users, items)
        passed = sum(ndtr((centre - threshold) / 0.7) for threshold in (1.5, 2.5, 3.5, 4.5))
        return np.asarray(1 + passed, np.float32)

    def attention(self, position: Rows) -> Scores:
        """Return the truth, how much a place in the slate weighs beside the first: position ** -position_bias, (n,).

        A film's odds of being chosen first from a slate are exp(utility) times this, so it is the position effect that
        a model of the impressions should find; nan where the position is unknown, below 1.
        """
        place = np.asarray(position, np.float64)
        return np.where(place >= 1, np.maximum(place, 1) ** -self.position_bias, np.nan).astype(np.float32)

    def chance(self, users: Rows, items: Rows, position: Rows) -> Scores:
        """Return the truth, the chance that each film of a slate is taken: (B,), (B, K), (B, K) -> (B, K).

        Films of a slate compete, so that all of them must be given; 0 at row -1, nan where a position is unknown.
        """
        preference = np.clip(self.preference(users, items).astype(np.float64), 1e-9, 1 - 1e-9)
        pull = np.where(items >= 0, preference / (1 - preference) * self.attention(position), 0)
        clicked: Scores = chances(pull).astype(np.float32)
        return clicked

    def _visits(self, chunk: int) -> Iterator[tuple[Slates, Scores]]:
        """Yield what `chunk` visits showed, with ratings; a day at a time, so that memory stays bounded."""
        people, films = self.viewers, self.films
        coming, choosing = self._rng(3), self._rng(4)
        seen = np.full((self.n_users, min(self.remembered, self.n_items)), -1, np.int32)
        n_seen = np.zeros(self.n_users, np.int32)
        popularity = np.zeros(self.n_items)
        hours = np.array([1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 4, 4, 5, 6, 8, 11, 13, 11, 7, 3], np.float64)
        for day in track(range(self.days), "simulating days"):
            weekend = 1.4 if (day + 2) % 7 in (5, 6) else 0.84
            here = np.clip(day + 1 - people.arrives, 0, 1)
            who = np.repeat(np.arange(self.n_users, dtype=np.int32), coming.poisson(people.visits * weekend * here))
            hour = coming.choice(24, len(who), p=hours / hours.sum())
            second = hour * 3600 + coming.integers(0, 3600, len(who))
            order = np.argsort(second, kind="stable")
            time = (START + day * DAY + second[order]).astype(np.int64)
            available = (films.arrives <= day).astype(np.float64)
            if not available.any():
                continue
            popular = popularity * available
            even = available / available.sum()
            part = self.feedback if popular.any() else 0
            attraction = np.cumsum((1 - part) * even + part * popular / max(popular.sum(), 1e-9))
            popularity *= 0.5 ** (1 / 14)
            for first in range(0, len(who), chunk):
                users, moment = who[order[first : first + chunk]], time[first : first + chunk]
                shown, clicked, seconds, rating = visit(
                    self._mind, users, attraction, films.minutes, seen, n_seen, self.position_bias, choosing
                )
                real = shown >= 0
                popularity += np.bincount(shown[clicked], minlength=self.n_items)
                where, place = np.nonzero(real)
                position = (place + 1).astype(np.int32)
                yield (
                    Slates(users[where], shown[real], moment[where], position, clicked[real], seconds[real]),
                    rating[real],
                )

    def events(self, *, chunk: int = 20_000) -> Iterator[Events]:
        """Yield the films watched, in order of time, in parts of at most 3 `chunk` events; the same on each call."""
        for shown, rating in self._visits(chunk):
            yield _watched(shown, rating)

    def impressions(self, *, chunk: int = 20_000) -> Iterator[Slates]:
        """Yield the films shown in the visits of `events`, in parts of at most 20 `chunk` impressions."""
        for shown, _ in self._visits(chunk):
            yield shown

    def kept_share(self, most: int = MOST) -> float:
        """Return the share of the visits whose impressions fit into `most`, in (0, 1], by their expected number."""
        expected = SLATE * float((self.viewers.visits * np.clip(self.days - self.viewers.arrives, 0, None)).sum())
        return min(1.0, most / max(expected, 1.0))

    def shown_frames(self, *, most: int = MOST) -> Iterator[pl.DataFrame]:
        """Yield the parts of `impressions` with ids instead of rows, thinned by whole visits to about `most`."""
        users, items = pl.Series(self.viewers.ids), pl.Series(self.films.ids)
        for part in thinned(self.impressions(), self.kept_share(most), self._rng(5)):
            yield pl.DataFrame(part._asdict()).with_columns(user=users.gather(part.user), item=items.gather(part.item))

    def frames(self, *, chunk: int = 20_000) -> Iterator[pl.DataFrame]:
        """Yield the parts of `events` with ids instead of rows; parts without events are left out."""
        users, items = pl.Series(self.viewers.ids), pl.Series(self.films.ids)
        for events in self.events(chunk=chunk):
            if len(events.user):
                yield pl.DataFrame(events._asdict()).with_columns(
                    user=users.gather(events.user), item=items.gather(events.item)
                )

    def write(self, folder: Path, *, chunk: int = 20_000, format: str = "parquet") -> int:
        """Write the events as numbered parts into a folder, "parquet" or "csv", and return their number.

        Columns: user, item (ids), time (seconds since 1970), rating, watched_seconds, position. Memory needed does not
        grow with the number of events. The folder is made; parts of an earlier world in it are replaced.
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
        """Return what a platform knows of its viewers."""
        people = self.viewers
        spoken = people.languages >= 0.1
        order = np.argsort(-people.languages, axis=1, kind="stable")[:, : int(spoken.sum(axis=1).max())]
        bag = np.where(np.take_along_axis(spoken, order, axis=1), order, -1).astype(np.int32)
        return {
            "age_band": Feature(kind="categorical", values=people.age_band, names=population.AGE_BANDS),
            "gender": Feature(kind="categorical", values=people.gender, names=population.GENDERS),
            "city_tier": Feature(kind="categorical", values=people.city_tier, names=population.CITY_TIERS),
            "state": Feature(kind="categorical", values=people.state, names=tuple(population.STATES)),
            "language": Feature(kind="categorical", values=order[:, 0].astype(np.int32), names=self.languages),
            "languages": Feature(kind="bag", values=bag, names=self.languages),
        }

    def item_features(self) -> dict[str, Feature]:
        """Return what everybody knows of the films; one that never arrives within the log has no `available_from`."""
        films = self.films
        day = np.ceil(films.arrives).astype(np.int64)
        return {
            "title": Feature(kind="text", values=np.array(films.title, dtype=np.dtypes.StringDType())),
            "year": Feature(kind="number", values=films.year.astype(np.float32)),
            "minutes": Feature(kind="number", values=films.minutes),
            "language": Feature(kind="categorical", values=films.language, names=self.languages),
            "genres": Feature(kind="bag", values=films.genres, names=self.genres),
            "cast": Feature(kind="bag", values=films.cast, names=self.stars),
            "available_from": Feature(
                kind="time", values=np.where(day < self.days, START + day * DAY, TIME_UNKNOWN).astype(np.int64)
            ),
        }

    def dataset(self, *, impressions: bool = True, most: int = MOST) -> Dataset:
        """Return all events as a dataset whose rows are the rows of this world; ratings of 4 and 5 are likings.

        With `impressions` it holds what was shown too, of a world that shows more than `most` about so many, by a
        random choice of whole visits.
        """
        parts: list[Events] = []

        def shown() -> Iterator[Slates]:
            for part, rating in self._visits(20_000):
                parts.append(_watched(part, rating))
                yield part

        share = self.kept_share(most) if impressions else 1
        kept = [part for part in thinned(shown(), share, self._rng(5)) if impressions]
        user, item, time, rating, watched_seconds, position = (
            np.concatenate([np.asarray(part[column]) for part in parts]) if parts else np.zeros(0, kind)
            for column, kind in enumerate((np.int32, np.int32, np.int64, np.float32, np.float32, np.int32))
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
            notes=(self.about, *self.thinning(share)),
            impressions=together(kept) if impressions else None,
        )

    def thinning(self, share: float) -> tuple[str, ...]:
        """Return the note that a share of the visits alone is known, none where it is all."""
        return () if share >= 1 else (f"impressions: those of {share:.1%} of the visits, drawn at random",)


def _watched(shown: Slates, rating: Scores) -> Events:
    """Return those shown that were taken, as events."""
    mask = shown.clicked
    return Events(
        shown.user[mask],
        shown.item[mask],
        shown.time[mask],
        rating[mask],
        shown.watched_seconds[mask],
        shown.position[mask],
    )
