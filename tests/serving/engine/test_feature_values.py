from __future__ import annotations

import numpy as np
import pytest

from pasand.data.features import TIME_UNKNOWN, Feature
from pasand.serving.engine.feature_values import coded, mask, shown
from pasand.serving.schemas import Between, RequestError

KNOWN = {
    "language": Feature(kind="categorical", values=np.array([0, 1, -1], np.int32), names=("Hindi", "Tamil")),
    "genres": Feature(kind="bag", values=np.array([[0, 1], [1, -1], [-1, -1]], np.int32), names=("Drama", "Action")),
    "year": Feature(kind="number", values=np.array([1975, 2001, np.nan], np.float32)),
    "title": Feature(kind="text", values=np.array(["Sholay", "शोले", ""], np.dtypes.StringDType())),
    "from": Feature(kind="time", values=np.array([0, 86_400, TIME_UNKNOWN], np.int64)),
    "vector": Feature(kind="vector", values=np.array([[1, 2], [3, 4], [np.nan, np.nan]], np.float32)),
}


def test_values_become_features_and_values_again() -> None:
    told = {
        "language": "Tamil",
        "genres": ["Action", "Drama"],
        "year": 1990,
        "title": "पसंद",
        "from": 60,
        "vector": [0.5, 2],
    }
    found, notes = coded(told, KNOWN, "features")
    assert notes == []
    assert {name: shown(feature, 0) for name, feature in found.items()} == told
    assert coded({"from": "1970-01-02"}, KNOWN, "f")[0]["from"].values.tolist() == [86_400]
    assert coded({"from": "1970-01-01T05:30:00+05:30"}, KNOWN, "f")[0]["from"].values.tolist() == [0]


def test_what_is_not_known_is_none() -> None:
    assert [shown(feature, 2) for feature in KNOWN.values()] == [None, [], None, None, None, None]
    assert shown(KNOWN["year"], 7) is None


def test_categories_that_nobody_has_seen_are_left_aside() -> None:
    found, notes = coded({"language": "Klingon", "genres": ["Drama", "Opera"]}, KNOWN, "features")
    assert shown(found["language"], 0) is None
    assert shown(found["genres"], 0) == ["Drama"]
    assert notes == [
        "language 'Klingon' is not known and was left aside",
        "genres 'Opera' is not known and was left aside",
    ]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("size", 3, "no feature 'size'"),
        ("language", ["Hindi", "Tamil"], "one value is asked for, got 2"),
        ("year", "old", "a number is asked for"),
        ("year", 1e300, "too large"),
        ("from", "yesterday", "neither seconds"),
        ("vector", [1, 2, 3], "3 numbers, and had 2"),
        ("vector", [1, "x"], "a number is asked for"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, value: object, told: str) -> None:
    with pytest.raises(RequestError, match=told) as refused:
        coded({name: value}, KNOWN, "features")
    assert refused.value.field == f"features.{name}"


@pytest.mark.parametrize(
    ("name", "wanted", "through"),
    [
        ("language", "Hindi", [True, False, False]),
        ("language", ["Hindi", "Tamil", "none"], [True, True, False]),
        ("genres", "Action", [True, True, False]),
        ("genres", "Drama", [True, False, False]),
        ("year", 2001, [False, True, False]),
        ("year", Between(min=1980), [False, True, False]),
        ("year", Between(max=2001, min=1975), [True, True, False]),
        ("from", Between(max=10), [True, False, False]),
        ("title", "शोले", [False, True, False]),
    ],
)
def test_filters_let_through(name: str, wanted: str | Between, through: list[bool]) -> None:
    assert mask(KNOWN[name], wanted, "filters").tolist() == through


@pytest.mark.parametrize(("name", "wanted"), [("language", Between(min=1)), ("year", "old"), ("vector", 1)])
def test_filters_that_do_not_suit_are_refused(name: str, wanted: str | Between) -> None:
    with pytest.raises(RequestError):
        mask(KNOWN[name], wanted, "filters")
