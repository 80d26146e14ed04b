from __future__ import annotations

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.stages.filtering import Allow, Deny, DropSeen
from pasand.types import Queries
from tests.logs import log

DATA = log([("u", "a", 1, 5), ("u", "b", 2, 1), ("v", "c", 3, 5)])


def make_queries() -> Queries:
    return DATA.queries(np.array([0, 1, -1], np.int32), k=2)


def test_seen_items_are_excluded_liked_or_not() -> None:
    assert DropSeen()(make_queries()).exclude is not None
    assert [sorted(row) for row in DropSeen()(make_queries()).exclude.tolist()] == [[0, 1], [-1, 2], [-1, -1]]  # type: ignore[union-attr]


def test_filters_add_to_each_other() -> None:
    rng = np.random.default_rng(0)
    queries = Deny(["c"]).fit(DATA, rng=rng)(DropSeen()(make_queries()))
    assert queries.exclude is not None
    assert [sorted(row) for row in queries.exclude.tolist()] == [[0, 1, 2], [-1, 2, 2], [-1, -1, 2]]
    both = Allow(["b", "c"]).fit(DATA, rng=rng)(Allow(["a", "b"]).fit(DATA, rng=rng)(queries))
    assert both.allowed is not None
    assert both.allowed.tolist() == [[False, True, False]]


@pytest.mark.parametrize("cls", [Deny, Allow])
def test_an_unknown_id_is_named(cls: type[Deny | Allow]) -> None:
    with pytest.raises(InputError, match="'zz' is wrong: not an item"):
        cls(["a", "zz"]).fit(DATA, rng=np.random.default_rng(0))


@pytest.mark.parametrize("cls", [Deny, Allow])
def test_state_goes_round(cls: type[Deny | Allow]) -> None:
    one, two = cls(["a"]).fit(DATA, rng=np.random.default_rng(0)), cls(["a"])
    two.load_state(one.state())
    first, second = one(make_queries()), two(make_queries())
    assert repr((first.exclude, first.allowed)) == repr((second.exclude, second.allowed))
