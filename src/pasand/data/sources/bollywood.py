"""Bollywood: a synthetic world with known truth, of 100 real Indian films and people who never lived.

Titles, years, languages, genres, running times and leading actors are facts; every taste, visit and rating is drawn.
Visits show what is popular more often, films and viewers arrive over time, and what anybody would think of any film
can be asked, so that recommenders can be held against the truth and not only against the log.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.random import Generator

from pasand.data.dataset import Dataset, Vocabulary
from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.data.log import Log, Options
from pasand.data.viewing import Effects, Films, Viewers, likings, mind, visit
from pasand.errors import InputError
from pasand.progress import track
from pasand.types import Array, Mask, Rows, Scores, Times

START = 1_735_689_600
"""The first day of the world, 2025-01-01 UTC, in seconds since 1970."""
DAY = 86_400
TASTES = 6
"""Dimensions of hidden taste."""
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55+")
GENDERS = ("female", "male", "other")
CITY_TIERS = ("tier 1", "tier 2", "tier 3")

STATES: dict[str, tuple[float, dict[str, float]]] = {
    "Andhra Pradesh": (5, {"Telugu": 0.85, "Hindi": 0.1, "Tamil": 0.05}),
    "Assam": (3, {"Assamese": 0.35, "Hindi": 0.4, "Bengali": 0.25}),
    "Bihar": (7, {"Hindi": 1.0}),
    "Delhi": (6, {"Hindi": 0.8, "Punjabi": 0.2}),
    "Gujarat": (6, {"Hindi": 0.65, "Gujarati": 0.35}),
    "Karnataka": (8, {"Kannada": 0.6, "Hindi": 0.15, "Telugu": 0.15, "Tamil": 0.1}),
    "Kerala": (7, {"Malayalam": 0.85, "Tamil": 0.15}),
    "Madhya Pradesh": (5, {"Hindi": 1.0}),
    "Maharashtra": (12, {"Marathi": 0.5, "Hindi": 0.5}),
    "Punjab": (4, {"Punjabi": 0.55, "Hindi": 0.45}),
    "Rajasthan": (5, {"Hindi": 1.0}),
    "Tamil Nadu": (9, {"Tamil": 0.9, "Malayalam": 0.05, "Telugu": 0.05}),
    "Telangana": (6, {"Telugu": 0.75, "Hindi": 0.25}),
    "Uttar Pradesh": (10, {"Hindi": 1.0}),
    "West Bengal": (8, {"Bengali": 0.8, "Hindi": 0.2}),
}
"""Weight of each state among viewers (assumed, not a census), and the languages that films are watched in there."""


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


class Impressions(NamedTuple):
    """Films shown, taken or not, in order of time and place."""

    user: Rows
    item: Rows
    time: Times
    position: Rows
    taken: Mask


class Fact(NamedTuple):
    """What is known of a real film."""

    title: str
    year: int
    language: str
    genres: tuple[str, ...]
    minutes: int
    cast: tuple[str, ...]


def facts() -> list[Fact]:
    """Return the 100 real films, grouped by language.

    >>> facts()[0].title
    'Mother India'
    """
    text = files("pasand.data.sources").joinpath("bollywood_films.csv").read_text("utf-8")
    return [
        Fact(
            title=row["title"],
            year=int(row["year"]),
            language=row["language"],
            genres=tuple(row["genres"].split(";")),
            minutes=int(row["minutes"]),
            cast=tuple(row["cast"].split(";")),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def numbered(word: str, n: int) -> list[str]:
    """Return names that sort by their number: "word 00001" and so on."""
    width = max(5, len(str(n)))
    return [f"{word} {i:0{width}d}" for i in range(1, n + 1)]


def codes(lists: list[tuple[str, ...]], names: tuple[str, ...], width: int) -> Rows:
    """Return lists of names as codes, padded with -1; (n, width)."""
    place = {name: code for code, name in enumerate(names)}
    out = np.full((len(lists), width), -1, np.int32)
    for row, chosen in enumerate(lists):
        out[row, : len(chosen[:width])] = [place[name] for name in chosen[:width]]
    return out


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
        return tuple(sorted({fact.language for fact in facts()}))

    @cached_property
    def genres(self) -> tuple[str, ...]:
        """Names of the genres, in order of code."""
        return tuple(sorted({genre for fact in facts() for genre in fact.genres}))

    @cached_property
    def stars(self) -> tuple[str, ...]:
        """Names of the actors, in order of code; those of invented films are "star 00001" and so on."""
        invented = numbered("star", math.ceil(max(0, self.n_items - 100) / 4))
        return tuple(sorted({name for fact in facts() for name in fact.cast}) + invented)

    @cached_property
    def _facts(self) -> list[tuple[str, Fact]]:
        """The films by id, sorted as a vocabulary sorts them."""
        real = facts()
        chosen = [real[i] for i in np.linspace(0, len(real) - 1, min(self.n_items, len(real))).round().astype(int)]
        films = [(fact.title, fact) for fact in chosen]
        rng, names, n_stars = self._rng(0), numbered("film", self.n_items), len(self.stars)
        for name in names[len(real) :]:
            like, genre = real[rng.integers(len(real))], real[rng.integers(len(real))]
            year = int(rng.integers(1990, 2026))
            cast = tuple(self.stars[int(n_stars * rng.random() ** 2)] for _ in range(2))
            films.append((name, Fact(name, year, like.language, genre.genres, int(rng.integers(90, 181)), cast)))
        return sorted(films)

    @cached_property
    def films(self) -> Films:
        """The films; rows follow the sorted ids."""
        rng, n = self._rng(1), self.n_items
        known = [fact for _, fact in self._facts]
        genres = codes([fact.genres for fact in known], self.genres, 4)
        by_genre = rng.standard_normal((len(self.genres) + 1, TASTES))
        by_genre[-1] = 0
        per_film = by_genre[genres].sum(axis=1) / np.sqrt((genres >= 0).sum(axis=1))[:, None]
        traits = (0.7 * per_film + 0.7 * rng.standard_normal((n, TASTES))) / math.sqrt(TASTES)
        late = rng.random(n) < self.new_films
        return Films(
            ids=tuple(name for name, _ in self._facts),
            title=tuple(fact.title for fact in known),
            year=np.array([fact.year for fact in known], np.int32),
            minutes=np.array([fact.minutes for fact in known], np.float32),
            language=codes([(fact.language,) for fact in known], self.languages, 1)[:, 0],
            genres=genres,
            cast=codes([fact.cast for fact in known], self.stars, 4),
            arrives=np.where(late, rng.random(n) * self.days, 0).astype(np.float32),
            traits=traits.astype(np.float32),
            quality=rng.standard_normal(n).astype(np.float32),
        )

    @cached_property
    def viewers(self) -> Viewers:
        """The people; rows follow the sorted ids."""
        rng, n = self._rng(2), self.n_users
        weights = np.array([weight for weight, _ in STATES.values()])
        spoken = np.array([[mix.get(name, 0) for name in self.languages] for _, mix in STATES.values()])
        state = rng.choice(len(STATES), n, p=weights / weights.sum()).astype(np.int32)
        gamma = rng.standard_gamma(4 * spoken[state] + 0.03)
        gamma += 1e-3 * spoken[state]
        age = rng.choice(len(AGE_BANDS), n, p=[0.28, 0.32, 0.2, 0.12, 0.08]).astype(np.int32)
        gender = rng.choice(len(GENDERS), n, p=[0.46, 0.52, 0.02]).astype(np.int32)
        leaning = 0.5 * rng.standard_normal((len(AGE_BANDS), TASTES))[age]
        leaning += 0.4 * rng.standard_normal((len(GENDERS), TASTES))[gender]
        late = rng.random(n) < self.new_viewers
        billed = self.films.cast[self.films.cast >= 0]
        activity = rng.lognormal(-0.32, 0.8, n)
        return Viewers(
            ids=tuple(numbered("user", n)),
            age_band=age,
            gender=gender,
            city_tier=rng.choice(len(CITY_TIERS), n, p=[0.4, 0.35, 0.25]).astype(np.int32),
            state=state,
            languages=(gamma / gamma.sum(axis=1, keepdims=True)).astype(np.float32),
            arrives=np.where(late, rng.random(n) * self.days, 0).astype(np.float32),
            visits=(self.visits * activity).astype(np.float32),
            taste=(leaning + rng.standard_normal((n, TASTES))).astype(np.float32),
            era=(2019 - 9 * age + 8 * rng.standard_normal(n)).astype(np.float32),
            favourites=rng.choice(billed, (n, 3)),
        )

    @cached_property
    def _mind(self) -> tuple[Array, ...]:
        return mind(self.viewers, self.films, self.effects)

    def liking(self, users: Rows, items: Rows) -> Scores:
        """Return the truth, how much users like items, in [0, 1]: (B,), (B, K) -> (B, K); nan at row -1.

        It is the expected share of a film that is watched once the film is chosen, and sets the expected rating.
        """
        inside = (users.max(initial=-1) < self.n_users) and (items.max(initial=-1) < self.n_items)
        if not inside or items.ndim != 2 or users.shape != items.shape[:1]:
            raise ValueError(
                f"users (B,) and items (B, K) must be rows of this world, got {users.shape}, {items.shape}"
            )
        found: Scores = likings(self._mind, users.astype(np.int32), items.astype(np.int32))
        return found

    def expected_minutes(self, users: Rows, items: Rows) -> Scores:
        """Return the expected minutes watched once a film is chosen; shapes as in `liking`."""
        return self.liking(users, items) * self.films.minutes[items]

    def expected_rating(self, users: Rows, items: Rows) -> Scores:
        """Return the expected rating, in [1, 5], of a film once watched; shapes as in `liking`.

        A rating is 1 + 4 liking + .7 noise, rounded and kept within 1 to 5, so its mean adds up the chances to pass
        1.5, 2.5, 3.5 and 4.5.
        """
        from scipy.special import ndtr

        centre = 1 + 4 * self.liking(users, items)
        passed = sum(ndtr((centre - threshold) / 0.7) for threshold in (1.5, 2.5, 3.5, 4.5))
        return np.asarray(1 + passed, np.float32)

    def _visits(self, chunk: int) -> Iterator[tuple[Impressions, Scores, Scores]]:
        """Yield what `chunk` visits showed, with seconds and ratings; a day at a time, so that memory stays bounded."""
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
                shown, taken, seconds, rating = visit(
                    self._mind, users, attraction, films.minutes, seen, n_seen, self.position_bias, choosing
                )
                real = shown >= 0
                popularity += np.bincount(shown[taken], minlength=self.n_items)
                where, place = np.nonzero(real)
                impressions = Impressions(
                    users[where], shown[real], moment[where], (place + 1).astype(np.int32), taken[real]
                )
                yield impressions, seconds[real], rating[real]

    def events(self, *, chunk: int = 20_000) -> Iterator[Events]:
        """Yield the films watched, in order of time, in parts of at most 3 `chunk` events; the same on each call."""
        for shown, seconds, rating in self._visits(chunk):
            mask = shown.taken
            yield Events(
                shown.user[mask], shown.item[mask], shown.time[mask], rating[mask], seconds[mask], shown.position[mask]
            )

    def impressions(self, *, chunk: int = 20_000) -> Iterator[Impressions]:
        """Yield the films shown in the visits of `events`, in parts of at most 20 `chunk` impressions."""
        for shown, _, _ in self._visits(chunk):
            yield shown

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
            "age_band": Feature(kind="categorical", values=people.age_band, names=AGE_BANDS),
            "gender": Feature(kind="categorical", values=people.gender, names=GENDERS),
            "city_tier": Feature(kind="categorical", values=people.city_tier, names=CITY_TIERS),
            "state": Feature(kind="categorical", values=people.state, names=tuple(STATES)),
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

    def dataset(self) -> Dataset:
        """Return all events as a dataset whose rows are the rows of this world; ratings of 4 and 5 are likings."""
        parts = list(self.events())
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
            notes=(self.about,),
        )


def recognises(place: str) -> float:
    """Return 1 for "bollywood", alone or with fields of `World` behind a colon: "bollywood:n_users=2000,seed=3"."""
    return 1.0 if place.partition(":")[0] == "bollywood" else 0.0


def read(place: str, options: Options) -> Log:
    """Return the events of the world that `place` names, as a log; InputError where a field is unknown or wrong."""
    world = world_of(place)
    users, items = world.user_features(), world.item_features()
    return Log(
        name=place,
        events=lambda: (frame.rename({"rating": "value"}) for frame in world.frames()),
        values="rating",
        order="time",
        users=as_frame(world.viewers.ids, users),
        items=as_frame(world.films.ids, items),
        kinds={name: feature.kind for name, feature in (users | items).items()},
        positive_from=4,
        notes=(world.about,),
    )


def world_of(place: str) -> World:
    """Return the world with the fields that stand behind the colon.

    >>> world_of("bollywood:n_users=20,feedback=0.5").n_users
    20
    """
    fields = {name: World.__dataclass_fields__[name].type for name in World.__dataclass_fields__ if name != "effects"}
    chosen: dict[str, float] = {}
    for piece in filter(None, place.partition(":")[2].split(",")):
        name, _, value = piece.partition("=")
        if name not in fields:
            raise InputError(place, value=name, cause="the world has no such field", cure="use " + ", ".join(fields))
        try:
            chosen[name] = int(value) if fields[name] == "int" else float(value)
        except ValueError:
            kind = "a whole number" if fields[name] == "int" else "a number"
            raise InputError(place, value=value, cause=f"{name} must be {kind}") from None
    try:
        return World(**chosen)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(place, cause=str(error), cure="give a value in range") from None


def as_frame(ids: tuple[str, ...], features: dict[str, Feature]) -> pl.DataFrame:
    """Return features as people write them: names for codes, lists for bags, times as datetimes; with a column `id`."""

    def column(feature: Feature) -> pl.Series:
        values = feature.values.tolist()
        if feature.kind == "categorical":
            return pl.Series([feature.names[code] if code >= 0 else None for code in values], dtype=pl.String)
        if feature.kind == "bag":
            lists = [[feature.names[code] for code in row if code >= 0] for row in values]
            return pl.Series(lists, dtype=pl.List(pl.String))
        if feature.kind == "time":
            known = pl.Series([None if value == TIME_UNKNOWN else value for value in values], dtype=pl.Int64)
            return pl.from_epoch(known, time_unit="s")
        return pl.Series(values)

    return pl.DataFrame({"id": list(ids), **{name: column(feature) for name, feature in features.items()}})
