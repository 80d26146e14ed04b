"""Shares of histories over languages: by hand, equal in training and serving, and never from the answer of a query."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.features import history_shares
from pasand.types import Array
from tests.logs import log

DAY = 86_400
NAMES = ("hi", "ta", "te")
LANGUAGE = Feature(kind="categorical", values=np.array([0, 1, 1, 2, -1, 0], np.int32), names=NAMES)
"""Items a and f are in Hindi, b and c in Tamil, d in Telugu, e in none."""


def data(*, declared: bool = False) -> Dataset:
    """User u likes b, c, b and a, v likes a and f, w likes nothing; all rate d low."""
    events = [("u", "b", 1), ("u", "c", 2), ("v", "a", 3), ("u", "e", 4), ("v", "f", 5), ("u", "a", 6), ("u", "b", 7)]
    low = [("u", "d", 8), ("v", "d", 9), ("w", "d", 10)]
    rows = [(user, item, day * DAY, 5.0) for user, item, day in events]
    made = replace(
        log([*rows, *((user, item, day * DAY, 1.0) for user, item, day in low)]), item_features={"language": LANGUAGE}
    )
    if declared:
        languages = Feature(kind="bag", values=np.array([[-1, -1], [-1, -1], [1, 0]], np.int32), names=("te", "ta"))
        made = replace(made, user_features={"languages": languages})
    return made


def shares(data: Dataset, users: list[int], half_life_days: float | None = None) -> Array:
    """The shares of the users at the end of the log, without those of all users, and whether any is known."""
    learnt = history_shares.learn(data, ["language"], half_life_days)
    queries = data.queries(np.array(users, np.int32), k=1, time=np.full(len(users), 11 * DAY))
    found = history_shares.of_queries(learnt, queries)["share.language"].astype(np.float64)
    found[:, :-1] += learnt["history_prior.language"]
    return found


def test_shares_by_hand() -> None:
    """Positives are three Tamil and three Hindi ones; u has 3 of 4 in Tamil, and 5 events of all users are added."""
    u, v, w, unknown = shares(data(), [0, 1, 2, -1])
    np.testing.assert_allclose(u, [(1 + 2.5) / 9, (3 + 2.5) / 9, 0, 1], atol=1e-6)
    np.testing.assert_allclose(v, [(2 + 2.5) / 7, 2.5 / 7, 0, 1], atol=1e-6)
    np.testing.assert_allclose([w, unknown], [[0.5, 0.5, 0, 0]] * 2, atol=1e-6)


def test_what_a_user_declared_is_the_prior() -> None:
    u, _, w, unknown = shares(data(declared=True), [0, 1, 2, -1])
    np.testing.assert_allclose(w, [0, 0.5, 0.5, 1], atol=1e-6)
    np.testing.assert_allclose(u[:3], shares(data(), [0])[0, :3], atol=1e-6)
    np.testing.assert_allclose(unknown, [0.5, 0.5, 0, 0], atol=1e-6)


def test_a_half_life_by_hand() -> None:
    """Events of u at days 1, 2 and 7 in Tamil and 6 in Hindi, seen from day 11 with a half-life of 5 days."""
    tamil, hindi = 2.0**-2 + 2 ** (-9 / 5) + 2 ** (-4 / 5), 2.0**-1
    total = tamil + hindi + 5
    np.testing.assert_allclose(
        shares(data(), [0], 5.0)[0], [(hindi + 2.5) / total, (tamil + 2.5) / total, 0, 1], atol=1e-6
    )


def test_strengths_weigh() -> None:
    plays = replace(
        data(), values="strength", value=np.array([30, 1, 1, 1, 1, 1, 1, 1, 1, 1], np.float32), positive_from=0
    )
    u = shares(plays, [0])[0]
    heavy = np.log2(31.0)
    total = heavy + 2 + 1 + 1 + 5
    prior = np.array([1, 1, 1]) / 3  # three events each
    np.testing.assert_allclose(u[:3], (np.array([1, heavy + 2, 1]) + 5 * prior) / total, atol=1e-6)


def random_log(seed: int, order: str = "time") -> Dataset:
    """60 events of 4 users and 7 items, one in three without a positive rating, some at the same time."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(1, 40, 60)) * DAY
    events = [(f"u{rng.integers(4)}", f"i{rng.integers(7)}", int(time), float(rng.choice([2, 4, 5]))) for time in times]
    events += [(f"u{at % 4}", f"i{at}", 41 * DAY, 2.0) for at in range(7)]
    codes = np.array([[0, -1], [1, 0], [1, -1], [2, -1], [-1, -1], [2, 0], [0, -1]], np.int32)
    language = Feature(kind="bag", values=codes, names=NAMES)
    declared = Feature(kind="categorical", values=np.array([0, -1, 1, 2], np.int32), names=("hi", "ta", "xx"))
    made = replace(log(events), item_features={"language": language}, user_features={"language": declared})
    return replace(made, order=order)  # type: ignore[arg-type]


