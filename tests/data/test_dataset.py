"""Growing catalogues: existing rows keep their meaning, and added items are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.data.vocabulary import Vocabulary
from tests.logs import tastes

names = st.text("abé0 _", min_size=0, max_size=4)


@given(st.lists(names, unique=True, max_size=20), st.integers(0, 20))
def test_appended_ids_come_after_the_sorted_ones(ids: list[str], cut: int) -> None:
    base, new = ids[:cut], ids[cut:]
    grown = Vocabulary(base).appended(new)
    assert grown.series.to_list() == [*sorted(base, key=str.encode), *new]
    assert grown.rows([*ids, "not there"]).tolist() == [grown.series.to_list().index(i) for i in ids] + [-1]
    assert grown.ids(np.arange(len(ids))) == grown.series.to_list()
    assert Vocabulary.in_order(grown.series) == grown
    assert (grown == Vocabulary(ids)) == (grown.series.to_list() == sorted(ids, key=str.encode))


@pytest.mark.parametrize("ids", [["a"], ["c", "c"]])
def test_existing_and_repeated_ids_are_rejected(ids: list[str]) -> None:
    with pytest.raises(ValueError, match=f"ids must be unique, got '{ids[0]}' twice"):
        Vocabulary(["b", "a"]).appended(ids)


def test_items_are_appended_with_their_features() -> None:
    data = tastes()
    group = Feature(kind="categorical", values=np.array([2, -1], np.int32), names=("a", "b", "c"))
    grown = data.with_items(["a new one", "i000x"], {"group": group})
    assert grown.n_items == data.n_items + 2
    assert grown.items.rows(["a new one", "i000x", "i003"]).tolist() == [30, 31, 3]
    assert [grown.item_features["group"].show(row) for row in (2, 30, 31)] == ["c", "c", ""]
    assert grown.item_features["title"].show(31) == ""
    assert grown.fingerprint != data.fingerprint
    assert grown.queries(np.array([3], np.int32), k=5).history.tolist() == (
        data.queries(np.array([3], np.int32), k=5).history.tolist()
    )


@pytest.mark.parametrize(
    ("features", "title"),
    [
        ({"price": "₹1,148.00", "product_name": "Lamp"}, "Lamp"),
        ({"Description": "It shines.", "Title": "Lamp"}, "Lamp"),
        ({"Brand": "Acme", "Product Title": "Lamp", "Name": "Lamp 2"}, "Lamp 2"),
        ({"brand_name": "Acme", "movie_title": "Lamp"}, "Lamp"),
        ({"price": "Rs. 500/-", "list": "12,50 €", "size": "1,148", "नाम": "Lamp"}, "Lamp"),
        ({"plot": "It shines.", "price": "$5"}, "It shines."),
        ({"price": "$5"}, ""),
        ({}, ""),
    ],
)
def test_the_title_is_the_text_that_is_named_so_and_no_amount(features: dict[str, str], title: str) -> None:
    texts = {
        name: Feature(kind="text", values=np.array([text], np.dtypes.StringDType())) for name, text in features.items()
    }
    assert replace(tastes(), item_features=texts).title(0) == title


def test_categories_take_the_codes_of_the_same_names() -> None:
    old = Feature(kind="categorical", values=np.array([0, 1], np.int32), names=("hi", "ta"))
    new = Feature(kind="categorical", values=np.array([0, 1, 2, -1], np.int32), names=("bn", "hi", "ta"))
    coded, unknown = new.coded_as(old)
    assert coded.values.tolist() == [-1, 0, 1, -1]
    assert coded.names == old.names
    assert unknown == ["bn"]


def test_bags_lose_unknown_members() -> None:
    old = Feature(kind="bag", values=np.array([[0, 1, 2], [1, -1, -1]], np.int32), names=("x", "y", "z"))
    new = Feature(kind="bag", values=np.array([[0, 2], [1, -1]], np.int32), names=("?", "y", "z"))
    coded, unknown = new.coded_as(old)
    assert [codes.tolist() for codes in coded.bags] == [[2], [1]]
    assert unknown == ["?"]
    wide = Feature(kind="bag", values=np.array([[0, 1, 2, 3]], np.int32), names=("x", "y", "z", "w"))
    assert [codes.tolist() for codes in old.extended(wide, 1).bags] == [[0, 1, 2], [1], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    "old",
    [
        Feature(kind="categorical", values=np.array([0], np.int32), names=("a",)),
        Feature(kind="bag", values=np.array([[0, 0]], np.int32), names=("a",)),
        Feature(kind="number", values=np.array([1.5], np.float32)),
        Feature(kind="vector", values=np.ones((1, 3), np.float32)),
        Feature(kind="text", values=np.array(["a"], np.dtypes.StringDType())),
        Feature(kind="time", values=np.array([5], np.int64)),
    ],
    ids=lambda feature: feature.kind,
)
def test_features_of_new_rows_are_missing_unless_given(old: Feature) -> None:
    grown = old.extended(None, 2)
    assert grown.is_missing().tolist() == [False, True, True]
    rows = np.arange(3, dtype=np.int32)
    assert grown.take(rows).dtype == old.take(rows).dtype
    assert grown.take(rows[1:]).shape == (2, *old.take(rows).shape[1:]) or old.kind == "bag"
    if old.kind == "time":
        assert grown.values[2] == TIME_UNKNOWN


def test_another_kind_or_width_is_rejected() -> None:
    three = Feature(kind="vector", values=np.ones((1, 3), np.float32))
    number = Feature(kind="number", values=np.ones(1, np.float32))
    with pytest.raises(ValueError, match="it is number, and was vector"):
        number.coded_as(three)
    with pytest.raises(ValueError, match="its vectors have 2 numbers, and had 3"):
        Feature(kind="vector", values=np.ones((1, 2), np.float32)).coded_as(three)
