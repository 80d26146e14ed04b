"""Appending rows: earlier tables keep their values, whichever of them is extended."""

from __future__ import annotations

import gc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand import growable
from pasand.growable import extended


def test_a_large_table_is_copied_once_and_forks_have_separate_rows() -> None:
    table = np.arange(3 * growable.MIN_BYTES // 8, dtype=np.float64).reshape(-1, 3)
    one = extended(table, np.ones((2, 3)))
    two = extended(one, np.full((1, 3), 2.0))
    assert two.base is one.base
    assert one.base is not table
    fork = extended(one, np.full((1, 3), 9.0))
    assert fork.base is not one.base
    assert two[-1].tolist() == [2, 2, 2]
    assert fork[-1].tolist() == [9, 9, 9]
    assert one[-1].tolist() == [1, 1, 1]
    assert len(table) == len(one) - 2
    part = extended(two[1:], np.zeros((1, 3)))
    assert part[0, 0] == 3
    assert part.base is not two.base


def test_deleted_tables_free_their_bookkeeping() -> None:
    gc.collect()
    before = len(growable._used)
    table = extended(np.zeros(growable.MIN_BYTES), np.ones(1))
    assert len(growable._used) == before + 1
    del table
    assert len(growable._used) == before


@given(st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 99), max_size=40)), max_size=30))
def test_any_order_of_extensions_equals_concatenation(steps: list[tuple[int, list[int]]]) -> None:
    tables = [(extended(np.zeros(growable.MIN_BYTES // 4, np.int32), np.array([7], np.int32)), [7])]
    for which, more in steps:
        table, expected = tables[which % len(tables)]
        tables.append((extended(table, np.array(more, np.int32)), expected + more))
    for table, expected in tables:
        assert table[growable.MIN_BYTES // 4 :].tolist() == expected
