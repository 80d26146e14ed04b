"""Measures of a round against hand-computed figures."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.closed_loop.measures import MEASURES, Round, figures, gini, of_run
from pasand.simulation.market import Market
from pasand.simulation.market_state import MarketState

MARKET = Market(n_users=30, n_items=40, n_studios=12, rounds=30, warm_days=20)
BY_NAME = {measure.name: measure for measure in MEASURES}


def _round(number: int, state: MarketState) -> Round:
    """Return a round in which two viewers get three films each and click one."""
    items = np.array([[0, 1, 2], [2, 3, -1]], np.int32)
    clicked = np.array([[True, False, False], [False, True, False]])
    users = np.array([4, 9], np.int32)
    state.update(number, users, items, clicked, np.full(items.shape, 0.5))
    return Round(number, users, items, clicked, np.array([1.0, 0.5]), 6.0, state)


def test_figures_of_a_round() -> None:
    state = MarketState(MARKET)
    found = figures(one := _round(0, state))
    arrived = MARKET.world.viewers.arrives <= 20
    assert found["visits"] == 2
    assert found["true satisfaction of a visit"] == 0.75
    assert found["true satisfaction per viewer"] == pytest.approx(6 / arrived.sum())
    assert found["retention"] == pytest.approx(state.active[arrived].mean())
    assert found["overlap of lists"] in (pytest.approx(1 / 3), pytest.approx(1 / 2))
    metro = MARKET.metro[MARKET.studio[[0, 1, 2, 2, 3]]]
    assert found["exposure of metros"] == pytest.approx(metro.mean())
    share = np.zeros((2, len(MARKET.world.languages)))
    for row, films in enumerate(([0, 1, 2], [2, 3])):
        np.add.at(share[row], MARKET.world.films.language[films], 1 / len(films))
    distance = np.abs(share - MARKET.world.viewers.languages[[4, 9]]).sum(axis=1) / 2
    assert found["language distance"] == pytest.approx(distance.mean())
    genres = [(MARKET.world.films.genres[film] >= 0).sum() for film in (0, 3)]
    assert found["genre entropy"] == pytest.approx(np.log2(genres).mean())
    assert np.isnan(found["gap between ages"])  # no group with two visits, or one only
    assert one.state is state


def test_first_sales_count_new_studios_whose_days_are_over() -> None:
    state, since = MarketState(MARKET), MARKET.studio_since
    late = MARKET.rounds - 1
    watched = MARKET.is_new & (since + 30 <= MARKET.day(late))
    assert watched.sum() >= 2
    first, second = np.flatnonzero(watched)[:2]
    state.first_sale[first], state.first_sale[second] = since[first] + 29, since[second] + 31
    empty = np.empty((0, 3), np.int32)
    one = Round(late, np.empty(0, np.int32), empty, empty >= 0, np.empty(0), 0.0, state)
    name = "first sale in 30 days"
    assert BY_NAME[name].figure(one) == pytest.approx(1 / watched.sum())
    state.first_sale[second] = since[second] + 30
    assert BY_NAME[name].figure(one) == pytest.approx(2 / watched.sum())
    assert np.isnan(BY_NAME[name].figure(Round(0, one.users, empty, empty >= 0, np.empty(0), 0.0, state)))
    assert np.isfinite(figures(one)["retention"])  # a round without visits


def test_gini_by_hand() -> None:
    assert gini(np.array([1.0, 3.0])) == pytest.approx(0.25)
    assert np.isnan(gini(np.zeros(3)))


def test_the_figure_of_a_run() -> None:
    rounds, visits = np.array([np.nan, 1.0, 2.0, 3.0, 4.0, 6.0]), np.array([5, 0, 0, 1, 3, 0])
    assert of_run(BY_NAME["true satisfaction of a visit"], rounds, visits) == pytest.approx(15 / 4)
    assert of_run(BY_NAME["retention"], rounds, visits) == 6
    assert of_run(BY_NAME["Gini of exposure"], rounds, visits) == 5
    assert np.isnan(of_run(BY_NAME["retention"], np.full(6, np.nan), visits))
