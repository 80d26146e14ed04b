"""Stakeholders: sums by hand, scales, priorities of providers, missing values, optimum under rules, refusals."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from pasand import default_recipe, recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.reranking.rules.groups import Groups, Rule
from pasand.reranking.rules.rules import Rules
from pasand.reranking.stakeholders import Stakeholders, Weights
from pasand.types import Candidates, Queries
from tests.logs import log

RNG = np.random.default_rng(0)
EVENTS = [
    ("u", "i0", 1),
    ("u", "i1", 2),
    ("v", "i0", 3),
    ("v", "i2", 4),
    ("w", "i3", 5),
    ("w", "i4", 6),
    ("w", "i5", 7),
]
EASE = default_recipe.of_model("ease", {})


def data() -> Dataset:
    """Items 0, 1, 2 are of provider p with 4 of 6 positives, 3 of q with one, 4 of r with one not liked, 5 of none."""
    made = log([(user, item, time, 2.0 if item in ("i4",) else 5.0) for user, item, time in EVENTS])
    return replace(
        made,
        item_features={
            "studio": Feature(
                kind="categorical", values=np.array([0, 0, 0, 1, 2, -1], np.int32), names=("p", "q", "r")
            ),
            "margin": Feature(kind="number", values=np.array([10, 20, 30, np.nan, 0, 15], np.float32)),
            "tier": Feature(kind="number", values=np.array([1, 1, 2, 2, 3, 3], np.float32)),
            "flat": Feature(kind="number", values=np.ones(6, np.float32)),
            "title": Feature(kind="text", values=np.array(list("abcdef"), "T")),
        },
    )


def queries(k: int) -> Queries:
    return data().queries(np.zeros(1, np.int32), k=k)


ALL = Candidates(items=np.array([[0, 1, 2, 3, 4, 5]], np.int32), scores=np.array([[6, 5, 4, 3, 2, 1]], np.float32))


def test_priorities_of_providers() -> None:
    """Of 5 items with a provider p has 3, of 5 positives 4: (3/5) / (3/5 + 4/5); r has no positive, 5 no provider."""
    stage = Stakeholders(Weights(provider=1.0), provider="studio").fit(data(), rng=RNG)
    np.testing.assert_allclose(stage.values("provider"), [3 / 7] * 3 + [0.5, 1.0, 0.5])
    assert stage.values("platform").tolist() == [0] * 6


def test_numbers_are_scaled_and_cut_off_and_missing_ones_are_the_median() -> None:
    stage = Stakeholders(Weights(platform=1.0), platform="margin").fit(data(), rng=RNG)
    low, high = np.quantile([10, 20, 30, 0, 15], [0.05, 0.95])
    expected = np.clip((np.array([10, 20, 30, 15, 0, 15]) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(stage.values("platform"), expected)
    stage.add_items({"margin": Feature(kind="number", values=np.array([99, np.nan], np.float32))})
    np.testing.assert_allclose(stage.values("platform")[6:], [1, expected[3]])
    stated = Stakeholders(Weights(provider=1.0), provider="tier").fit(data(), rng=RNG)
    np.testing.assert_allclose(stated.values("provider"), [0, 0, 0.5, 0.5, 1, 1])


def test_the_sum_by_hand_and_the_weights() -> None:
    """The unit is 6 - 3 = 3; tiers are 0, 0, .5, .5, 1, 1, so the last two get 3 x .5 with weights of 2 and 1."""
    stage = Stakeholders(Weights(relevance=2.0, provider=1.0), provider="tier").fit(data(), rng=RNG)
    result = stage(queries(3), ALL)
    assert result.items.tolist() == [[0, 1, 2, 3, 4, 5]]
    np.testing.assert_allclose(result.scores, [[6, 5, 4.75, 3.75, 3.5, 2.5]])
    strong = replace(stage, strength=4.0).fit(data(), rng=RNG)(queries(3), ALL)
    assert strong.items.tolist() == [[4, 2, 5, 0, 3, 1]]
    np.testing.assert_allclose(strong.scores, [[8, 7, 7, 6, 6, 5]])
    none = replace(stage, strength=0.0).fit(data(), rng=RNG)(queries(3), ALL)
    np.testing.assert_array_equal(none.scores, ALL.scores)
    other = replace(ALL, scores=(100 * ALL.scores - 7).astype(np.float32))
    np.testing.assert_array_equal(stage(queries(3), other).items, result.items)


def test_unknown_items_are_neutral() -> None:
    stage = Stakeholders(Weights(provider=1.0, platform=1.0), provider="studio", platform="margin").fit(data(), rng=RNG)
    some = Candidates(items=np.array([[5, 40, -1]], np.int32), scores=np.array([[3, 2.5, -np.inf]], np.float32))
    result = stage(queries(3), some)
    assert result.items.tolist() == [[5, 40, -1]]
    assert result.scores[0, 0] - result.scores[0, 1] == pytest.approx(0.5)


def test_rules_that_follow_keep_the_objective() -> None:
    """The sum of the weighted parts is the largest of all sets that keep the rule."""
    stage = Stakeholders(Weights(provider=0.7, platform=0.4), provider="tier", platform="margin").fit(data(), rng=RNG)
    rules = Rules(Groups([Rule(name="p", where={"studio": "p"}, max_count=1)]).fit(data(), rng=RNG), discount="none")
    asked, total = queries(3), np.arange(6, 0, -1.0)
    total += 3 * (0.7 * stage.values("provider") + 0.4 * stage.values("platform"))
    result = rules(asked, stage(asked, ALL))
    best = max(total[list(some)].sum() for some in combinations(range(6), 3) if sum(i < 3 for i in some) <= 1)
    assert result.scores.sum() == pytest.approx(best, rel=1e-6)
    assert total[result.items[0]].sum() == pytest.approx(best, rel=1e-6)


def test_items_without_a_value_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Stakeholders(Weights(provider=1, platform=1), provider="studio", platform="margin").fit(data(), rng=RNG)
    assert [record.getMessage() for record in caplog.records] == [
        "stakeholders: 1 of 6 items have no studio, and get the priority 0.5",
        "stakeholders: 1 of 6 items have no margin, and get the median",
    ]


@pytest.mark.parametrize(
    ("provider", "platform", "message"),
    [
        (
            "seller",
            "margin",
            "column 'provider': 'seller' is wrong: items have no such feature. Cure: use one of: studio, m",
        ),
        ("studio", "price", "column 'platform': 'price' is wrong: .* Cure: use one of: margin, tier, flat"),
        ("studio", "title", "'title' is wrong: it is text, not number"),
        ("studio", "flat", "'flat' is wrong: it does not differ between items"),
    ],
)
def test_wrong_features_are_refused(provider: str, platform: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stakeholders(Weights(provider=1, platform=1), provider=provider, platform=platform).fit(data(), rng=RNG)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "weights = { provider = 1.0 }",
            'provider has a weight and no feature: name an item feature, provider = "..."',
        ),
        ('weights = {}\nplatform = "margin"', "platform has no weight: give platform a weight above 0"),
        ("weights = {}", 'relevance alone: name an item feature as provider = "..."'),
        (
            'weights = { relevance = 0, platform = 1 }\nplatform = "margin"',
            "relevance must be above 0 and finite, got 0",
        ),
        ('weights = { platform = -1 }\nplatform = "margin"', "the weight of platform must be at least 0"),
        (
            'weights = { platform = 1 }\nplatform = "margin"\nstrength = -2',
            "strength must be at least 0 and finite, got -2",
        ),
        ('weights = { seller = 1 }\nplatform = "margin"', "unknown field `seller`"),
        ("weight = 1", "Stakeholders has no such option. Cure: use one of: weights, provider, platform, strength"),
    ],
)
def test_a_wrong_table_is_refused(fields: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.build(f'{EASE}\n[[policy]]\nkind = "stakeholders"\n{fields}\n')
