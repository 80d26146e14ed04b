"""Blocks of columns: rows by hand, what is missing, and what comes after the fit."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.encoders.feature_blocks import Blocks


def features() -> dict[str, Feature]:
    """Four films; of the last one nothing is known."""
    strings = np.dtypes.StringDType()
    return {
        "language": Feature(kind="categorical", values=np.array([0, 0, 1, -1], np.int32), names=("hi", "ta")),
        "cast": Feature(
            kind="bag",
            values=np.array([[0, 1], [1, -1], [1, 1], [-1, -1]], np.int32),
            names=("Nutan", "Dev"),
        ),
        "year": Feature(kind="number", values=np.array([1960, 1980, 1970, np.nan], np.float32)),
        "plot": Feature(kind="text", values=np.array(["a song", "song and rain", "rain song", ""], strings)),
        "added": Feature(kind="time", values=np.array([0, 86_400, 0, TIME_UNKNOWN], np.int64)),
        "poster": Feature(kind="vector", values=np.array([[3, 4], [0, 2], [0, 0], [np.nan, np.nan]], np.float32)),
        "studio": Feature(kind="categorical", values=np.zeros(4, np.int32), names=("the same",)),
    }


def table(blocks: Blocks, given: Features, n: int) -> dict[str, np.ndarray]:
    """Return the columns by what they stand for; those of one name added up as squares."""
    rows = blocks.rows(given, n).toarray()
    found: dict[str, np.ndarray] = {}
    for column, name in enumerate(blocks.columns()):
        found[name] = found.get(name, 0) + rows[:, column]
    return found


def test_rows_by_hand() -> None:
    blocks = Blocks().fit(features())
    assert blocks.features() == ["added", "cast", "language", "plot", "poster", "year"]  # the studio tells none apart
    found = table(blocks, features(), 4)
    np.testing.assert_allclose(found["language: hi"], [1, 1, 0, 0])
    np.testing.assert_allclose(found["language: ta"], [0, 0, 1, 0])
    nutan, dev = np.log(5 / 2) + 1, np.log(5 / 4) + 1
    np.testing.assert_allclose(found["cast: Nutan"], [nutan / np.hypot(nutan, dev), 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(found["cast: Dev"], [dev / np.hypot(nutan, dev), 1, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(found["poster"], [0.6 + 0.8, 1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(found["plot: song"][0], 1)
    assert found["plot: rain"][0] == 0 < found["plot: rain"][1]
    np.testing.assert_allclose(found["added: about 1970-01-02"], [0, 1, 0, 0])


def test_a_number_lies_between_its_two_quantiles() -> None:
    values = np.array([0, 8, 1, 100, -5, np.nan, np.inf], np.float32)
    blocks = Blocks().fit({"minutes": Feature(kind="number", values=np.arange(9, dtype=np.float32))})
    rows = blocks.rows({"minutes": Feature(kind="number", values=values)}, 7).toarray()
    assert rows.shape == (7, 9)
    np.testing.assert_allclose(rows[[0, 1, 2, 3, 4]], np.eye(9)[[0, 8, 1, 8, 0]])
    assert not rows[5:].any()
    half = blocks.rows({"minutes": Feature(kind="number", values=np.array([2.5], np.float32))}, 1).toarray()
    np.testing.assert_allclose(half[0, 2:4], [np.sqrt(0.5)] * 2, rtol=1e-6)


def test_every_block_has_length_one_or_nothing() -> None:
    blocks = Blocks().fit(features())
    rows, of_column = blocks.rows(features(), 4).toarray(), blocks.of_column()
    assert not rows[3].any()
    for place in range(len(blocks.features())):
        length = np.linalg.norm(rows[:, of_column == place], axis=1)
        assert np.all((np.abs(length - 1) < 1e-6) | (length == 0))


def test_what_is_missing_or_of_another_kind_is_not_known() -> None:
    blocks = Blocks().fit(features())
    given = {
        "year": Feature(kind="categorical", values=np.array([0], np.int32), names=("1960",)),
        "cast": Feature(kind="bag", values=np.array([[7, 0]], np.int32), names=tuple("abcdefgh")),
        "poster": Feature(kind="vector", values=np.ones((1, 5), np.float32)),
    }
    found = table(blocks, given, 1)
    assert found.pop("cast: Nutan") == pytest.approx(1)  # a code beyond those that were learnt says nothing
    assert not any(column.any() for column in found.values())


def test_nothing_to_learn() -> None:
    blocks = Blocks().fit({})
    assert blocks.features() == blocks.columns() == []
    assert blocks.rows({}, 3).shape == (3, 0)


def test_state_comes_back() -> None:
    blocks = Blocks().fit(features())
    again = Blocks()
    again.load_state(blocks.state())
    assert again.columns() == blocks.columns()
    np.testing.assert_array_equal(again.rows(features(), 4).toarray(), blocks.rows(features(), 4).toarray())
