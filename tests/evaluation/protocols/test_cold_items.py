"""Cold items: what is held out and ranked, and that nothing of the held-out events reaches train or models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.impressions import Impressions
from pasand.errors import InputError
from pasand.evaluation.compare import evaluate_entry, model_entry
from pasand.evaluation.protocols import protocol
from pasand.evaluation.protocols.cold_items import ColdItems, NewestItems
from pasand.evaluation.split import Split
from tests.evaluation.logs import SEEDS, ByRow, Event, log, random_log
from tests.logs import tastes


def targets(split: Split) -> dict[str, set[str]]:
    """Return the relevant items of each test user."""
    queries, users, items = split.test_queries, split.train.users, split.train.items
    owner = np.repeat(queries.user, np.diff(queries.start))
    found: dict[str, set[str]] = {}
    for user, item in zip(users.ids(owner), items.ids(queries.item), strict=True):
        found.setdefault(user, set()).add(item)
    return found


def test_newest_items_by_hand() -> None:
    events: list[Event] = [
        ("ann", "a", 1, 5),
        ("bob", "b", 2, 5),
        ("ann", "c", 3, 5),
        ("bob", "c", 4, 1),
        ("cat", "d", 5, 5),
        ("bob", "a", 6, 5),
        ("bob", "d", 7, 4),
    ]
    (split,) = NewestItems(holdout_share=0.5).split(log(events))
    assert np.flatnonzero(split.cold_items).tolist() == [2, 3]
    assert targets(split) == {"ann": {"c"}, "bob": {"d"}}  # bob dislikes c; cat has no other event
    assert sorted(split.train.time.tolist()) == [1, 2, 6]
    assert split.leakage is not None
    for batch in split.list_batches(3):
        assert batch.queries.allowed is not None
        assert batch.queries.allowed.tolist() == [[False, False, True, True]] * 2
        assert batch.relevant.catalogue.tolist() == [2, 2]


@given(SEEDS)
@settings(max_examples=25)
def test_guarantees_on_any_log(seed: int) -> None:
    data = random_log(seed)
    for chosen in (
        ColdItems(holdout_share=0.4, seed=seed),
        NewestItems(holdout_share=0.4),
        ColdItems(holdout_share=0.3, warm_share=0.3),
    ):
        try:
            (split,) = chosen.split(data)
        except InputError:  # no cold item has a positive of a user with other events
            continue
        liked = set(zip(data.user[data.is_positive].tolist(), data.item[data.is_positive].tolist(), strict=True))
        queries = split.test_queries
        owner = np.repeat(queries.user, np.diff(queries.start)).tolist()
        pairs = list(zip(owner, queries.item.tolist(), strict=True))
        assert set(pairs) <= liked
        assert len(set(pairs)) == len(pairs)
        assert set(owner) <= set(split.train.user.tolist())
        if not chosen.warm_share:
            assert split.cold_items[queries.item].all()
            assert len(split.train) + len(split.test) == len(data)


def test_half_of_the_events_of_cold_items_are_tested() -> None:
    data = tastes(n_users=200)
    (whole,), (half,) = ColdItems().split(data), ColdItems(events_share=0.5).split(data)
    assert whole.train.fingerprint == half.train.fingerprint
    assert 0.35 < len(half.test_queries.item) / len(whole.test_queries.item) < 0.65
    assert len(half.test) < len(whole.test)


def test_the_column_of_cold_items_stays_beside_the_others() -> None:
    (split,) = ColdItems(warm_share=0.2, seed=1).split(tastes())
    assert split.test_queries.candidates is None
    result = evaluate_entry(model_entry("by_row", ByRow()), [split], ["ndcg@10"], seed=0)
    assert result.evaluation.n_cold_items
    assert result.evaluation.cold_items["ndcg@10"].mean != result.evaluation.overall["ndcg@10"].mean


def test_train_does_not_depend_on_the_events_of_cold_items() -> None:
    data = tastes()
    shown = Impressions(
        user=data.user,
        item=data.item,
        time=data.time,
        position=np.zeros(len(data), np.int16),
        clicked=np.ones(len(data), np.bool_),
    )
    data = replace(data, impressions=shown)
    (split,) = ColdItems(seed=3).split(data)
    of_cold = split.cold_items[data.item]
    rng = np.random.default_rng(0)
    value, user = data.value.copy() if data.value is not None else np.ones(len(data), np.float32), data.user.copy()
    value[of_cold], user[of_cold] = 5, rng.integers(0, data.n_users, int(of_cold.sum()))
    changed = replace(data, value=value, user=user, impressions=replace(shown, user=user))
    (other,) = ColdItems(seed=3).split(changed)
    assert split.train.fingerprint == other.train.fingerprint
    assert split.train.available_from.tolist() == other.train.available_from.tolist()
    assert split.train.impressions is not None
    assert not split.cold_items[split.train.impressions.item].any()
    assert targets(split) != targets(other)


def with_tags(data: Dataset) -> Dataset:
    """Return the data with a tag by every user who liked an item, and a language that does not depend on them."""
    bags = [sorted(set(data.user[(data.item == item) & data.is_positive].tolist())) for item in range(data.n_items)]
    width = max(map(len, bags))
    codes = np.array([bag + [-1] * (width - len(bag)) for bag in bags], np.int32)
    language = Feature(kind="categorical", values=np.arange(data.n_items, dtype=np.int32) % 2, names=("hi", "ta"))
    tags = Feature(kind="bag", values=codes, names=tuple(data.users.ids(np.arange(data.n_users, dtype=np.int32))))
    count = Feature(kind="number", values=np.array(list(map(len, bags)), np.float32))
    return replace(data, item_features={"language": language, "tags": tags, "n_ratings": count})


def test_features_written_by_test_users_are_named() -> None:
    rng = np.random.default_rng(0)
    item = np.minimum(rng.geometric(0.02, 2000) - 1, 99)  # few items are popular
    user = rng.integers(0, 100, 2000)
    data = log([(f"u{u:03}", f"i{i:03}", t, 5.0) for t, (u, i) in enumerate(zip(user, item, strict=True))])
    (split,) = ColdItems(holdout_share=0.4).split(with_tags(data))
    assert split.leakage is not None
    assert "tags (" in split.leakage
    assert "n_ratings (" in split.leakage
    assert "language" not in split.leakage


def test_bad_options_and_data() -> None:
    for options in ({"share": 0.0}, {"events_share": 1.5}, {"warm_share": 1.0}):
        with pytest.raises(InputError, match=next(iter(options))):
            protocol("cold-items", **options)
    with pytest.raises(InputError, match="times"):
        protocol("newest-items").split(random_log(0, order="none"))
    with pytest.raises(InputError, match="none of the"):
        protocol("cold-items").split(log([("ann", "a", 1, 5), ("bob", "b", 2, 5)]))