def first_positives(data: Dataset) -> tuple[Array, Array]:
    """The users of the examples and how many of their events precede each, by a loop over the log."""
    found = []
    for user in range(data.n_users):
        seen = set()
        for at, event in enumerate(np.flatnonzero(data.user == user)):
            if data.is_positive[event] and data.item[event] not in seen:
                seen.add(data.item[event])
                found.append((user, at, int(event)))
    return np.array(found).T[:2], np.array([event for *_, event in found])


@pytest.mark.parametrize("half_life_days", [None, 4.0])
def test_an_example_has_the_shares_of_a_query_at_its_time(half_life_days: float | None) -> None:
    data = random_log(1)
    learnt = history_shares.learn(data, ["language"], half_life_days)
    of_examples = history_shares.of_examples(learnt, data)["share.language"]
    (user, upto), event = first_positives(data)
    queries = data.queries(user.astype(np.int32), k=1, time=data.time[event], upto=upto)
    np.testing.assert_allclose(of_examples, history_shares.of_queries(learnt, queries)["share.language"], atol=1e-6)


@pytest.mark.parametrize("order", ["time", "none"])
def test_examples_are_those_of_the_training_task(order: str) -> None:
    torch = pytest.importorskip("torch")
    from pasand.training.tasks.retrieval import RetrievalExamples

    data = random_log(3, order)
    learnt = history_shares.learn(data, ["language"], None)
    examples = RetrievalExamples(data, np.arange(1, 8), 5, torch.device("cpu"))
    (user, _), event = first_positives(data)
    assert examples.user.tolist() == user.tolist()
    assert examples.code.tolist() == (data.item[event] + 1).tolist()
    assert len(history_shares.of_examples(learnt, data)["share.language"]) == len(examples)


@settings(max_examples=25)
@given(seed=st.integers(0, 100), which=st.integers(0, 10_000), half_life_days=st.sampled_from([None, 4.0]))
def test_the_target_and_later_events_change_nothing(seed: int, which: int, half_life_days: float | None) -> None:
    """The items of an example and of all later events of its user, and their ratings, are drawn again."""
    data = random_log(seed)
    learnt = history_shares.learn(data, ["language"], half_life_days)
    before = history_shares.of_examples(learnt, data)["share.language"]
    (user, _), event = first_positives(data)
    at = which % len(event)
    rng = np.random.default_rng(which)
    later = (data.user == user[at]) & (np.arange(len(data)) >= event[at])
    item, value = data.item.copy(), data.value.copy() if data.value is not None else None
    assert value is not None
    liked = set(item[(data.user == user[at]) & data.is_positive & ~later].tolist())
    item[later] = rng.integers(0, data.n_items, later.sum())
    value[later] = rng.choice([2, 5], later.sum())
    item[event[at]] = rng.choice([one for one in range(data.n_items) if one not in liked])  # still a first positive
    value[event[at]] = 5
    changed = replace(data, item=item, value=value)
    (_, upto), events = first_positives(changed)
    now = int(np.flatnonzero(events == event[at])[0])
    np.testing.assert_array_equal(history_shares.of_examples(learnt, changed)["share.language"][now], before[at])
    queries = [
        one.queries(user[at : at + 1].astype(np.int32), k=1, time=data.time[event[at]][None], upto=upto[now : now + 1])
        for one in (data, changed)
    ]
    of_data, of_changed = (history_shares.of_queries(learnt, one)["share.language"] for one in queries)
    np.testing.assert_array_equal(of_data, of_changed)


