"""How people choose what they watch: the tastes of viewers, the traits of films, and the kernels that let them meet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.types import Array, Mask, Rows, Scores

SLATE = 20
"""Films shown in a visit."""
MOST_TAKEN = 3
"""Films watched at most in a visit."""
LEAVING, TIRED = 2.0, 1.5
"""Utility of leaving, and by how much it grows with each film taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """What films are: the facts that anybody may see, and the traits that only the truth knows."""

    ids: tuple[str, ...]
    title: tuple[str, ...]
    year: Rows
    """(N,)"""
    minutes: Scores
    """(N,) running time."""
    language: Rows
    """(N,) code."""
    genres: Rows
    """(N, 4) codes, padded with -1."""
    cast: Rows
    """(N, 4) codes of the leading actors, padded with -1."""
    arrives: Scores
    """(N,) day from which the film can be watched, at least 0."""
    traits: Scores
    """(N, D) hidden: what a viewer's taste is multiplied with."""
    quality: Scores
    """(N,) hidden: how much everybody likes it."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewers:
    """Who watches: what a platform may know, and the taste that only the truth knows."""

    ids: tuple[str, ...]
    age_band: Rows
    """(U,) code, youngest first."""
    gender: Rows
    """(U,) code."""
    city_tier: Rows
    """(U,) code, 0 is tier 1."""
    state: Rows
    """(U,) code."""
    languages: Scores
    """(U, L) share of each language in what the viewer understands and chooses; rows add up to 1."""
    arrives: Scores
    """(U,) day of the first possible visit, at least 0."""
    visits: Scores
    """(U,) expected visits a day."""
    taste: Scores
    """(U, D) hidden: what a film's traits are multiplied with."""
    era: Scores
    """(U,) hidden: the year whose films please most."""
    favourites: Rows
    """(U, F) hidden: codes of the actors that the viewer likes."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """How strongly each cause moves liking, in units of the logistic scale."""

    taste: float = 1.0
    """Of one standard deviation of the match between taste and traits."""
    language: float = 3.0
    """Of the viewer's main language against a language the viewer does not follow."""
    era: float = 1.2
    """Of a film of the preferred year against one of another age."""
    star: float = 1.2
    """Of a favourite actor in the cast."""
    quality: float = 0.7
    """Of one standard deviation of the film's quality."""
    base: float = -2.0
    """Of a film that nothing speaks for."""

    def packed(self) -> Scores:
        """Return the effects in the order in which the kernels read them; (6,)."""
        return np.array([self.base, self.taste, self.language, self.era, self.star, self.quality], np.float32)


def mind(viewers: Viewers, films: Films, effects: Effects) -> tuple[Array, ...]:
    """Return the arrays from which the kernels compute utility, in their order."""
    share = viewers.languages / viewers.languages.max(axis=1, keepdims=True)
    return (
        effects.packed(),
        viewers.taste,
        share.astype(np.float32),
        viewers.era,
        viewers.favourites,
        films.traits,
        films.language,
        films.year,
        films.cast,
        films.quality,
    )


@njit(cache=True)
def utility(mind: tuple[Array, ...], u: int, i: int) -> float:
    """Return how much a viewer likes a film, on the logistic scale."""
    effects, taste, share, era, favourites, traits, language, year, cast, quality = mind
    match = 0.0
    for d in range(taste.shape[1]):
        match += taste[u, d] * traits[i, d]
    years = (year[i] - era[u]) / 15.0
    star = 0.0
    for c in range(cast.shape[1]):
        for f in range(favourites.shape[1]):
            if cast[i, c] >= 0 and cast[i, c] == favourites[u, f]:
                star = 1.0
    return float(
        effects[0]
        + effects[1] * match
        + effects[2] * share[u, language[i]]
        + effects[3] * math.exp(-years * years)
        + effects[4] * star
        + effects[5] * quality[i]
    )


@njit(cache=True)
def preferences(mind: tuple[Array, ...], users: Rows, items: Rows) -> Scores:
    """Return liking in (0, 1) of users for items, nan where a row is -1; (B,), (B, K) -> (B, K)."""
    out = np.empty(items.shape, np.float32)
    for b in range(items.shape[0]):
        for j in range(items.shape[1]):
            if users[b] < 0 or items[b, j] < 0:
                out[b, j] = np.nan
            else:
                out[b, j] = 1.0 / (1.0 + math.exp(-utility(mind, users[b], items[b, j])))
    return out


