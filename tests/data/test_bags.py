"""Bags of codes against the same codes in a padded table: reading, taking, appending, changing, coding, saving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand import growable
from pasand.data.bags import Bags
from pasand.data.encoding.encode import encode
from pasand.data.encoding.feature_kinds import feature
from pasand.data.features import MAX_CODES, Feature, as_frame, pack, unpack
from pasand.data.log import Log
from pasand.features import encoding

NAMES = tuple(f"tag {n}" for n in range(12))

lists = st.lists(st.lists(st.sampled_from(NAMES), unique=True, max_size=6), max_size=12)


def of(rows: list[list[str]]) -> Feature:
    """Return a bag as it is read from a table of lists of names."""
    return feature(pl.Series(rows, dtype=pl.List(pl.String)), "bag")


def names(bag: Feature) -> list[list[str]]:
    return [[bag.names[code] for code in codes] for codes in bag.bags]


def padded(rows: list[list[str]], vocabulary: tuple[str, ...]) -> Any:
    """Return the reference: the codes of the rows, (n, L), padded with -1."""
    code = {name: code for code, name in enumerate(vocabulary)}
    codes = [[code[name] for name in row if name in code] for row in rows]
    width = max([1, *map(len, codes)])
    return np.array([row + [-1] * (width - len(row)) for row in codes], np.int32).reshape(len(rows), width)


@settings(max_examples=60)
@given(lists, st.lists(st.integers(-1, 14), max_size=8))
def test_rows_are_those_of_a_padded_table(rows: list[list[str]], chosen: list[int]) -> None:
    bag, at = of(rows), np.array(chosen, np.int32)
    assert names(bag) == rows
    wanted = [rows[n] if 0 <= n < len(rows) else [] for n in chosen]
    np.testing.assert_array_equal(bag.take(at), padded(wanted, bag.names))
    assert names(bag.select(at)) == wanted
    table = padded(rows, bag.names)
    row, code = bag.members()
    assert list(zip(row, code, strict=True)) == [(i, table[i, j]) for i, j in zip(*np.nonzero(table >= 0), strict=True)]
    assert bag.is_missing().tolist() == [not row for row in rows]
    assert [bag.show(n) for n in range(len(rows))] == [", ".join(row) for row in rows]
    assert as_frame(tuple(map(str, range(len(rows)))), {"tags": bag})["tags"].to_list() == rows
    assert names(Feature(kind="bag", values=table[:, ::-1].copy(), names=bag.names)) == [row[::-1] for row in rows]
    for part in (slice(1, 5), slice(3, 1), slice(None, None, 2), slice(-2, None)):
        assert names(replace(bag, values=bag.values[part])) == rows[part]
    if rows:
        mask = np.arange(len(rows)) % 2 == 0
        assert names(replace(bag, values=bag.values[mask])) == rows[::2]
        assert bag.values[-1].tolist() == [bag.names.index(name) for name in rows[-1]]


@settings(max_examples=60)
@given(lists, lists, st.integers(0, 4), st.data())
def test_rows_are_appended_coded_and_changed(
    rows: list[list[str]], more: list[list[str]], n: int, data: st.DataObject
) -> None:
    bag = of(rows)
    coded, unknown = of(more).coded_as(bag)
    known = [[name for name in row if name in bag.names] for row in more]
    assert (names(coded), coded.names) == (known, bag.names)
    assert set(unknown) == {name for row in more for name in row} - set(bag.names)
    grown = bag.extended(coded, len(more)).extended(None, n)
    assert names(grown) == rows + known + [[]] * n
    if more and len(grown):
        chosen = data.draw(st.lists(st.integers(0, len(grown) - 1), unique=True, max_size=len(more)))
        changed = grown.replaced({row: coded.select(np.array([at], np.int32)) for at, row in enumerate(chosen)})
        expected = names(grown)
        for at, row in enumerate(chosen):
            expected[row] = known[at]
        assert names(changed) == expected
    assert names(bag) == rows


@settings(max_examples=60)
@given(lists)
def test_saved_bags_are_read_back(rows: list[list[str]]) -> None:
    bag = of(rows)
    arrays, about = pack({"tags": bag})
    back = unpack(arrays, about)["tags"]
    assert (back.kind, back.names, names(back)) == ("bag", bag.names, rows)
    assert arrays["tags.codes"].nbytes + arrays["tags.start"].nbytes == bag.bags.nbytes


@pytest.mark.parametrize("start", [[], [1, 2], [0, 2, 1, 2], [0, 1], [0, 3], [-1, 2]])
def test_offsets_of_a_file_that_do_not_fit_are_refused(start: list[int]) -> None:
    with pytest.raises(ValueError, match="the offsets of bags must"):
        Bags.stored(np.zeros(2, np.int32), np.array(start, np.int64))


@settings(max_examples=60)
@given(lists, st.lists(lists, max_size=6))
def test_tables_with_spare_capacity_keep_their_rows(rows: list[list[str]], parts: list[list[list[str]]]) -> None:
    """Every table stays as it was, whichever of them is extended, and however often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growable, "MIN_BYTES", 16)
        patch.setattr(growable, "MIN_SPARE_ROWS", 8)
        everything = Feature(kind="bag", values=padded(rows, NAMES), names=NAMES)
        made = [(everything, rows)]
        for part in parts:
            table, expected = made[len(part) % len(made)]
            added = Feature(kind="bag", values=padded(part, NAMES), names=NAMES)
            made.append((table.extended(added, len(part)), expected + part))
        for table, expected in made:
            assert names(table) == expected


def test_appending_to_a_large_table_does_not_copy_it() -> None:
    n = 300_000
    rng = np.random.default_rng(0)
    table = Feature(kind="bag", values=rng.integers(0, 12, (n, 3)).astype(np.int32), names=NAMES)
    one = table.extended(Feature(kind="bag", values=np.array([[1, 2]], np.int32), names=NAMES), 1)
    two = one.extended(None, 1)
    assert two.bags.codes.base is one.bags.codes.base
    assert two.bags.start.base is one.bags.start.base
    assert (len(one), len(two), one.show(n), two.show(n + 1)) == (n + 1, n + 2, "tag 1, tag 2", "")


def test_one_long_row_costs_as_much_as_its_codes() -> None:
    """Padded to the longest row, these tags would take 100,000 x 8,000 x 4 bytes, which is 3.2 GB."""
    n, long = 100_000, 8000
    tags = [["a", "b"], ["b", "c", "a"]] * (n // 2)
    tags[17] = [f"tag {number}" for number in range(long)]
    items = pl.DataFrame({"id": [f"{number:06}" for number in range(n)], "tags": tags})
    events = pl.DataFrame({"user": ["u"] * n, "item": items["id"]})
    data = encode(Log(name="log", events=events.lazy(), order="none", items=items))
    bag = data.item_features["tags"]
    assert bag.bags.nbytes == 4 * (long + 5 * n // 2 - 3) + 8 * (n + 1)
    assert bag.take(np.array([17], np.int32)).shape == (1, MAX_CODES)
    everything = np.arange(n, dtype=np.int32)
    learnt = encoding.learn("item", {"tags": bag}, everything)
    assert learnt["item_width.tags"].tolist() == [MAX_CODES]
    codes = encoding.encode("item", learnt, {"tags": bag.take(np.array([0, 17], np.int32))}, 2)["item.tags"]
    assert (codes > 0).sum(axis=1).tolist() == [2, 0]  # tags of a single item have no code
