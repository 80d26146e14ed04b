"""Tables that grow: what was extended before stays as it was, whoever extends what."""

from __future__ import annotations

import gc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand import growable
from pasand.growable import extended


def test_a_large_table_is_copied_once_and_a_fork_has_rows_of_its_own() -> None:
    table = np.arange(3 * growable.LEAST // 8, dtype=np.float64).reshape(-1, 3)
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


def test_tables_that_are_gone_leave_nothing_behind() -> None:
    gc.collect()
    before = len(growable._used)
    made = extended(np.zeros(growable.LEAST), np.ones(1))
    assert len(growable._used) == before + 1
    del made
    assert len(growable._used) == before


@given(st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 99), max_size=40)), max_size=30))
def test_any_order_of_extensions_gives_what_joining_gives(steps: list[tuple[int, list[int]]]) -> None:
    tables = [(extended(np.zeros(growable.LEAST // 4, np.int32), np.array([7], np.int32)), [7])]
    for which, more in steps:
        table, told = tables[which % len(tables)]
        tables.append((extended(table, np.array(more, np.int32)), told + more))
    for table, told in tables:
        assert table[growable.LEAST // 4 :].tolist() == told
