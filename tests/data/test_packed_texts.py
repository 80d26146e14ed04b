"""Packed texts behave as a list of strings does."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.features import Feature, pack, unpack
from pasand.data.packed_texts import PackedTexts, TextArray, packed_or_none
from pasand.data.vocabulary import Vocabulary

words = st.text("abé0 _\0न\U0001f600", max_size=4)
STRINGS = np.dtypes.StringDType()


def packed(texts: list[str]) -> TextArray:
    return TextArray(PackedTexts.of(texts))


@given(st.lists(words, unique=True, max_size=12), words, st.randoms())
def test_the_row_of_each_text_is_found(texts: list[str], other: str, chance: object) -> None:
    order = np.array(sorted(range(len(texts)), key=lambda row: texts[row].encode()), np.int32)
    stored = PackedTexts.of(texts)
    assert stored.is_sorted(order)
    assert stored.texts() == texts
    assert [stored[row] for row in range(len(texts))] == texts
    wanted = [*texts, other, "\ud800"]
    rows = [[texts.index(text)] if text in texts else [] for text in wanted]
    assert [stored.rows_of(text).tolist() for text in wanted] == rows
    assert stored.find(wanted, order).tolist() == [texts.index(text) if text in texts else -1 for text in wanted]


def test_texts_out_of_order_or_repeated_are_not_sorted() -> None:
    assert not PackedTexts.of(["b", "a"]).is_sorted(np.arange(2, dtype=np.int32))
    assert not PackedTexts.of(["a", "a"]).is_sorted(np.arange(2, dtype=np.int32))
    assert not PackedTexts.of(["ab", "a"]).is_sorted(np.arange(2, dtype=np.int32))
    assert PackedTexts.of(["", "a", "ab", "é"]).is_sorted(np.arange(4, dtype=np.int32))


def test_text_arrays_behave_as_numpy_arrays_of_strings_do() -> None:
    titles = ["Sholay", "शोले", "", "3 Idiots"]
    array, texts = np.array(titles, STRINGS), packed(titles)
    for rows in (
        slice(0),
        slice(1, 3),
        np.array([3, 0, 3]),
        np.array([-1]),
        np.array([[1], [2]])[:, 0],
        array == "",
        [0, 2],
    ):
        assert texts[rows].tolist() == array[rows].tolist()
        assert texts[rows].dtype == STRINGS
    assert [texts[0], texts[np.int32(1)], texts[-1]] == ["Sholay", "शोले", "3 Idiots"]
    assert (texts == array).all()
    assert (texts == "").tolist() == [False, False, True, False]
    assert np.isin(texts, np.array(["शोले"], STRINGS)).tolist() == [False, True, False, False]
    assert (len(texts), texts.shape, texts.ndim, texts.dtype) == (4, array.shape, array.ndim, array.dtype)
    assert list(texts) == texts.tolist() == titles
    assert pickle.loads(pickle.dumps(texts)).tolist() == titles


def test_a_change_of_a_copy_does_not_change_the_original() -> None:
    texts = packed(["a", "b", "c"])
    other = texts.copy()
    other[1] = "new"
    other[np.array([0, 2])] = ["x", "y"]
    assert texts.tolist() == ["a", "b", "c"]
    assert other.tolist() == ["x", "new", "y"]
    longer = other.extended(["d", ""])
    longer[4] = "e"
    assert longer.tolist() == ["x", "new", "y", "d", "e"]
    assert len(other) == 3
    assert longer.packed.texts() == longer.tolist()
    assert longer.isin(["x", "e", "a", "none"]).tolist() == [True, False, False, False, True]
    assert (longer == "d").tolist() == [False, False, False, True, False]
    assert pickle.loads(pickle.dumps(longer)).tolist() == longer.tolist()


def test_a_feature_of_texts_stays_packed_until_all_are_needed() -> None:
    strings = Feature(kind="text", values=np.array(["a", "", "शोले"], STRINGS))
    read = unpack(*pack({"title": strings}))["title"]
    assert packed_or_none(read.values) is not None
    assert [read.show(row) for row in range(3)] == ["a", "", "शोले"]
    assert read.is_missing().tolist() == strings.is_missing().tolist() == [False, True, False]
    rows = np.array([2, -1, 0, 9], np.int32)
    assert read.take(rows).tolist() == strings.take(rows).tolist() == ["शोले", "", "a", ""]
    grown = read.extended(Feature(kind="text", values=np.array(["new"], STRINGS)), 1).extended(None, 1)
    assert packed_or_none(grown.values) is not None
    assert grown.values.tolist() == ["a", "", "शोले", "new", ""]
    unpacked = Feature(kind="text", values=np.asarray(grown.values))
    both = [pack({"title": feature})[0] for feature in (grown, unpacked)]
    assert {name: values.tolist() for name, values in both[0].items()} == {
        name: values.tolist() for name, values in both[1].items()
    }


@given(st.lists(words, unique=True, max_size=12), st.integers(0, 12), st.booleans())
def test_a_vocabulary_is_read_as_it_was_saved(ids: list[str], cut: int, sort: bool) -> None:
    known = (Vocabulary(ids[:cut]) if sort else Vocabulary.in_order(ids[:cut])).appended(ids[cut:])
    saved = known.pack()
    for arrays in (saved, {name: saved[name] for name in ("bytes", "ends")}):  # older bundles have no order
        read = Vocabulary.unpack(arrays)
        assert len(read) == len(ids)
        assert read.ids(np.arange(len(ids))) == known.series.to_list()
        assert read.rows([*ids, "not there"]).tolist() == known.rows([*ids, "not there"]).tolist()
        assert read.pack().keys() == saved.keys()
        assert read == known
        if ids:
            assert read.appended(["another one"]).rows(["another one", ids[0]]).tolist() == [
                len(ids),
                known.rows(ids[:1])[0],
            ]


def test_bulk_lookups_agree_with_small_ones() -> None:
    ids = [f"i{i}" for i in range(3000)]
    by_id, in_order = Vocabulary(ids), Vocabulary.in_order(ids)
    for vocabulary in (by_id, in_order, Vocabulary.unpack(by_id.pack()), Vocabulary.unpack(in_order.pack())):
        for wanted in ([*ids, "none"], ids[:5]):
            rows = vocabulary.rows(wanted)
            assert rows.dtype == np.int32
            assert vocabulary.ids(rows[rows >= 0]) == [text for text in wanted if text != "none"]
    assert in_order.rows(ids).tolist() == list(range(3000))
