"""The simulated marketplace: sellers, listings in five languages, true preferences, its log, and wrong input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.encoding.encode import encode
from pasand.data.log import Options
from pasand.data.scripts import script
from pasand.errors import InputError
from pasand.simulation.choice_model import Effects
from pasand.simulation.crafts import CRAFTS, REGION_OF_TOWN, TOWNS
from pasand.simulation.listings import LANGUAGES, words
from pasand.simulation.marketplace import Marketplace
from pasand.sources.market import read, recognises, world_of
from pasand.types import Scores

LOCATION = "market:n_users=60,n_items=90,n_sellers=30,days=42,seed=3,new_sellers=0.4"
SMALL = world_of(LOCATION)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return SMALL.dataset()


def truth(world: Marketplace) -> Scores:
    """Return the preference of all buyers for all products, (U, N)."""
    users = np.arange(world.n_users, dtype=np.int32)
    return world.preference(users, np.tile(np.arange(world.n_items, dtype=np.int32), (world.n_users, 1)))


def test_every_word_is_in_every_language_and_in_its_script() -> None:
    scripts = {"Bengali": "Bengali", "English": "Latin", "Hindi": "Devanagari", "Tamil": "Tamil", "Telugu": "Telugu"}
    keys = {key for craft in CRAFTS for key in (craft.material, *craft.products)} | set(TOWNS)
    for language in LANGUAGES:
        assert keys <= set(words()[language])
        assert {script(word) for word in words()[language].values()} == {scripts[language]}


def test_new_sellers_join_every_week_and_list_a_product_at_once() -> None:
    by, arrives = SMALL.sellers, SMALL.films.arrives
    new = by.since >= 0
    assert new.sum() == round(0.4 * 30)
    assert set(by.since[new]) == {7.0, 14.0, 21.0, 28.0, 35.0}  # weeks of a log of 42 days
    for seller in range(30):
        listed = arrives[SMALL.products.seller == seller]
        assert len(listed)
        if new[seller]:
            assert listed.min() == by.since[seller]
            assert listed.max() < by.since[seller] + 28
    assert not SMALL.item_features()["seller_age"].values.min() < 0


def test_regional_crafts_are_sold_from_their_towns() -> None:
    features = Marketplace(n_sellers=200).item_features()
    craft, town = features["craft"], features["seller_town"]
    for made in CRAFTS:
        towns = np.array(town.names)[town.values[craft.values == craft.names.index(made.name)]]
        if made.town:
            assert 0.5 < (towns == made.town).mean() < 0.95
            assert {REGION_OF_TOWN[one] for one in towns} == {made.region}


def test_the_utility_is_that_of_the_choice_model() -> None:
    """Each effect alone explains the logit of the preference exactly."""
    products, people = SMALL.films, SMALL.viewers
    alone = {name: replace(SMALL, effects=Effects(**{**dict.fromkeys(NAMES, 0.0), name: 1.0})) for name in NAMES}
    logits = {name: np.log(p / (1 - p)) for name, p in ((name, truth(one)) for name, one in alone.items())}
    assert np.allclose(logits["quality"], products.quality, atol=1e-4)
    share = people.languages / people.languages.max(axis=1, keepdims=True)
    assert np.allclose(logits["language"], share[:, products.language], atol=1e-4)
    favourite = (people.favourites[:, None, :] == products.cast[None, :, :1]).any(axis=2)
    assert np.allclose(logits["star"], favourite, atol=1e-4)
    distance = (products.year - people.preferred_year[:, None]) / 15
    assert np.allclose(logits["era"], np.exp(-(distance**2)), atol=1e-4)


NAMES = ("factors", "language", "era", "star", "quality", "base")


def test_the_log_follows_the_truth_and_knows_no_product_before_its_day(data: Dataset) -> None:
    assert data.name == "market"
    assert len(data) > 500
    assert (data.time >= data.item_features["available_from"].values[data.item]).all()
    bought = truth(SMALL)[data.user, data.item]
    shown = data.impressions
    assert shown is not None
    assert shown.watched_seconds is None
    assert bought.mean() > truth(SMALL)[shown.user, shown.item].mean() + 0.1
    assert data.value is not None
    assert np.corrcoef(bought, data.value)[0, 1] > 0.5
    assert set(data.user_features) == {"age_band", "gender", "city_tier", "state", "language", "languages"}


def test_the_source_has_the_events_of_the_world(data: Dataset) -> None:
    assert recognises("market") == recognises("market:days=3") == 1
    assert recognises("market.csv") == recognises("marketing") == 0
    found = encode(read(LOCATION, Options()), Options())
    assert (len(found), found.n_items) == (len(data), 90)
    assert found.user_features["city_tier"].names == ("tier 1", "tier 2", "tier 3")
    assert {"title", "description", "price_band", "seller", "seller_region", "category"} <= set(found.item_features)
    assert found.impressions is not None
    assert data.impressions is not None
    assert len(found.impressions) == len(data.impressions)
    users, items = SMALL.aligned(found)
    assert (users[found.user] == data.user).all()
    assert (items[found.item] == data.item).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("n_users=0", "n_users must be at least 1, got 0"),
        ("n_users=1", "n_users must be at least 2, got 1"),
        ("n_sellers=0", "n_sellers must be at least 1, got 0"),
        ("n_items=5", "n_items must be at least n_sellers, got 5 and 120"),
        ("new_sellers=1.5", r"new_sellers must be in \[0, 1\], got 1.5"),
        ("days=many", "days must be a whole number"),
        ("visits=few", "visits must be a number"),
        ("sellers=3", "the marketplace has no such field. Cure: use n_users, n_items, n_sellers"),
        ("studios=3", "no such field"),
    ],
)
def test_wrong_fields_are_named(wrong: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(f"market:{wrong}", Options())


def test_a_week_has_no_new_sellers() -> None:
    assert (Marketplace(days=7, new_sellers=1.0).sellers.since < 0).all()
    assert (Marketplace(days=8, new_sellers=1.0, n_sellers=9).sellers.since == 7).sum() == 8
