"""Encoding of features as codes and numbers, against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.features import encoding

NAN = np.nan
ALL_USERS = np.arange(4, dtype=np.int32)


def category(*codes: int) -> Feature:
    return Feature(kind="categorical", values=np.array(codes, np.int32), names=("a", "b", "c"))


def number(*values: float) -> Feature:
    return Feature(kind="number", values=np.array(values, np.float32))


def test_categories_shared_by_two_get_codes() -> None:
    learnt = encoding.learn("user", {"city": category(2, 0, 2, 1)}, ALL_USERS)
    inputs = encoding.encode("user", learnt, {"city": np.array([0, 1, 2, -1, 9], np.int32)}, 5)
    assert encoding.input_sizes("user", learnt) == {"user.city": 1}
    assert inputs["user.city"].tolist() == [[0], [0], [1], [0], [0]]


def test_categories_count_among_the_chosen_rows_alone() -> None:
    learnt = encoding.learn("user", {"city": category(2, 0, 2, 0)}, np.array([0, 1, 3], np.int32))
    assert encoding.encode("user", learnt, {"city": np.array([0, 2])}, 2)["user.city"].tolist() == [[1], [0]]


def test_bags_keep_their_width_and_lose_unknown_categories() -> None:
    bag = Feature(kind="bag", values=np.array([[0, 1], [1, -1], [2, 0]], np.int32), names=("x", "y", "z"))
    learnt = encoding.learn("item", {"genres": bag}, np.arange(3, dtype=np.int32))
    longer = np.array([[0, 2, 1], [-1, 2, -1]], np.int32)
    assert encoding.encode("item", learnt, {"genres": longer}, 2)["item.genres"].tolist() == [[1, 2], [0, 0]]


def test_numbers_are_standardised_and_missing_ones_flagged() -> None:
    learnt = encoding.learn("user", {"age": number(10, 20, 30, NAN)}, ALL_USERS)
    inputs = encoding.encode("user", learnt, {"age": np.array([20, 30, NAN, np.inf, 1e9], np.float32)}, 5)["user.age"]
    spread = np.sqrt(200 / 3)
    expected = [[0, 1], [10 / spread, 1], [0, 0], [0, 0], [encoding.MAX_DEVIATIONS, 1]]
    np.testing.assert_allclose(inputs, expected, rtol=1e-6)


def test_bands_have_equal_sizes() -> None:
    learnt = encoding.learn("user", {"age": number(10, 20, 30, 40)}, ALL_USERS, bins=2)
    inputs = encoding.encode("user", learnt, {"age": np.array([-5, 24, 26, 99, NAN], np.float32)}, 5)
    assert inputs["user.age"].tolist() == [[1], [1], [2], [2], [0]]
    assert encoding.input_sizes("user", learnt) == {"user.age": 2}


def test_vectors_with_missing_numbers_are_unknown() -> None:
    vectors = Feature(kind="vector", values=np.array([[1, 5], [3, 5], [NAN, 5]], np.float32))
    learnt = encoding.learn("item", {"text": vectors}, np.arange(3, dtype=np.int32))
    inputs = encoding.encode("item", learnt, {"text": vectors.values}, 3)["item.text"]
    np.testing.assert_allclose(inputs, [[-1, 0, 1], [1, 0, 1], [0, 0, 0]])
    assert encoding.any_known({"item.text": inputs}, 3).tolist() == [True, True, False]


def test_a_vector_of_another_width_is_refused() -> None:
    vectors = Feature(kind="vector", values=np.eye(3, dtype=np.float32))
    learnt = encoding.learn("item", {"text": vectors}, np.arange(3, dtype=np.int32))
    with pytest.raises(InputError, match="a vector of 2 numbers, but 3 in training"):
        encoding.encode("item", learnt, {"text": np.ones((1, 2), np.float32)}, 1)


def test_features_that_are_unknown_or_equal_for_all_are_left_out() -> None:
    learnt = encoding.learn(
        "user", {"a": number(NAN, NAN, NAN, NAN), "b": number(7, 7, 7, 7), "c": category(0, 1, 2, -1)}, ALL_USERS
    )
    assert learnt == {}
    assert encoding.encode("user", learnt, {"a": np.array([1.0]), "d": np.array([1.0])}, 1) == {}


def test_a_feature_that_is_not_given_is_unknown() -> None:
    learnt = encoding.learn("user", {"age": number(1, 2, 3, 4), "city": category(0, 0, 1, 1)}, ALL_USERS)
    inputs = encoding.encode("user", learnt, {}, 2)
    assert not encoding.any_known(inputs, 2).any()
    assert {name: values.shape for name, values in inputs.items()} == {"user.age": (2, 2), "user.city": (2, 1)}


def test_features_are_chosen_by_name() -> None:
    words = Feature(kind="text", values=np.array(["x"], dtype=np.dtypes.StringDType()))
    features = {"age": number(1), "title": words}
    assert list(encoding.select_features(features, None, "user_features")) == ["age"]
    assert list(encoding.select_features(features, (), "user_features")) == []
    with pytest.raises(InputError, match="of kind text"):
        encoding.select_features(features, ("title",), "user_features")
    with pytest.raises(InputError, match="no such feature"):
        encoding.select_features(features, ("agee",), "user_features")


def test_recent_codes_skip_items_without_a_code() -> None:
    codes = np.array([1, 0, 2, 3])
    rows = np.array([[-1, 0, 2, 1], [3, -1, 2, 9], [-1, -1, -1, 0]], np.int32)
    assert encoding.recent_codes(rows, codes, 2).tolist() == [[1, 2], [3, 2], [0, 1]]
    assert encoding.recent_codes(rows, codes, 5).tolist() == [[0, 0, 0, 1, 2], [0, 0, 0, 3, 2], [0, 0, 0, 0, 1]]
    assert encoding.recent_codes(rows[:, :0], codes, 2).tolist() == [[0, 0]] * 3
