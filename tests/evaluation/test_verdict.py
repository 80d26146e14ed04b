"""The verdict without a test query: it states why there is none, and names no model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.evaluation.compare import Comparison, compare, model_entry
from pasand.evaluation.protocols import protocol, usable
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.verdict import repeats, verdict
from pasand.evaluation.winner import winner
from tests.evaluation.logs import ByRow, Event, log, random_log

ONE_USER: list[Event] = [("ann", "abcd"[i % 4], i, 5.0) for i in range(16)] + [("ann", item, 16, 5.0) for item in "ae"]
TWO_USERS: list[Event] = [(user, item, i, 5) for user in ("ann", "bob") for i, item in enumerate("abcdabcdab")]


def compared(events: list[Event]) -> Comparison:
    data = log(events, released=None)
    return compare(data, [model_entry("row", ByRow())], Temporal())


@pytest.mark.parametrize(
    ("events", "why", "cure"),
    [
        (ONE_USER, "of 4 test events, 3 are repeats of items that their user already had, 1 are on items", None),
        (TWO_USERS, "of 4 test events, 4 are repeats of items that their user already had. Cure", None),
        ([(u, i, t, 1.0) for u, i, t, _ in TWO_USERS], "of 4 test events, 4 are not positive", "lower --positive-from"),
        (
            [("ann", item, t, 5) for t, item in enumerate("aaaaa")],
            "1 are repeats",
            "give events of more users and items",
        ),
    ],
)
def test_without_a_test_query_no_model_is_best(events: list[Event], why: str, cure: str | None) -> None:
    found = compared(events)
    text = verdict(found)
    assert text.startswith("There is no test query, so no model is best: of ")
    assert why in text
    others = usable(found.data, "leave-last-out", "strong-generalisation")
    assert text.endswith(f" Cure: {cure or ', or '.join(f'choose --protocol {name}' for name in others)}.")
    assert "nan" not in text
    assert "NaN" not in json.dumps(found.as_json())
    for name in (None, "row"):
        with pytest.raises(InputError, match=r"log: There is no test query.*Cure: compare again, and \w+"):
            winner(found.as_json(), "log", name)


@pytest.mark.parametrize("name", ["temporal", "leave-last-out", "strong-generalisation", "folds", "cold-items"])
def test_no_repeat_is_relevant(name: str) -> None:
    for seed in range(20):
        data = random_log(seed)
        for split in protocol(name).split(data):
            repeated = repeats(data, split.test)
            assert len(repeated) == len(split.test)
            queries = split.test_queries
            relevant = set(
                zip(np.repeat(queries.user, np.diff(queries.start)).tolist(), queries.item.tolist(), strict=True)
            )
            pairs = list(zip(split.test.user.tolist(), split.test.item.tolist(), strict=True))
            new = {pair for pair, again in zip(pairs, repeated.tolist(), strict=True) if not again}
            if name != "cold-items":  # of those, test queries hide a part of the events only
                assert relevant <= new
            assert len(new) == int((~repeated).sum())


def test_repeats_by_hand() -> None:
    data = log([("ann", "a", 1, 5), ("ann", "b", 2, 5), ("ann", "a", 3, 5), ("ann", "c", 4, 5), ("ann", "c", 5, 5)])
    assert repeats(data, data.select(slice(2, 5))).tolist() == [True, False, True]
