"""Groups of users and items: categories, bands, ages at the time of the query, popularity, and wrong names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.audit.groups import feature_named, item_grouping, user_grouping
from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.errors import InputError
from tests.audit.small import DAY, NOW, data

LOG = data([(0, 0), (0, 0), (0, 1), (1, 2)])
ALL = np.arange(-1, 4, dtype=np.int32)


def members(name: str, time: int = NOW) -> dict[str, list[int]]:
    grouping = item_grouping(name, LOG)
    inside = {label: grouping.member(g, ALL, np.array([time])) for g, label in enumerate(grouping.labels)}
    return {label: ALL[mask].tolist() for label, mask in inside.items()}


def test_categories_and_bags_are_groups_and_padding_is_in_none() -> None:
    assert members("region") == {"a": [0, 1], "b": [2, 3]}
    assert members("language") == {"x": [0, 1], "y": [1, 2]}
    assert "1 of 4 items have no language" in item_grouping("language", LOG).note


def test_numbers_are_bands_of_equally_many_items() -> None:
    bands = {"up to 10": [0], "above 10 to 20": [1], "above 20 to 30": [2], "above 30": [3]}
    assert members("price") == members("price_band") == bands


def test_ages_are_counted_at_the_query() -> None:
    ages = {"under 30 days": [0], "30 to 90 days": [1], "90 to 365 days": [2], "over 365 days": [3]}
    assert members("seller_age") == members("seller_since") == ages
    before = members("seller_since", NOW - 20 * DAY)
    assert before["under 30 days"] == [1], "the item from 10 days ago did not exist"


def test_an_unknown_time_is_in_no_group() -> None:
    times = Feature(kind="time", values=np.array([TIME_UNKNOWN, NOW - DAY, NOW, NOW]))
    grouping = item_grouping("since", replace(LOG, item_features={"since": times}))
    assert grouping.member(0, ALL, np.array([NOW])).tolist() == [False, False, True, True, True]


def test_popularity_is_that_of_train() -> None:
    groups = members("popularity")
    assert groups["head"] == [0]
    assert groups["middle"] == [1, 2]
    assert groups["tail"] == [3], "an item without events is in the tail"


def test_a_name_means_the_feature_itself_first() -> None:
    features = {name: LOG.item_features[name] for name in ("price", "seller_since")}
    assert feature_named("seller_age", features) == "seller_since"
    assert feature_named("seller_age", features | {"seller_age": features["price"]}) == "seller_age"
    assert feature_named("seller_band", features) is None
    assert feature_named("price_age", features) is None


def test_users_are_grouped_by_history_and_by_age_at_the_end_of_train() -> None:
    log = data([(0, 0)] * 6 + [(1, 1)])
    grouping = user_grouping("history", log)
    assert [label for g, label in enumerate(grouping.labels) if grouping.table[g, 0]] == ["6-20 events"]
    joined = Feature(kind="time", values=np.array([NOW - 50 * DAY, NOW - 2 * DAY]))
    grouping = user_grouping("joined", replace(log, user_features={"joined": joined}))
    assert grouping.table.argmax(axis=0).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["seller", "popularity_band"])
def test_an_unknown_feature_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"no such feature.*region, price, language, seller_since, popularity"):
        item_grouping(name, LOG)


def test_texts_have_no_groups() -> None:
    title = Feature(kind="text", values=np.array(["a"] * 4, "T"))
    with pytest.raises(InputError, match="it is text"):
        item_grouping("title", replace(LOG, item_features={"title": title}))
