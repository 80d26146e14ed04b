"""Packed texts: they say what a list of strings says."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.features import Feature, pack, unpack
from pasand.data.packed_texts import Packed, Texts, still_packed
from pasand.data.vocabulary import Vocabulary

words = st.text("abé0 _\0न\U0001f600", max_size=4)
STRINGS = np.dtypes.StringDType()


def packed(texts: list[str]) -> Texts:
    return Texts(Packed.of(texts))


@settings(deadline=None)
@given(st.lists(words, unique=True, max_size=12), words, st.randoms())
def test_a_text_is_found_where_it_stands(texts: list[str], other: str, chance: object) -> None:
    order = np.array(sorted(range(len(texts)), key=lambda place: texts[place].encode()), np.int32)
    told = Packed.of(texts)
    assert told.ascends(order)
    assert told.texts() == texts
    assert [told[place] for place in range(len(texts))] == texts
    asked = [*texts, other, "\ud800"]
    assert [told.equal(one).tolist() for one in asked] == [[texts.index(one)] if one in texts else [] for one in asked]
    assert told.find(asked, order).tolist() == [texts.index(one) if one in texts else -1 for one in asked]


def test_what_is_not_in_order_or_comes_twice_does_not_ascend() -> None:
    assert not Packed.of(["b", "a"]).ascends(np.arange(2, dtype=np.int32))
    assert not Packed.of(["a", "a"]).ascends(np.arange(2, dtype=np.int32))
    assert not Packed.of(["ab", "a"]).ascends(np.arange(2, dtype=np.int32))
    assert Packed.of(["", "a", "ab", "é"]).ascends(np.arange(4, dtype=np.int32))


def test_texts_answer_as_an_array_of_strings_does() -> None:
    told = ["Sholay", "शोले", "", "3 Idiots"]
    array, texts = np.array(told, STRINGS), packed(told)
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
    assert list(texts) == texts.tolist() == told
    assert pickle.loads(pickle.dumps(texts)).tolist() == told


def test_a_change_of_a_copy_is_its_own() -> None:
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


def test_a_feature_of_texts_stays_packed_until_all_are_asked_for() -> None:
    strings = Feature(kind="text", values=np.array(["a", "", "शोले"], STRINGS))
    read = unpack(*pack({"title": strings}))["title"]
    assert still_packed(read.values) is not None
    assert [read.show(row) for row in range(3)] == ["a", "", "शोले"]
    assert read.absent().tolist() == strings.absent().tolist() == [False, True, False]
    rows = np.array([2, -1, 0, 9], np.int32)
    assert read.take(rows).tolist() == strings.take(rows).tolist() == ["शोले", "", "a", ""]
    grown = read.extended(Feature(kind="text", values=np.array(["new"], STRINGS)), 1).extended(None, 1)
    assert still_packed(grown.values) is not None
    assert grown.values.tolist() == ["a", "", "शोले", "new", ""]
    both = [pack({"title": one})[0] for one in (grown, Feature(kind="text", values=np.asarray(grown.values)))]
    assert {name: values.tolist() for name, values in both[0].items()} == {
        name: values.tolist() for name, values in both[1].items()
    }


@settings(deadline=None)
@given(st.lists(words, unique=True, max_size=12), st.integers(0, 12), st.booleans())
def test_a_vocabulary_is_read_as_it_was_saved(ids: list[str], cut: int, sort: bool) -> None:
    known = (Vocabulary(ids[:cut]) if sort else Vocabulary.in_order(ids[:cut])).appended(ids[cut:])
    saved = known.pack()
    for arrays in (saved, {name: saved[name] for name in ("bytes", "ends")}):  # bundles of old hold no order
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


def test_many_ids_are_found_as_few_are() -> None:
    ids = [f"i{i}" for i in range(3000)]
    made, order = Vocabulary(ids), Vocabulary.in_order(ids)
    for known in (made, order, Vocabulary.unpack(made.pack()), Vocabulary.unpack(order.pack())):
        for asked in ([*ids, "none"], ids[:5]):
            rows = known.rows(asked)
            assert rows.dtype == np.int32
            assert known.ids(rows[rows >= 0]) == [one for one in asked if one != "none"]
    assert order.rows(ids).tolist() == list(range(3000))
