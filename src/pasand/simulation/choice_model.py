"""Choice model of the simulated world: attributes of viewers and films, utility, and the clicks of a visit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.types import Array, Mask, Rows, Scores

SLATE_SIZE = 20
"""Number of films shown in a visit."""
MAX_CLICKS = 3
"""Largest number of films clicked and watched in a visit."""
LEAVE_UTILITY, FATIGUE = 2.0, 1.5
"""Utility of leaving, and its increase with each film clicked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """Attributes of the films: observable features, and hidden ones that only the simulation uses."""

    ids: tuple[str, ...]
    title: tuple[str, ...]
    year: Rows
    """(N,)"""
    minutes: Scores
    """(N,) running time in minutes."""
    language: Rows
    """(N,) code of the language."""
    genres: Rows
    """(N, 4) codes, padded with -1."""
    cast: Rows
    """(N, 4) codes of the leading actors, padded with -1."""
    arrives: Scores
    """(N,) day from which the film can be watched, at least 0."""
    factors: Scores
    """(N, D) hidden latent factors; their inner product with a viewer's factors enters the utility."""
    quality: Scores
    """(N,) hidden quality, the same for all viewers."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewers:
    """Attributes of the viewers: features that a platform may know, and hidden ones that only the simulation uses."""

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
    """(U, L) share of each of the L languages in what the viewer understands and chooses; rows add up to 1."""
    arrives: Scores
    """(U,) day of the first possible visit, at least 0."""
    visits: Scores
    """(U,) expected number of visits a day."""
    factors: Scores
    """(U, D) hidden latent factors, the preferences that are matched with the factors of films."""
    preferred_year: Scores
    """(U,) hidden: year of release with the largest utility."""
    favourites: Rows
    """(U, 3) hidden: codes of the viewer's favourite actors."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Effect of each cause on the utility, in units of the logistic scale."""

    factors: float = 1.0
    """Effect of one standard deviation of the inner product of a viewer's and a film's factors."""
    language: float = 3.0
    """Effect of the viewer's main language, compared with a language the viewer does not understand."""
    era: float = 1.2
    """Effect of a film of the preferred year, compared with a film of a distant year."""
    star: float = 1.2
    """Effect of a favourite actor in the cast."""
    quality: float = 0.7
    """Effect of one standard deviation of the film's quality."""
    base: float = -2.0
    """Utility of a film to which no other effect applies."""

    def packed(self) -> Scores:
        """Return the effects in the order in which the kernels read them, (6,)."""
        return np.array([self.base, self.factors, self.language, self.era, self.star, self.quality], np.float32)


def utility_inputs(viewers: Viewers, films: Films, effects: Effects) -> tuple[Array, ...]:
    """Return the arrays from which `utility` is computed, in the order in which it reads them."""
    share = viewers.languages / viewers.languages.max(axis=1, keepdims=True)
    return (
        effects.packed(),
        viewers.factors,
        share.astype(np.float32),
        viewers.preferred_year,
        viewers.favourites,
        films.factors,
        films.language,
        films.year,
        films.cast,
        films.quality,
    )


@njit(cache=True)
def utility(inputs: tuple[Array, ...], u: int, i: int) -> float:
    """Return the utility of film i for viewer u, on the logistic scale."""
    effects, user_factors, share, preferred_year, favourites, film_factors, language, year, cast, quality = inputs
    inner_product = 0.0
    for d in range(user_factors.shape[1]):
        inner_product += user_factors[u, d] * film_factors[i, d]
    distance = (year[i] - preferred_year[u]) / 15.0
    star = 0.0
    for c in range(cast.shape[1]):
        for f in range(favourites.shape[1]):
            if cast[i, c] >= 0 and cast[i, c] == favourites[u, f]:
                star = 1.0
    return float(
        effects[0]
        + effects[1] * inner_product
        + effects[2] * share[u, language[i]]
        + effects[3] * math.exp(-distance * distance)
        + effects[4] * star
        + effects[5] * quality[i]
    )


@njit(cache=True)
def preferences(inputs: tuple[Array, ...], users: Rows, items: Rows) -> Scores:
    """Return the preference of users for items, sigmoid(utility) in (0, 1); (B,), (B, K) -> (B, K); nan at row -1."""
    out = np.empty(items.shape, np.float32)
    for b in range(items.shape[0]):
        for j in range(items.shape[1]):
            if users[b] < 0 or items[b, j] < 0:
                out[b, j] = np.nan
            else:
                out[b, j] = 1.0 / (1.0 + math.exp(-utility(inputs, users[b], items[b, j])))
    return out