def test_without_an_order_the_target_is_left_out() -> None:
    """Shares are those of all other positives of the user; items that a user liked twice are left out twice."""
    data = random_log(2, order="none")
    learnt = history_shares.learn(data, ["language"], 4.0)
    found = history_shares.of_examples(learnt, data)["share.language"]
    (user, _), event = first_positives(data)
    for at, (one, target) in enumerate(zip(user, data.item[event], strict=True)):
        others = data.select((data.user == one) & (data.item != target))
        queries = others.queries(np.array([one], np.int32), k=1)
        np.testing.assert_allclose(
            found[at], history_shares.of_queries(learnt, queries)["share.language"][0], atol=1e-6
        )


def test_more_names_than_categories_share_the_last_one() -> None:
    n = history_shares.MAX_CATEGORIES + 10
    item = np.repeat(np.arange(n), 2)[: 2 * n - 12]  # the last items are liked once or never
    events = [(f"u{at % 5}", f"i{one:03}", at, 5.0) for at, one in enumerate(item)]
    made = log(events)
    names = tuple(f"c{at:03}" for at in range(n))
    made = replace(
        made,
        item_features={
            "director": Feature(kind="categorical", values=np.arange(made.n_items, dtype=np.int32), names=names)
        },
    )
    learnt = history_shares.learn(made, ["director"], None)
    assert len(learnt["history_prior.director"]) == history_shares.MAX_CATEGORIES
    assert learnt["history_names.director"][0] == 0
    assert learnt["history_names.director"][-1] == history_shares.MAX_CATEGORIES - 1
    np.testing.assert_allclose(learnt["history_prior.director"].sum(), 1)
    history_shares.check_learnt(learnt, made.n_items)


def test_new_items_count_in_histories() -> None:
    made = data()
    learnt = history_shares.learn(made, ["language"], None)
    new = {"language": Feature(kind="categorical", values=np.array([2, -1], np.int32), names=NAMES)}
    learnt |= history_shares.extended_with_items(learnt, new, 2)
    history_shares.check_learnt(learnt, 8)
    queries = made.queries(np.array([2], np.int32), k=1)
    queries = replace(queries, history=np.array([[6]], np.int32), history_value=np.full((1, 1), 5, np.float32))
    *of_languages, known = history_shares.of_queries(learnt, queries)["share.language"][0].tolist()
    assert known == 1
    np.testing.assert_allclose(of_languages, [2.5 / 6 - 0.5, 2.5 / 6 - 0.5, 1 / 6], atol=1e-6)
    bare = history_shares.extended_with_items(learnt, {}, 1)
    assert bare["history_start.language"][-1] == learnt["history_start.language"][-1]


@pytest.mark.parametrize(("name", "cure"), [("colour", "use one of: language"), ("script", "--encode title=script")])
def test_a_feature_that_items_lack_is_refused(name: str, cure: str) -> None:
    made = data()
    title = Feature(kind="text", values=np.array(["x"] * made.n_items, np.dtypes.StringDType()))
    with pytest.raises(InputError, match=cure):
        history_shares.learn(replace(made, item_features={**made.item_features, "title": title}), [name], None)


def test_foreign_arrays_are_refused() -> None:
    learnt = history_shares.learn(data(), ["language"], None)
    with pytest.raises(ValueError, match="history_code"):
        history_shares.check_learnt({**learnt, "history_code.language": learnt["history_code.language"] + 9}, 6)
    with pytest.raises(ValueError, match="history_start"):
        history_shares.check_learnt(learnt, 7)
