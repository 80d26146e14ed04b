"""Studios and prices of the simulated films: nothing else depends on them."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.simulation.studios import CITIES, REGION_OF_CITY
from pasand.simulation.world import DAY, START, World

FIELDS = {"n_users": 60, "days": 30}
PLAIN, WITH = World(**FIELDS), World(**FIELDS, studios=12)  # type: ignore[arg-type]


def test_events_and_other_features_keep_their_bits() -> None:
    plain, other = PLAIN.dataset(), WITH.dataset()
    assert plain.fingerprint == other.fingerprint
    for name, feature in plain.item_features.items():
        assert feature.names == other.item_features[name].names
    made = set(other.item_features) - set(plain.item_features)
    assert made == {"studio", "studio_region", "studio_city", "studio_size", "studio_since", "price"}


def test_the_second_language_is_the_second_that_a_viewer_understands() -> None:
    assert set(WITH.user_features()) - set(PLAIN.user_features()) == {"second_language"}
    features = WITH.user_features()
    of_each = [features["languages"].show(row).split(", ") for row in range(60)]
    second = features["second_language"]
    found = [None if code < 0 else second.names[code] for code in second.values.tolist()]
    assert found == [names[1] if len(names) > 1 else None for names in of_each]
    assert None in found
    assert len(set(found)) > 2


def test_a_studio_begins_before_its_first_film_and_has_one_region_and_size() -> None:
    features = WITH.item_features()
    since = (features["studio_since"].values - START) / DAY
    assert (since <= WITH.films.arrives).all()
    assert (since > -60 - 1).any()
    studio = features["studio"].values
    for s in np.unique(studio):
        of_studio = ("studio_region", "studio_city", "studio_size")
        assert all(len(np.unique(features[name].values[studio == s])) == 1 for name in of_studio)


def test_a_studio_is_in_a_city_of_its_region() -> None:
    features = World(n_users=1, n_items=300, studios=200).item_features()
    region, city = features["studio_region"], features["studio_city"]
    regions = np.array([region.names.index(name) for name in REGION_OF_CITY])
    assert (regions[city.values] == region.values).all()
    assert len(np.unique(city.values)) == len(CITIES)


def test_areas_change_nothing_else_and_follow_the_city_tier() -> None:
    world = World(n_users=4000, days=2, rural=0.35)
    plain, features = World(n_users=4000, days=2), world.user_features()
    assert world.dataset().fingerprint == plain.dataset().fingerprint
    assert set(features) - set(plain.user_features()) == {"area"}
    rural = features["area"].values == features["area"].names.index("rural")
    tier = features["city_tier"].values
    assert abs(rural.mean() - 0.35) < 0.03
    shares = [rural[tier == t].mean() for t in range(3)]
    assert shares == sorted(shares)
    with pytest.raises(ValueError, match=r"rural must be in \[0, 1\]"):
        World(rural=1.5)


def test_prices_are_whole_rupees() -> None:
    price = World(n_users=1, n_items=300, studios=9).item_features()["price"].values
    assert (price == np.round(price)).all()
    assert 29 <= price.min() < 100 < price.max() <= 599


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="studios must be at least 0"):
        World(studios=-1)