@njit(cache=True)
def simulate_visits(
    inputs: tuple[Array, ...],
    users: Rows,
    cumulative_exposure: Array,
    minutes: Scores,
    seen: Rows,
    n_seen: Rows,
    position_bias: float,
    rng: Generator,
) -> tuple[Rows, Mask, Scores, Scores]:
    """Simulate S visits, one after the other: a viewer sees a slate and clicks films with more utility than leaving.

    Slates are drawn without replacement by `cumulative_exposure`, the cumulated exposure weights (N,) of the films,
    without the films in the viewer's memory `seen` (U, M); `seen` and the counts `n_seen` (U,) are updated in place.
    Films are clicked, the best first, while their utility, less the log of the position times `position_bias`, plus
    Gumbel noise (so that the choice is a multinomial logit), exceeds the utility of leaving, which grows with each
    click. Returns the films shown, clicks, seconds watched and ratings of each visit, all (S, SLATE_SIZE).
    """
    n, memory = len(cumulative_exposure), seen.shape[1]
    shown = np.full((len(users), SLATE_SIZE), -1, np.int32)
    clicked = np.zeros((len(users), SLATE_SIZE), np.bool_)
    seconds = np.zeros((len(users), SLATE_SIZE), np.float32)
    rating = np.zeros((len(users), SLATE_SIZE), np.float32)
    noisy_utility = np.empty(SLATE_SIZE)
    for s in range(len(users)):
        u = users[s]
        count = 0
        for _ in range(6 * SLATE_SIZE):
            drawn = rng.random() * cumulative_exposure[n - 1]
            i = min(np.searchsorted(cumulative_exposure, drawn, side="right"), n - 1)
            excluded = False
            for h in range(min(n_seen[u], memory)):
                excluded |= seen[u, h] == i
            for j in range(count):
                excluded |= shown[s, j] == i
            if not excluded:
                shown[s, count] = i
                count += 1
                if count == SLATE_SIZE:
                    break
        for j in range(count):
            gumbel = -math.log(-math.log(max(rng.random(), 1e-300)))
            noisy_utility[j] = utility(inputs, u, shown[s, j]) - position_bias * math.log(j + 1.0) + gumbel
        leaving = LEAVE_UTILITY - math.log(-math.log(max(rng.random(), 1e-300)))
        for _ in range(min(MAX_CLICKS, count)):
            best = 0
            for j in range(count):
                if noisy_utility[j] > noisy_utility[best]:
                    best = j
            if noisy_utility[best] < leaving:
                break
            noisy_utility[best] = -np.inf
            leaving += FATIGUE
            i = shown[s, best]
            preference = 1.0 / (1.0 + math.exp(-utility(inputs, u, i)))
            clicked[s, best] = True
            seconds[s, best] = 60.0 * minutes[i] * rng.beta(4.0 * preference + 1e-3, 4.0 * (1.0 - preference) + 1e-3)
            rating[s, best] = min(5.0, max(1.0, round(1.0 + 4.0 * preference + 0.7 * rng.standard_normal())))
            seen[u, n_seen[u] % memory] = i
            n_seen[u] += 1
    return shown, clicked, seconds, rating


@njit(cache=True)
def click_probabilities(weights: Array) -> Array:
    """Return the probability that each film of a slate is clicked in `simulate_visits`, (S, K) -> (S, K).

    A weight is exp(utility) times examination; 0: no film. Sorting utilities with Gumbel noise is the same as drawing
    without replacement in proportion to the weights (Plackett-Luce), with leaving as one more alternative. So a film is
    the first, second or third click if it is drawn as the first, second or third, before leaving with its weight at
    that step.
    """
    out = np.zeros(weights.shape)
    # weight of leaving before the first, second and third click
    first, second, third = (
        math.exp(LEAVE_UTILITY),
        math.exp(LEAVE_UTILITY + FATIGUE),
        math.exp(LEAVE_UTILITY + 2 * FATIGUE),
    )
    for s in range(weights.shape[0]):
        total = weights[s].sum()
        for i in range(weights.shape[1]):
            one = weights[s, i]
            out[s, i] += one / (total + first)
            for j in range(weights.shape[1]):
                if j == i:
                    continue
                two = weights[s, j]
                out[s, j] += one / (total + second) * two / (total - one + second)
                both = one / (total + third) * two / (total - one + third)
                for k in range(weights.shape[1]):
                    if k not in (i, j):
                        out[s, k] += both * weights[s, k] / (total - one - two + third)
    return out
