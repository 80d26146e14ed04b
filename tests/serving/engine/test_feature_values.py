from __future__ import annotations

import numpy as np
import pytest

from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.data.packed_texts import PackedTexts, TextArray
from pasand.serving.engine.feature_values import feature_to_json, filter_mask, parse_features
from pasand.serving.schemas import Between, RequestError

KNOWN = {
    "language": Feature(kind="categorical", values=np.array([0, 1, -1], np.int32), names=("Hindi", "Tamil")),
    "genres": Feature(kind="bag", values=np.array([[0, 1], [1, -1], [-1, -1]], np.int32), names=("Drama", "Action")),
    "year": Feature(kind="number", values=np.array([1975, 2001, np.nan], np.float32)),
    "title": Feature(kind="text", values=np.array(["Sholay", "शोले", ""], np.dtypes.StringDType())),
    "from": Feature(kind="time", values=np.array([0, 86_400, TIME_UNKNOWN], np.int64)),
    "vector": Feature(kind="vector", values=np.array([[1, 2], [3, 4], [np.nan, np.nan]], np.float32)),
}


def test_values_survive_a_round_trip_through_features() -> None:
    values = {
        "language": "Tamil",
        "genres": ["Action", "Drama"],
        "year": 1990,
        "title": "पसंद",
        "from": 60,
        "vector": [0.5, 2],
    }
    features, notes = parse_features(values, KNOWN, "features")
    assert notes == []
    assert {name: feature_to_json(feature, 0) for name, feature in features.items()} == values
    assert parse_features({"from": "1970-01-02"}, KNOWN, "f")[0]["from"].values.tolist() == [86_400]
    assert parse_features({"from": "1970-01-01T05:30:00+05:30"}, KNOWN, "f")[0]["from"].values.tolist() == [0]


def test_missing_values_are_none() -> None:
    assert [feature_to_json(feature, 2) for feature in KNOWN.values()] == [None, [], None, None, None, None]
    assert feature_to_json(KNOWN["year"], 7) is None


def test_unknown_categories_are_ignored() -> None:
    features, notes = parse_features({"language": "Klingon", "genres": ["Drama", "Opera"]}, KNOWN, "features")
    assert feature_to_json(features["language"], 0) is None
    assert feature_to_json(features["genres"], 0) == ["Drama"]
    assert notes == [
        "language 'Klingon' is unknown and was ignored",
        "genres 'Opera' is unknown and was ignored",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("size", 3, "no feature 'size'"),
        ("language", ["Hindi", "Tamil"], "one value is required, got 2"),
        ("year", "old", "a number is required"),
        ("year", 1e300, "too large"),
        ("year", 10**310, "too large"),
        ("from", "yesterday", "neither seconds"),
        ("from", 10**310, "neither seconds"),
        ("from", "9" * 5000, "neither seconds"),
        ("vector", [1, 2, 3], "3 numbers, and had 2"),
        ("vector", [1, "x"], "a number is required"),
    ],
)
def test_invalid_values_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        parse_features({name: value}, KNOWN, "features")
    assert refused.value.field == f"features.{name}"


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("language", "Hindi", [True, False, False]),
        ("language", ["Hindi", "Tamil", "none"], [True, True, False]),
        ("genres", "Action", [True, True, False]),
        ("genres", "Drama", [True, False, False]),
        ("year", 2001, [False, True, False]),
        ("year", Between(min=1980), [False, True, False]),
        ("year", Between(max=2001, min=1975), [True, True, False]),
        ("from", Between(max=10), [True, False, False]),
        ("from", 86_400, [False, True, False]),
        ("from", [0.0, 0.5, 2**63, -(2**70), 1e300, -1e300], [True, False, False]),
        ("from", Between(min=-1e300, max=1e300), [True, True, False]),
        ("year", [2001, 10**300, 1e300], [False, True, False]),
        ("title", "शोले", [False, True, False]),
        ("title", ["शोले", *map(str, range(1000))], [False, True, False]),
    ],
)
def test_filters_select_rows(name: str, wanted: str | Between, expected: list[bool]) -> None:
    assert filter_mask(KNOWN[name], wanted, "filters").tolist() == expected


@pytest.mark.parametrize(("name", "wanted"), [("language", Between(min=1)), ("year", "old"), ("vector", 1)])
def test_unsuitable_filters_are_refused(name: str, wanted: str | Between) -> None:
    with pytest.raises(RequestError):
        filter_mask(KNOWN[name], wanted, "filters")


def test_many_texts_are_looked_up_as_a_few_are() -> None:
    rng = np.random.default_rng(0)
    texts = [f"{'फ' * int(n % 3)}{n}" for n in rng.integers(0, 300, 2000)]
    packed = TextArray(PackedTexts.of(texts))
    packed[5] = "changed"
    for size in (0, 1, 8, 9, 150, 2000):
        wanted = [*(f"{n}" for n in range(size)), *(f"फ{n}" for n in range(size)), "changed"]
        expected = [text in set(wanted) for text in packed.tolist()]
        assert packed.isin(wanted).tolist() == expected
        feature = Feature(kind="text", values=packed)  # type: ignore[arg-type]
        assert filter_mask(feature, list(wanted), "filters").tolist() == expected


def test_numbers_are_as_short_as_they_were_given() -> None:
    numbers = Feature(kind="number", values=np.array([149.61, 3, 1e-7, np.nan, 2.5e9], np.float32))
    found = [feature_to_json(numbers, row) for row in range(5)]
    assert found == [149.61, 3.0, 1e-7, None, 2.5e9]
    assert [row for row in range(5) if found[row] is not None] == np.flatnonzero(
        filter_mask(numbers, Between(min=0.0), "filters.price")
    ).tolist()
    assert filter_mask(numbers, Between(min=found[0], max=found[0]), "filters.price").tolist() == [True] + [False] * 4
