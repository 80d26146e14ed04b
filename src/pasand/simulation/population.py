"""Viewers and films of the simulated world: facts of real films, and the attributes drawn at random."""

from __future__ import annotations

import csv
import math
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from pasand.simulation.choice_model import Films, Viewers
from pasand.types import Rows

N_FACTORS = 6
"""Number of hidden latent factors."""
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55+")
GENDERS = ("female", "male", "other")
CITY_TIERS = ("tier 1", "tier 2", "tier 3")
AREAS = ("rural", "urban")

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
"""Weight of each state among viewers (assumed, not a census), and the share of each language in viewing there."""


class Fact(NamedTuple):
    """Facts of one film."""

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
    text = files("pasand.simulation").joinpath("bollywood_films.csv").read_text("utf-8")
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
    code_of = {name: code for code, name in enumerate(names)}
    out = np.full((len(lists), width), -1, np.int32)
    for row, chosen in enumerate(lists):
        out[row, : len(chosen[:width])] = [code_of[name] for name in chosen[:width]]
    return out


def languages() -> tuple[str, ...]:
    """Return the names of the languages, in order of code."""
    return tuple(sorted({fact.language for fact in facts()}))


def genres() -> tuple[str, ...]:
    """Return the names of the genres, in order of code."""
    return tuple(sorted({genre for fact in facts() for genre in fact.genres}))


def stars(n_items: int) -> tuple[str, ...]:
    """Return the names of the actors, in order of code; those of invented films are "star 00001" and so on."""
    invented = numbered("star", math.ceil(max(0, n_items - len(facts())) / 4))
    return tuple(sorted({name for fact in facts() for name in fact.cast}) + invented)


def catalogue(n_items: int, rng: Generator) -> list[tuple[str, Fact]]:
    """Return ids and facts of `n_items` films, sorted by id: real films, evenly picked, and invented ones beyond."""
    real, actors = facts(), stars(n_items)
    chosen = [real[i] for i in np.linspace(0, len(real) - 1, min(n_items, len(real))).round().astype(int)]
    films = [(fact.title, fact) for fact in chosen]
    for name in numbered("film", n_items)[len(real) :]:
        template, genre = real[rng.integers(len(real))], real[rng.integers(len(real))]
        year = int(rng.integers(1990, 2026))
        cast = tuple(actors[int(len(actors) * rng.random() ** 2)] for _ in range(2))
        films.append((name, Fact(name, year, template.language, genre.genres, int(rng.integers(90, 181)), cast)))
    return sorted(films)


def draw_films(named: list[tuple[str, Fact]], days: int, late: float, rng: Generator) -> Films:
    """Return the films with hidden attributes; a share `late` arrives on a random day. Rows are in the given order."""
    films, n = [fact for _, fact in named], len(named)
    by_code = codes([fact.genres for fact in films], genres(), 4)
    by_genre = rng.standard_normal((len(genres()) + 1, N_FACTORS))
    by_genre[-1] = 0
    per_film = by_genre[by_code].sum(axis=1) / np.sqrt((by_code >= 0).sum(axis=1))[:, None]
    factors = (0.7 * per_film + 0.7 * rng.standard_normal((n, N_FACTORS))) / math.sqrt(N_FACTORS)
    delayed = rng.random(n) < late
    return Films(
        ids=tuple(name for name, _ in named),
        title=tuple(fact.title for fact in films),
        year=np.array([fact.year for fact in films], np.int32),
        minutes=np.array([fact.minutes for fact in films], np.float32),
        language=codes([(fact.language,) for fact in films], languages(), 1)[:, 0],
        genres=by_code,
        cast=codes([fact.cast for fact in films], stars(n), 4),
        arrives=np.where(delayed, rng.random(n) * days, 0).astype(np.float32),
        factors=factors.astype(np.float32),
        quality=rng.standard_normal(n).astype(np.float32),
    )


def draw_viewers(n: int, films: Films, days: int, late: float, visits: float, rng: Generator) -> Viewers:
    """Return n viewers with hidden attributes; a share `late` arrives on a random day. Languages follow the state."""
    weights = np.array([weight for weight, _ in STATES.values()])
    spoken = np.array([[mix.get(name, 0) for name in languages()] for _, mix in STATES.values()])
    state = rng.choice(len(STATES), n, p=weights / weights.sum()).astype(np.int32)
    gamma = rng.standard_gamma(4 * spoken[state] + 0.03)
    gamma += 1e-3 * spoken[state]
    age = rng.choice(len(AGE_BANDS), n, p=[0.28, 0.32, 0.2, 0.12, 0.08]).astype(np.int32)
    gender = rng.choice(len(GENDERS), n, p=[0.46, 0.52, 0.02]).astype(np.int32)
    group_factors = 0.5 * rng.standard_normal((len(AGE_BANDS), N_FACTORS))[age]
    group_factors += 0.4 * rng.standard_normal((len(GENDERS), N_FACTORS))[gender]
    delayed = rng.random(n) < late
    billed = films.cast[films.cast >= 0]
    activity = rng.lognormal(-0.32, 0.8, n)
    return Viewers(
        ids=tuple(numbered("user", n)),
        age_band=age,
        gender=gender,
        city_tier=rng.choice(len(CITY_TIERS), n, p=[0.4, 0.35, 0.25]).astype(np.int32),
        state=state,
        languages=(gamma / gamma.sum(axis=1, keepdims=True)).astype(np.float32),
        arrives=np.where(delayed, rng.random(n) * days, 0).astype(np.float32),
        visits=(visits * activity).astype(np.float32),
        factors=(group_factors + rng.standard_normal((n, N_FACTORS))).astype(np.float32),
        preferred_year=(2019 - 9 * age + 8 * rng.standard_normal(n)).astype(np.float32),
        favourites=rng.choice(billed, (n, 3)),
    )


def draw_areas(city_tier: Rows, rural: float, rng: Generator) -> Rows:
    """Return the area of each viewer as a code of `AREAS`, (U,): a share of about `rural` in [0, 1] is rural.

    Villages are around small cities: the chance to be rural is in proportion to the tier, 1 to 3. Nothing else depends
    on the area, so its truth is that two viewers of a tier differ by chance only.
    """
    weight = city_tier + 1.0
    chance = np.clip(rural * weight / max(weight.mean(), 1.0), 0, 1) if len(weight) else weight
    return np.where(rng.random(len(city_tier)) < chance, 0, 1).astype(np.int32)
