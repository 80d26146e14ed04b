"""One closed loop: a recipe recommends in a market, learns from the choices, and recommends again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from pasand import recipe
from pasand.closed_loop.measures import Round, figures
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.following import counters, following
from pasand.progress import listening
from pasand.recipe import Assembly
from pasand.simulation.choices import choices
from pasand.simulation.market import Market
from pasand.simulation.market_state import MarketState
from pasand.simulation.true_value import expected_satisfaction
from pasand.simulation.world import DAY
from pasand.types import Array, Mask, Rows, Scores

BATCH = 4096
"""Viewers whose lists are computed at once."""


def run(
    name: str,
    text: str,
    market: Market,
    log: Dataset,
    *,
    k: int,
    retrain_every: int,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, Array]:
    """Return the figures of each round, (R,) by name, of a recipe that begins with the log of the market.

    In each round the viewers who visit get a list of k films that can be shown, choose, and the choices join the log.
    The recipe is fitted in the first round and every `retrain_every` rounds; in between histories and counters follow
    the log, as in a service. Raises InputError, naming the recipe and the round, if it cannot be fitted.
    """
    state, fitted, total = MarketState(market), None, 0.0
    found: list[dict[str, float]] = []
    for r in range(market.rounds):
        retrained = r % retrain_every == 0
        if retrained or fitted is None:
            fitted = _fitted(name, text, log, market.seed, r, fitted)
        users = market.visitors(r, state.active)
        with nullcontext() if retrained else following(fitted.recommender, log):
            items = lists(fitted, log, users, market.time(r), state.available(r), k)
        clicked, rating = choices(market.world, users, items, r)
        satisfaction = expected_satisfaction(market.world, users, items)
        total += float(satisfaction.sum())
        state.update(r, users, items, clicked, np.nan_to_num(market.world.preference(users, items)))
        found.append(figures(Round(r, users, items, clicked, satisfaction, total, state)))
        log = with_choices(log, users, items, clicked, rating, market.time(r), market.round_days)
        on_round()
    return {measure: np.array([one[measure] for one in found]) for measure in found[0]}


def _fitted(name: str, text: str, log: Dataset, seed: int, round_: int, before: Assembly | None) -> Assembly:
    """Return the recipe fitted to the log; what its stages have counted as shown goes on from the assembly before."""
    try:
        with listening(None):
            assembly = recipe.build(text, where=name).fit(log, seed=seed)
    except InputError as error:
        where = f"the recipe {name}, round {round_ + 1} of the market with seed {seed}"
        raise InputError(where, cause=f"cannot be fitted: {error}", cure="simulate another recipe") from None
    ledgers = counters(assembly.recommender)
    for one in ledgers:
        one.empty()
        one.counts_returned = True
    for one, old in zip(ledgers, counters(before.recommender) if before else (), strict=False):
        one.load_state(old.state())
    return assembly


def lists(assembly: Assembly, log: Dataset, users: Rows, time: int, available: Mask, k: int) -> Rows:
    """Return the list of each user at a time, (B, k), padded with -1, out of the available items, (N,)."""
    items = np.full((len(users), k), -1, np.int32)
    for first in range(0, len(users), BATCH):
        some = users[first : first + BATCH]
        queries = log.queries(some, k=k, time=np.full(len(some), time))
        found = assembly.recommender(replace(queries, allowed=available[None, :])).items[:, :k]
        items[first : first + BATCH, : found.shape[1]] = found
    return items


def with_choices(
    log: Dataset, users: Rows, items: Rows, clicked: Mask, rating: Scores, time: int, days: int
) -> Dataset:
    """Return the log with the clicks of a round, (B, K), as events, spread over its days in the order of the users.

    All events of the log must be before the time of the round, in seconds.
    """
    row, column = np.nonzero(clicked)
    later = time + 1 + np.arange(len(row), dtype=np.int64) * (days * DAY - 2) // max(len(row), 1)
    return replace(
        log,
        user=np.concatenate([log.user, users[row]]),
        item=np.concatenate([log.item, items[row, column]]),
        time=np.concatenate([log.time, later]),
        value=np.concatenate([np.empty(0, np.float32) if log.value is None else log.value, rating[row, column]]),
    )
