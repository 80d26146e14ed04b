"""Feature blocks: rows computed by hand, missing features, and state."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.encoders.feature_blocks import FeatureBlocks


def features() -> dict[str, Feature]:
    """Features of four films; all features of the last one are missing."""
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


def table(blocks: FeatureBlocks, given: Features, n: int) -> dict[str, np.ndarray]:
    """Return the columns by label, (n,) each; columns of the same label are added up."""
    rows = blocks.rows(given, n).toarray()
    found: dict[str, np.ndarray] = {}
    for column, name in enumerate(blocks.column_names()):
        found[name] = found.get(name, 0) + rows[:, column]
    return found


def test_rows_by_hand() -> None:
    blocks = FeatureBlocks().fit(features())
    assert blocks.feature_names() == ["added", "cast", "language", "plot", "poster", "year"]  # all studios are the same
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
    blocks = FeatureBlocks().fit({"minutes": Feature(kind="number", values=np.arange(9, dtype=np.float32))})
    rows = blocks.rows({"minutes": Feature(kind="number", values=values)}, 7).toarray()
    assert rows.shape == (7, 9)
    np.testing.assert_allclose(rows[[0, 1, 2, 3, 4]], np.eye(9)[[0, 8, 1, 8, 0]])
    assert not rows[5:].any()
    half = blocks.rows({"minutes": Feature(kind="number", values=np.array([2.5], np.float32))}, 1).toarray()
    np.testing.assert_allclose(half[0, 2:4], [np.sqrt(0.5)] * 2, rtol=1e-6)


def test_every_block_has_length_one_or_zero() -> None:
    blocks = FeatureBlocks().fit(features())
    rows, feature = blocks.rows(features(), 4).toarray(), blocks.feature_of_column()
    assert not rows[3].any()
    for block in range(len(blocks.feature_names())):
        length = np.linalg.norm(rows[:, feature == block], axis=1)
        assert np.all((np.abs(length - 1) < 1e-6) | (length == 0))


def test_features_that_are_missing_or_of_another_kind_have_zero_rows() -> None:
    blocks = FeatureBlocks().fit(features())
    given = {
        "year": Feature(kind="categorical", values=np.array([0], np.int32), names=("1960",)),
        "cast": Feature(kind="bag", values=np.array([[7, 0]], np.int32), names=tuple("abcdefgh")),
        "poster": Feature(kind="vector", values=np.ones((1, 5), np.float32)),
    }
    found = table(blocks, given, 1)
    assert found.pop("cast: Nutan") == pytest.approx(1)  # codes beyond those of the fit are ignored
    assert not any(column.any() for column in found.values())


def test_without_features_there_are_no_columns() -> None:
    blocks = FeatureBlocks().fit({})
    assert blocks.feature_names() == blocks.column_names() == []
    assert blocks.rows({}, 3).shape == (3, 0)


def test_the_state_restores_the_encoding() -> None:
    blocks = FeatureBlocks().fit(features())
    again = FeatureBlocks()
    again.load_state(blocks.state())
    assert again.column_names() == blocks.column_names()
    np.testing.assert_array_equal(again.rows(features(), 4).toarray(), blocks.rows(features(), 4).toarray())
