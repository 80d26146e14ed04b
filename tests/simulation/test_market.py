"""The market: who begins when, what the log holds, and who leaves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pasand.progress import listening
from pasand.simulation.market import Market
from pasand.simulation.market_state import MarketState

MARKET = Market(n_users=80, n_items=100, n_studios=30, rounds=20, warm_days=30, patience_days=9)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    with listening(None):
        yield


def test_new_studios_begin_with_their_first_film_in_a_round() -> None:
    arrives = MARKET.world.films.arrives
    assert MARKET.is_new.sum() == round(0.3 * 30)
    for studio in np.flatnonzero(MARKET.is_new):
        assert arrives[MARKET.studio == studio].min() == MARKET.studio_since[studio] >= 30
    assert (MARKET.studio_since[~MARKET.is_new] < 0).all()


def test_the_log_ends_before_the_first_round() -> None:
    log = MARKET.log()
    assert len(log) > 100
    assert log.time[-1] < MARKET.time(0)
    assert log.n_users == 80
    assert (log.item_features["studio"].values == MARKET.studio).all()
    since = log.item_features["studio_since"].values
    assert (since <= log.item_features["available_from"].values).all()
    again = MARKET.log()
    assert (again.item == log.item).all()


def test_only_viewers_who_have_arrived_and_not_left_visit() -> None:
    active = np.ones(80, np.bool_)
    active[::2] = False
    found = np.concatenate([MARKET.visitors(r, active) for r in range(20)])
    assert len(found)
    assert (found % 2 == 1).all()
    for r in (0, 19):
        assert (MARKET.world.viewers.arrives[MARKET.visitors(r, active)] <= MARKET.day(r)).all()
    every = np.array([np.isin(np.arange(80), MARKET.visitors(r, ~np.zeros(80, np.bool_))) for r in range(20)])
    expected = 1 - np.exp(-3 * MARKET.world.viewers.visits)
    here = MARKET.world.viewers.arrives <= MARKET.day(0)
    assert abs(every[:, here].mean() - expected[here].mean()) < 0.05


def test_a_studio_leaves_with_its_films_when_it_does_not_sell() -> None:
    state = MarketState(MARKET)
    film = int(np.flatnonzero(MARKET.world.films.arrives == 0)[0])
    seller = MARKET.studio[film]
    users, items = np.array([3], np.int32), np.array([[film, -1]], np.int32)
    for r in range(4):
        assert state.selling[~MARKET.is_new].all() == (r < 4)
        state.update(r, users, items, np.array([[True, False]]), np.array([[0.8, 0.0]]))
    old = np.flatnonzero(~MARKET.is_new)
    assert state.selling[old].tolist() == (old == seller).tolist()  # nine days after the first round
    assert state.first_sale[seller] == MARKET.day(0)
    assert set(MARKET.studio[state.available(4)]) <= {seller, *np.flatnonzero(MARKET.is_new)}
    assert state.genres[3].sum() == pytest.approx(1 + 0.9 + 0.9**2 + 0.9**3)
    assert state.satisfaction[3] == pytest.approx(0.8 - 0.3 * 0.7**4)


def test_viewers_leave_with_the_stated_probability() -> None:
    users = np.arange(200_000, dtype=np.int32)
    for satisfaction in (0.0, 0.5, 1.0):
        share = MARKET.leaves(0, users, np.full(len(users), satisfaction)).mean()
        assert abs(share - 0.05 * (1 - satisfaction) ** 2) < 0.003


@pytest.mark.parametrize("field", ["n_users", "rounds", "n_studios", "patience_days"])
def test_what_is_too_small_is_named(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least"):
        Market(**{field: 0})
