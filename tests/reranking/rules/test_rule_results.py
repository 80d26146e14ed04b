"""What rules did in final lists: counts, bounds, and sentences."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.reranking.rules.groups import Groups, Rule
from pasand.reranking.rules.rule_results import rule_results
from pasand.reranking.rules.rules import Rules


def rules(*given: Rule) -> Rules:
    data = Dataset(
        name="six",
        users=Vocabulary(["u"]),
        items=Vocabulary([f"i{i}" for i in range(6)]),
        user=np.zeros(1, np.int32),
        item=np.zeros(1, np.int32),
        time=np.zeros(1, np.int64),
        item_features={"city": Feature(kind="categorical", values=np.array([0, 0, 0, 1, 1, 1]), names=("a", "b"))},
    )
    return Rules(Groups(given).fit(data, rng=np.random.default_rng(0)))


ITEMS, TIME = np.array([[0, 3, 4, 5], [3, 4, 0, -1], [-1, -1, -1, -1]], np.int32), np.zeros(3, np.int64)


def test_counts_and_bounds_are_those_of_the_filled_slots() -> None:
    results = rule_results(rules(Rule(name="A", where={"city": "a"}, min_share=0.5)), ITEMS, TIME)
    assert [(one.count, one.slots, one.low, one.high, one.holds) for (one,) in results] == [
        (1, 4, 2, 4, False),
        (1, 3, 2, 3, False),
        (0, 0, 0, 0, True),
    ]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Rule(name="B", where={"city": "b"}, min_share=0.5), "B: 3 of 4, at least 2 required"),
        (Rule(name="B", where={"city": "b"}, max_count=3), "B: 3 of 4, at most 3 required"),
        (Rule(name="B", where={"city": "b"}, min_count=1, first=2), "B: 1 of 2, at least 1 required"),
        (Rule(name="B", where={"city": "b"}, max_share=1.0), "B: 3 of 4"),
        (
            Rule(name="B", where={"city": "b"}, max_share=0.5),
            "B: 3 of 4, but at most 2 required: the candidates and the rules before it leave no better list",
        ),
    ],
)
def test_a_sentence_names_what_was_found_and_what_is_required(rule: Rule, sentence: str) -> None:
    assert str(rule_results(rules(rule), ITEMS[:1], TIME[:1])[0][0]) == sentence


def test_a_rule_on_every_prefix_holds_only_if_all_prefixes_do() -> None:
    prefixes = Rule(name="A", where={"city": "a"}, min_share=0.5, every_prefix=True)
    late = np.array([[3, 4, 0, 1], [0, 3, 1, 4]], np.int32)
    assert [one.holds for (one,) in rule_results(rules(prefixes), late, TIME[:2])] == [False, True]
