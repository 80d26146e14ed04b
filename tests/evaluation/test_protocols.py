"""All protocols on hand-made logs, and properties that hold for any log."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.evaluation.compare import evaluate_entry, model_entry
from pasand.evaluation.protocols import default_protocol, names, protocol, validation_protocol
from pasand.evaluation.protocols.folds import Folds
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.protocols.sampled_negatives import SampledNegatives
from pasand.evaluation.protocols.strong_generalisation import StrongGeneralisation
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.sources import load
from pasand.types import Rows
from tests.evaluation.logs import SEEDS, ByRow, Event, log, random_log
from tests.resources import real_data

EVENTS: list[Event] = [
    ("ann", "a", 1, 5),
    ("ann", "b", 2, 1),
    ("bob", "a", 3, 4),
    ("ann", "c", 4, 5),
    ("bob", "c", 5, 5),
    ("bob", "c", 6, 5),
    ("ann", "d", 6, 4),
    ("cat", "e", 7, 5),
    ("cat", "a", 8, 2),
    ("cat", "b", 9, 5),
]
"""Cut at 50 %, time 6: before it 5 events of ann and bob; from then on bob repeats c, ann likes d, cat is new."""


def pairs(data: Dataset) -> Counter[tuple[str, str, int]]:
    return Counter(zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True))


def known(data: Dataset, rows: Rows) -> list[str]:
    return data.items.ids([row for row in rows.tolist() if row >= 0])


def queries_of(split: Split) -> list[tuple[str, list[str], list[str], int]]:
    """Return user, history, relevant items and size of the catalogue of each query, in order of user and time."""
    out = []
    for batch in split.list_batches(3, size=2):
        for b in range(len(batch.which)):
            data, queries = split.train, batch.queries
            history = known(data, queries.history[b])
            relevant = known(data, batch.relevant.items[b])
            user = data.users.ids([int(queries.users[b])])[0]
            found = (user, history, sorted(relevant), int(batch.relevant.catalogue[b]))
            out.append((found[0], int(queries.time[b]), found))
    return [found for _, _, found in sorted(out)]


def test_temporal_live_by_hand() -> None:
    (split,) = Temporal(train_share=0.5).split(log(EVENTS))
    assert len(split.train) == 5
    assert split.leakage is None
    assert "live" in split.name
    assert queries_of(split) == [
        ("ann", ["a", "b", "c"], ["d"], 2),
        ("cat", [], ["e"], 5),
        ("cat", ["e", "a"], ["b"], 3),
    ]


def test_temporal_frozen_by_hand() -> None:
    (split,) = Temporal(train_share=0.5, histories="frozen").split(log(EVENTS))
    assert queries_of(split) == [("ann", ["a", "b", "c"], ["d"], 2), ("cat", [], ["b", "e"], 5)]


@pytest.mark.parametrize("name", ["temporal", "leave-last-out", "strong-generalisation", "folds"])
def test_items_of_the_test_part_or_of_the_item_table_alone_stay_in_the_catalogue(name: str) -> None:
    known = log(EVENTS)
    items = Vocabulary([*known.items.series.to_list(), "x"])
    data = replace(known, items=items, item=items.rows(known.items.ids(known.item)))
    for split in protocol(name).split(data):
        assert split.train.items == split.test.items == split.test_queries.log.items == items
        assert split.cold_items[items.rows(["x"])[0]]
        assert np.array_equal(np.flatnonzero(~split.cold_items), np.unique(split.train.item))
        for batch in split.list_batches(0):
            free = [6 - len(set(row) - {-1}) for row in batch.queries.history.tolist()]
            assert batch.relevant.catalogue.tolist() == free


def test_events_at_the_same_time_are_no_history() -> None:
    events: list[Event] = [("ann", "a", 1, 5), ("ann", "b", 2, 5), ("ann", "c", 2, 5)]
    (split,) = Temporal(train_share=0.4).split(log(events))
    assert queries_of(split) == [("ann", ["a"], ["b"], 2), ("ann", ["a"], ["c"], 2)]


def test_temporal_bounds_the_queries_of_a_user() -> None:
    events: list[Event] = [("ann", f"i{n}", n, 5) for n in range(100)]
    (split,) = Temporal(train_share=0.5, queries_per_user=5).split(log(events))
    assert split.test_queries.time.tolist() == [50, 60, 70, 80, 90]
    assert split.rating_queries is not None
    assert split.rating_queries.time.tolist() == [50, 60, 70, 80, 90]
    assert len(split.rating_queries.item) == 50


def test_leave_last_out_by_hand() -> None:
    (split,) = LeaveLastOut().split(log(EVENTS))
    assert queries_of(split) == [
        ("ann", ["a", "b", "c"], ["d"], 2),
        ("bob", ["a"], ["c"], 4),
        ("cat", ["e", "a"], ["b"], 3),
    ]
    (inner,) = LeaveLastOut().split(split.train)
    assert queries_of(inner) == [("ann", ["a", "b"], ["c"], 3)]


def test_leave_last_out_predicts_all_held_out_ratings_by_hand() -> None:
    events: list[Event] = [*EVENTS, ("ann", "e", 10, 1), ("ann", "a", 11, 2), ("dan", "a", 12, 1), ("dan", "b", 13, 1)]
    (split,) = LeaveLastOut().split(log(events))
    (batch,) = split.rating_batches()
    found = {}
    for b in range(len(batch.which)):
        user = split.train.users.ids([int(batch.queries.users[b])])[0]
        rated = zip(known(split.train, batch.items[b]), batch.actual[b].tolist(), strict=False)
        found[user] = (known(split.train, batch.queries.history[b]), list(rated))
    assert found == {
        "ann": (["a", "b", "c"], [("d", 4), ("e", 1), ("a", 2)]),
        "bob": (["a"], [("c", 5), ("c", 5)]),
        "cat": (["e", "a"], [("b", 5)]),
    }


def test_the_rmse_of_random_ratings_is_their_standard_deviation_under_every_protocol() -> None:
    rng = np.random.default_rng(0)
    pairs_ = [(u, i) for u in range(500) for i in rng.permutation(40)[:20]]
    order = rng.permutation(len(pairs_))
    events: list[Event] = [
        (f"u{pairs_[n][0]}", f"i{pairs_[n][1]}", time, float(rng.integers(1, 6))) for time, n in enumerate(order)
    ]
    data = log(events)
    for name in ("temporal", "leave-last-out", "strong-generalisation", "folds"):
        found = evaluate_entry(model_entry("mean", ByRow(rating=3)), protocol(name).split(data), ["rmse"], 0)
        # ratings of 1 to 5 with equal probability have a standard deviation of sqrt(2); liked ones alone give 1.58
        assert found.evaluation.overall["rmse"].mean == pytest.approx(2**0.5, abs=0.1), name


def test_leave_last_out_needs_no_times() -> None:
    events: list[Event] = [("ann", item, 0, 5) for item in "cab"]
    (split,) = LeaveLastOut().split(log(events, order="sequence"))
    assert queries_of(split) == [("ann", ["c", "a"], ["b"], 1)]


def test_strong_generalisation_by_hand() -> None:
    events: list[Event] = [(user, item, n, 5) for user in ("ann", "bob") for n, item in enumerate("abcde")]
    (split,) = StrongGeneralisation(holdout_share=0.5).split(log(events))
    held = queries_of(split)
    assert [found[1:] for found in held] == [(list("abcd"), ["e"], 1)]
    assert set(split.train.users.ids(split.train.user)) == {"ann", "bob"} - {held[0][0]}
    assert split.rating_queries is not None
    assert split.rating_queries.item.tolist() == [4]


def test_folds_of_files(tmp_path: Path) -> None:
    data = log(EVENTS)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "u1.test").write_text("ann\tc\t5\t4\ncat\te\t5\t7\n")
    (tmp_path / "splits" / "u2.test.gz").write_bytes(gzip.compress(b"bob\ta\t4\t3\n"))
    first, second = Folds(folder=tmp_path).split(data)
    assert queries_of(first) == [("ann", ["a", "b", "d"], ["c"], 2), ("cat", ["a", "b"], ["e"], 3)]
    assert queries_of(second) == [("bob", ["c", "c"], ["a"], 4)]
    assert "published folds, 1 of 2" in first.name
    (tmp_path / "splits" / "u1.test").write_text("ann\tc\t5\t4\nzoe\te\t5\t7\n")
    with pytest.raises(InputError, match=r"row 2.*zoe"):
        Folds(folder=tmp_path).split(data)


def test_random_folds_test_every_event_once() -> None:
    data = random_log(1)
    splits = Folds(n=4).split(data)
    assert sum((pairs(split.test) for split in splits), Counter()) == pairs(data)


def test_sampled_negatives_by_hand(tmp_path: Path) -> None:
    data = log(EVENTS)
    (tmp_path / "x.test.negative").write_text("(ann,d)\te\tgone\n(cat,b)\tc\tb\n")
    (split,) = SampledNegatives(folder=tmp_path).split(data)
    assert queries_of(split) == [("ann", ["a", "b", "c"], ["d"], 3), ("cat", ["e", "a"], ["b"], 2)]
    assert split.leakage
    assert split.train.n_items == 6  # "gone" has no event but can be recommended
    assert split.test_queries.candidates is not None
    assert [known(split.train, rows) for rows in split.test_queries.candidates] == [
        ["d", "e", "gone"],
        ["b", "c"],
    ]
    (same,) = SampledNegatives(folder=tmp_path).split(split.train)
    assert queries_of(same) == queries_of(split)
    (second,) = validation_protocol(SampledNegatives(folder=tmp_path)).split(split.train)
    assert [(found[0], found[2]) for found in queries_of(second)] == [("ann", ["c"]), ("cat", ["a"])]
    assert "second holdout" in second.name
    (tmp_path / "x.test.negative").write_text("(ann,d)\te\nnothing\n")
    with pytest.raises(InputError, match="row 2"):
        SampledNegatives(folder=tmp_path).split(data)
    with pytest.raises(InputError, match="needs the folder"):
        SampledNegatives().split(data)


@settings(max_examples=50)
@given(seed=SEEDS)
@pytest.mark.parametrize("histories", ["live", "frozen"])
def test_temporal_never_shows_the_future(histories: str, seed: int) -> None:
    data = random_log(seed)
    (split,) = protocol("temporal", histories=histories, queries_per_user=3).split(data)
    cut = int(split.test.time[0])
    assert split.train.time.max() < cut
    assert pairs(split.train) + pairs(split.test) == pairs(data)
    for batch in split.list_batches(4):
        real = batch.queries.history >= 0
        limit = batch.queries.time if histories == "live" else np.full(len(batch.which), cut)
        assert (np.where(real, batch.queries.history_time, -1) < limit[:, None]).all()
    assert max(Counter(split.test_queries.user.tolist()).values(), default=0) <= (3 if histories == "live" else 1)


def nested(name: str, train: Dataset) -> list[Split]:
    try:
        return validation_protocol(protocol(name)).split(train)[:1]
    except InputError:  # too little is left
        return []


@settings(max_examples=25)
@given(seed=SEEDS)
@pytest.mark.parametrize("name", ["temporal", "leave-last-out", "strong-generalisation", "folds"])
def test_test_queries_are_valid_for_any_log(name: str, seed: int) -> None:
    data = random_log(seed)
    for outer in protocol(name).split(data):
        for split in [outer, *nested(name, outer.train)]:
            train, test = pairs(split.train), pairs(split.test)
            assert not (train + test) - pairs(data)
            assert (split.leakage is None) == (name == "temporal")
            assert {"relevant", "seen", "test queries"} <= set(split.rules)
            for batch in split.list_batches(4):
                for b in range(len(batch.which)):
                    history = set(batch.queries.history[b].tolist()) - {-1}
                    relevant = [row for row in batch.relevant.items[b].tolist() if row >= 0]
                    assert relevant
                    assert len(set(relevant)) == len(relevant)
                    assert not history & set(relevant)
                    assert batch.relevant.catalogue[b] == data.n_items - len(history)
            if name != "temporal":
                assert max(Counter(split.test_queries.user.tolist()).values(), default=0) <= 1
            positives = {(u, i) for u, i in zip(data.user[data.is_positive], data.item[data.is_positive], strict=True)}
            owners = np.repeat(split.test_queries.user, np.diff(split.test_queries.start))
            assert set(zip(owners.tolist(), split.test_queries.item.tolist(), strict=True)) <= positives
            rated = [b for batch in split.rating_batches(3) for b in batch.actual[batch.items >= 0].tolist()]
            if name in ("temporal", "folds", "leave-last-out"):
                assert sorted(rated) == sorted([] if split.test.value is None else split.test.value.tolist())


def test_protocols_are_found_by_name_and_list_their_options() -> None:
    expected = {
        "temporal",
        "leave-last-out",
        "strong-generalisation",
        "folds",
        "sampled-negatives",
        "cold-items",
        "newest-items",
    }
    assert set(names()) == expected
    with pytest.raises(InputError, match="leave-last-out"):
        protocol("random")
    with pytest.raises(InputError, match="queries_per_user"):
        protocol("temporal", share=0.5)


def test_data_without_times_get_a_list_of_protocols() -> None:
    events: list[Event] = [("ann", "a", 0, 5), ("ann", "b", 0, 5), ("bob", "a", 0, 5), ("bob", "b", 0, 5)]
    for order in ("sequence", "none"):
        data = log(events, order=order)
        with pytest.raises(InputError, match="folds"):
            Temporal().split(data)
        assert not isinstance(default_protocol(data), Temporal)
    with pytest.raises(InputError, match="strong-generalisation"):
        LeaveLastOut().split(log(events, order="none"))
    assert isinstance(default_protocol(log(EVENTS)), Temporal)
    with pytest.raises(InputError, match="the same time"):
        Temporal().split(log(events))


def test_options_out_of_range_are_rejected() -> None:
    with pytest.raises(ValueError, match="train_share must be between 0 and 1, got 1"):
        Temporal(train_share=1)
    with pytest.raises(ValueError, match="holdout_share"):
        StrongGeneralisation(holdout_share=0)
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        Folds(n=1)


def test_the_published_folds_of_movielens_test_every_rating_once() -> None:
    folder = real_data("ml-100k")
    data = load(str(folder))
    splits = Folds(folder=folder).split(data)
    assert [len(split.test) for split in splits] == [20_000] * 5
    assert sum((pairs(split.test) for split in splits), Counter()) == pairs(data)
