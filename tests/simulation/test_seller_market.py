"""The marketplace in rounds: sellers join every week, and the machinery of `Market` reads them as studios."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pasand.progress import listening
from pasand.simulation.market_state import MarketState
from pasand.simulation.seller_market import SellerMarket

MARKET = SellerMarket(n_users=60, n_items=60, n_studios=20, rounds=6, warm_days=21, round_days=4, patience_days=9)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with listening(None):
        yield


def test_new_sellers_join_in_the_weeks_of_the_rounds() -> None:
    assert set(MARKET.studio_since[MARKET.is_new]) == {21.0, 28.0, 35.0, 42.0}
    first = [MARKET.world.films.arrives[MARKET.studio == seller].min() for seller in np.flatnonzero(MARKET.is_new)]
    assert first == MARKET.studio_since[MARKET.is_new].tolist()


def test_the_log_ends_before_the_first_round_and_describes_all_products(tmp_path: Path) -> None:
    log = MARKET.log()
    assert len(log) > 100
    assert log.time[-1] < MARKET.time(0)
    assert log.n_items == 60
    assert (log.item_features["seller"].values == MARKET.studio).all()
    later = log.item_features["available_from"].values >= MARKET.time(0)
    assert later.any()
    assert not np.isin(np.flatnonzero(later), log.item).any()
    drawn = SellerMarket(n_users=5, n_items=20, n_studios=3, rounds=1, warm_days=9, pictures=str(tmp_path / "some"))
    assert len(drawn.log().item_features["image"].values) == len(list((tmp_path / "some").iterdir())) == 20


def test_products_can_be_shown_from_their_day_on() -> None:
    state = MarketState(MARKET)
    assert (state.available(0) == (MARKET.world.films.arrives <= 21)).all()
    assert state.genres.shape == (60, 7)
    assert 0 < MARKET.metro.mean() < 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_users": 1}, "n_users must be at least 2"),
        ({"n_studios": 0}, "n_studios must be at least 2"),
        ({"n_items": 30}, "n_items must be at least n_studios, got 30 and 120"),
    ],
)
def test_what_is_too_small_is_named(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SellerMarket(**wrong)  # type: ignore[arg-type]