@njit(cache=True)
def visit(
    mind: tuple[Array, ...],
    users: Rows,
    attraction: Array,
    minutes: Scores,
    seen: Rows,
    n_seen: Rows,
    position_bias: float,
    rng: Generator,
) -> tuple[Rows, Mask, Scores, Scores]:
    """Let viewers visit one after the other, each shown a slate and taking from it what pleases more than leaving.

    Slates are drawn without replacement by `attraction`, the cumulated weights (N,) of the films, leaving out what the
    viewer's memory `seen` (U, M) holds; it and `n_seen` (U,) are brought up to date. A film is taken while its utility,
    lowered by its position and shaken by Gumbel noise (so that choice is a multinomial logit), exceeds that of leaving,
    which grows with each film taken. Returns for each visit shown, taken, seconds watched and rating, all (S, SLATE).
    """
    n, memory = len(attraction), seen.shape[1]
    shown = np.full((len(users), SLATE), -1, np.int32)
    clicked = np.zeros((len(users), SLATE), np.bool_)
    seconds = np.zeros((len(users), SLATE), np.float32)
    rating = np.zeros((len(users), SLATE), np.float32)
    pull = np.empty(SLATE)
    for s in range(len(users)):
        u = users[s]
        count = 0
        for _ in range(6 * SLATE):
            i = min(np.searchsorted(attraction, rng.random() * attraction[n - 1], side="right"), n - 1)
            known = False
            for h in range(min(n_seen[u], memory)):
                known |= seen[u, h] == i
            for j in range(count):
                known |= shown[s, j] == i
            if not known:
                shown[s, count] = i
                count += 1
                if count == SLATE:
                    break
        for j in range(count):
            gumbel = -math.log(-math.log(max(rng.random(), 1e-300)))
            pull[j] = utility(mind, u, shown[s, j]) - position_bias * math.log(j + 1.0) + gumbel
        leaving = LEAVING - math.log(-math.log(max(rng.random(), 1e-300)))
        for _ in range(min(MOST_TAKEN, count)):
            best = 0
            for j in range(count):
                if pull[j] > pull[best]:
                    best = j
            if pull[best] < leaving:
                break
            pull[best] = -np.inf
            leaving += TIRED
            i = shown[s, best]
            preference = 1.0 / (1.0 + math.exp(-utility(mind, u, i)))
            clicked[s, best] = True
            seconds[s, best] = 60.0 * minutes[i] * rng.beta(4.0 * preference + 1e-3, 4.0 * (1.0 - preference) + 1e-3)
            rating[s, best] = min(5.0, max(1.0, round(1.0 + 4.0 * preference + 0.7 * rng.standard_normal())))
            seen[u, n_seen[u] % memory] = i
            n_seen[u] += 1
    return shown, clicked, seconds, rating


@njit(cache=True)
def chances(pull: Array) -> Array:
    """Return the chance that each film of a slate is taken in `visit`, (S, K), from exp(utility) times attention.

    A weight of 0 is no film.
    The order of what is shaken by Gumbel noise is that of draws without replacement in proportion to the weights
    (Plackett-Luce), and so is the place of leaving in it: a film is taken as the first, second or third if it is drawn
    as that one, before leaving with the weight that it then has.
    """
    out = np.zeros(pull.shape)
    first, second, third = math.exp(LEAVING), math.exp(LEAVING + TIRED), math.exp(LEAVING + 2 * TIRED)
    for s in range(pull.shape[0]):
        total = pull[s].sum()
        for i in range(pull.shape[1]):
            one = pull[s, i]
            out[s, i] += one / (total + first)
            for j in range(pull.shape[1]):
                if j == i:
                    continue
                two = pull[s, j]
                out[s, j] += one / (total + second) * two / (total - one + second)
                both = one / (total + third) * two / (total - one + third)
                for k in range(pull.shape[1]):
                    if k not in (i, j):
                        out[s, k] += both * pull[s, k] / (total - one - two + third)
    return out
