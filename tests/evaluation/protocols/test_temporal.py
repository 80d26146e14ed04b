"""The temporal protocol proposes only protocols that split the data that it cannot."""

from __future__ import annotations

import pytest

from pasand.data.dataset import Order
from pasand.errors import InputError
from pasand.evaluation.protocols import usable
from pasand.evaluation.protocols.temporal import Temporal
from tests.evaluation.logs import Event, log

PAIRS: list[Event] = [(user, item, 5, 5) for user in ("ann", "bob", "cat") for item in "abcd"]


@pytest.mark.parametrize(
    ("events", "order", "cure"),
    [
        (PAIRS, "time", "choose --protocol strong-generalisation or folds"),
        (PAIRS, "none", "choose --protocol strong-generalisation or folds"),
        (PAIRS, "sequence", "choose --protocol leave-last-out or strong-generalisation or folds"),
        (PAIRS[:4], "sequence", "choose --protocol leave-last-out"),
        (PAIRS[:1], "time", "give more events, with their times"),
        (PAIRS[:1], "sequence", "give more events, with their times"),
        ([(user, item, 5, 1) for user, item, _, _ in PAIRS], "time", "give more events, with their times"),
    ],
)
def test_only_protocols_that_can_split_the_data_are_proposed(events: list[Event], order: Order, cure: str) -> None:
    data = log(events, order=order)
    with pytest.raises(InputError) as error:
        Temporal().split(data)
    assert str(error.value).endswith(f"Cure: {cure}.")
    named = [word for word in ("leave-last-out", "strong-generalisation", "folds") if word in cure]
    assert usable(data, *named) == named
