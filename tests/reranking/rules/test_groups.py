"""Groups of a policy's rules: conditions on features, ages at the time of a query, and rules that are refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.errors import InputError
from pasand.reranking.rules.groups import DAY, Groups, Range, Rule
from tests.logs import log

FEATURES = {
    "language": Feature(kind="categorical", values=np.array([0, 1, 0, -1], np.int32), names=("Tamil", "Hindi")),
    "genres": Feature(kind="bag", values=np.array([[0, 1], [1, -1], [-1, -1], [0, -1]]), names=("Drama", "Crime")),
    "price": Feature(kind="number", values=np.array([1, 5, np.nan, 9], np.float32)),
    "since": Feature(kind="time", values=np.array([0, 100 * DAY, 190 * DAY, TIME_UNKNOWN])),
}
RNG = np.random.default_rng(0)
NOW = np.array([100 * DAY, 200 * DAY])


def rule(where: dict[str, Any], **bounds: Any) -> Rule:
    return Rule(name="a rule", where=where, **(bounds or {"min_count": 1}))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return log([("u", f"i{n}", n, 5.0) for n in range(4)], item_features=FEATURES)


@pytest.mark.parametrize(
    ("where", "first", "second"),
    [
        ({"language": "Tamil"}, [1, 0, 1, 0], [1, 0, 1, 0]),
        ({"language": ["Hindi", "Telugu"]}, [0, 1, 0, 0], [0, 1, 0, 0]),
        ({"genres": "Crime"}, [1, 1, 0, 0], [1, 1, 0, 0]),
        ({"price": Range(min=5)}, [0, 1, 0, 1], [0, 1, 0, 1]),
        ({"price": Range(max=5), "language": "Tamil"}, [1, 0, 0, 0], [1, 0, 0, 0]),
        ({"since": Range(max_age_days=50)}, [0, 1, 0, 0], [0, 0, 1, 0]),
        ({"since": Range(min_age_days=50, max_age_days=150)}, [1, 0, 0, 0], [0, 1, 0, 0]),
        ({"since": Range(max_age_days=500), "language": "Tamil"}, [1, 0, 0, 0], [1, 0, 1, 0]),
    ],
)
def test_members_are_those_that_meet_all_conditions(
    data: Dataset, where: dict[str, Any], first: list[int], second: list[int]
) -> None:
    other = Rule(name="other", where={"language": "Hindi"}, max_share=1)
    groups = Groups([other, rule(where)]).fit(data, rng=RNG)
    items = np.tile(np.array([0, 1, 2, 3, -1, 9], np.int32), (2, 1))
    assert (groups.member(items, NOW) >> 1).tolist() == [[*first, 0, 0], [*second, 0, 0]]
    assert (groups.member(items, NOW) & 1).tolist() == [[0, 1, 0, 0, 0, 0]] * 2
    masks = np.broadcast_to(groups.mask(1, NOW), (2, 4))
    assert masks.astype(int).tolist() == [first, second]
    restored = Groups([other, rule(where)])
    restored.load_state(groups.state())
    np.testing.assert_array_equal(restored.member(items, NOW), groups.member(items, NOW))


USERS = {
    "second": Feature(kind="categorical", values=np.array([1, -1, 0], np.int32), names=("Tamil", "Hindi", "Urdu")),
    "likes": Feature(kind="bag", values=np.array([[0, 1], [1, -1], [-1, -1]]), names=("Crime", "Sport")),
    "age": Feature(kind="number", values=np.array([1, 2, 3], np.float32)),
}


def of_users(data: Dataset) -> Dataset:
    """Return the log with three users who have features."""
    names = ("u", "v", "w")
    return log([(names[n % 3], f"i{n}", n, 5.0) for n in range(4)], item_features=FEATURES, user_features=USERS)


def test_groups_of_the_values_of_the_user(data: Dataset) -> None:
    """Hindi films for u, whose likes are of crime and sport; v has no language, and w likes nothing."""
    rules = [
        Rule(name="language", where={"language": Range(user="second")}, min_count=1),
        Rule(name="likes", where={"genres": Range(user="likes"), "price": Range(min=2)}, min_count=1),
    ]
    known = of_users(data)
    groups, asked = Groups(rules).fit(known, rng=RNG), known.queries(np.array([0, 1, 2, -1], np.int32), k=3)
    items = np.tile(np.array([0, 1, 2, 3, -1, 9], np.int32), (4, 1))
    member = groups.member(items, asked.time, asked.features)
    assert (member & 1).tolist() == [[0, 1, 0, 0, 0, 0], [0] * 6, [1, 0, 1, 0, 0, 0], [0] * 6]
    assert (member >> 1).tolist() == [[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6, [0] * 6]
    assert groups.void(asked.features, 4).tolist() == [0, 1, 2, 3]
    assert groups.void({}, 2).tolist() == [3, 3]
    assert not groups.member(items, asked.time).any()
    urdu = {"second": np.array([2], np.int32), "likes": np.array([[1]], np.int32)}
    assert groups.void(urdu, 1).tolist() == [0]
    assert not groups.member(items[:1], NOW[:1], urdu).any()
    for r in (0, 1):
        assert (groups.mask(r, asked.time, asked.features) == (member[:, :4] >> r & 1)).all()
    restored = Groups(rules)
    restored.load_state(groups.state())
    np.testing.assert_array_equal(restored.member(items, asked.time, asked.features), member)
    restored.add_items({name: feature.select(np.array([1])) for name, feature in FEATURES.items()})
    assert restored.member(np.array([[4]], np.int32), asked.time[:1], asked.take(np.array([0])).features) == 3
    assert restored.mask(0, asked.time[:1], asked.take(np.array([0])).features).tolist() == [
        [False, True, *[False] * 2, True]
    ]
    with pytest.raises(ValueError, match=r"start\.0"):
        restored.load_state(dict(groups.state()) | {"start.0": np.zeros(2, np.int64)})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"language": Range(user="mother")},
            "'mother' is wrong: users have no such feature. Cure: use one of: second, likes",
        ),
        ({"language": Range(user="age")}, "'age' is wrong: of users it is number, not of categories"),
        ({"language": Range(user="likes")}, "no value .* is a value of the items'. Cure: .* among: Tamil, Hindi"),
        ({"price": Range(user="second")}, "price.*it is number, not of categories"),
    ],
)
def test_user_features_that_do_not_suit_are_refused(data: Dataset, where: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"(?s)rule 'a rule'.*{message}"):
        Groups([rule(where)]).fit(of_users(data), rng=RNG)


def test_a_maximum_of_each_value_needs_categories(data: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    one = Rule(name="one", each="genres", max_count=1)
    groups = Groups([one]).fit(data, rng=RNG)
    assert [row.tolist() for row in groups.values(0, np.array([0, 2, -1, 3], np.int32))] == [[0, 1], [], [], [0]]
    assert "rule 'one': 1 of 4 items have no genres, and are not counted by it" in caplog.text
    for name, message in (("price", "it is number, not of categories"), ("studio", "items have no such feature")):
        with pytest.raises(InputError, match=message):
            Groups([Rule(name="one", each=name, max_count=1)]).fit(data, rng=RNG)


def test_new_items_join_groups(data: Dataset) -> None:
    groups = Groups(
        [rule({"language": "Tamil"}), Rule(name="new", where={"since": Range(max_age_days=9)}, min_count=1)]
    )
    groups.fit(data, rng=RNG)
    groups.add_items(
        {name: feature.extended(None, 1).select(np.array([1, 0, 4])) for name, feature in FEATURES.items()}
    )
    items = np.array([[4, 5, 6]], np.int32)
    assert groups.member(items, NOW[:1]).tolist() == [[2, 1, 0]]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"colour": "red"}, "no such feature.*use one of: language, genres, price, since"),
        ({"language": "Telugu"}, "no item is in its group.*language has the values Tamil, Hindi"),
        ({"price": Range(min=0, max=99), "since": Range(min=0)}, ""),
        ({"since": Range(min=-1)}, ""),
        ({"language": Range(min=1)}, "min and max are for numbers and times"),
        ({"price": Range(max_age_days=3)}, "ages are of times, this is number"),
        ({"price": "cheap"}, "numbers are required"),
    ],
)
def test_conditions_that_do_not_suit_the_items_are_refused(data: Dataset, where: dict[str, Any], message: str) -> None:
    groups = Groups([rule(where)])
    if not message:
        groups.fit(data, rng=RNG)
        return
    with pytest.raises(InputError, match=f"(?s)rule 'a rule'.*{message}"):
        groups.fit(data, rng=RNG)


def test_a_group_of_all_items_is_refused_and_missing_values_are_counted(
    data: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Groups([rule({"price": Range(min=0, max=5)})]).fit(data, rng=RNG)
    assert "rule 'a rule': 1 of 4 items have no price" in caplog.text
    full = replace(data, item_features={"price": Feature(kind="number", values=np.ones(4, np.float32))})
    with pytest.raises(InputError, match="every item is in its group"):
        Groups([rule({"price": Range(min=0)})]).fit(full, rng=RNG)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_share": 1.2}, r"min_share must be a share in \[0, 1\], got 1.2"),
        ({"max_share": -0.1}, "max_share must be a share"),
        ({"max_share": float("nan")}, "max_share must be a share"),
        ({"min_count": -1}, "min_count must not be negative"),
        ({"min_share": 0.5, "max_share": 0.2}, "min_share 0.5 is above max_share 0.2"),
        ({"min_count": 3, "max_count": 2}, "min_count 3 is above max_count 2"),
        ({"min_count": 3, "min_share": 0.2}, "both given"),
        ({"min_count": 3, "first": 2}, "more than the first 2 slots"),
        ({"first": 3}, "it has no bound"),
        ({"min_share": 0.2, "significance": 1.5}, "significance must be in"),
        ({"min_count": 1, "significance": 0.1}, "with a min_share in"),
        ({"min_count": 1, "weight": "log2"}, "weight is for shares: give min_share or max_share"),
        ({"min_share": 0.1, "weight": "log2", "every_prefix": True}, "remove every_prefix, or weight"),
        ({"max_share": 0.1, "weight": "log2", "each": "language"}, "remove each, or weight"),
        ({"min_count": 1, "each": "language"}, "each language has a maximum only: remove the minimum, or each"),
    ],
)
def test_impossible_bounds_are_refused(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"rule 'a rule': .*{message}"):
        Groups([rule({"language": "Tamil"}, **bounds)])


def test_policies_need_different_rules() -> None:
    with pytest.raises(ValueError, match="two rules are named 'a rule'"):
        Groups([rule({"language": "Tamil"}), rule({"language": "Hindi"})])
    with pytest.raises(ValueError, match="1 to 12 rules, got 0"):
        Groups([])
    with pytest.raises(ValueError, match="it has no condition"):
        Groups([rule({})])
    with pytest.raises(ValueError, match="a condition on the user's second has no other bounds: remove them"):
        Groups([rule({"language": Range(user="second", min=3)})])


def test_shares_are_rounded_in_favour_of_the_rule() -> None:
    """15 % of 10 slots are at least 2; .15 x 20 is 3, whatever floating point makes of it."""
    assert rule({}, min_share=0.15).bounds(10) == (10, 2, 10)
    assert rule({}, min_share=0.15).bounds(20) == (20, 3, 20)
    assert rule({}, max_share=0.35).bounds(20) == (20, 0, 7)
    assert rule({}, max_share=0.4).bounds(9) == (9, 0, 3)
    assert rule({}, min_count=2, first=10).bounds(20) == (10, 2, 10)
    assert rule({}, min_count=2, max_count=30, first=10).bounds(4) == (4, 2, 4)
