"""Providers of items and the shares that they are due."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.reranking.exposure.providers import Providers
from tests.logs import log, tastes

RNG = np.random.default_rng(0)
FEATURE = Feature(kind="categorical", values=np.array([0, 1, 1, -1], np.int32), names=("x", "y"))
DATA = replace(
    log([("u", "a", 1, 5.0), ("u", "b", 2, 5.0), ("v", "b", 3, 1.0), ("v", "c", 4, 4.0), ("w", "d", 5, 5.0)]),
    item_features={"studio": FEATURE},
)


def test_shares_of_the_catalogue_and_of_merit(caplog: pytest.LogCaptureFixture) -> None:
    catalogue = Providers("studio").fit(DATA, rng=RNG)
    assert catalogue.share.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert "1 of 4 items have no studio" in caplog.text
    assert Providers("studio", share_of="merit").fit(DATA, rng=RNG).share.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert catalogue.codes(np.array([[3, 2, -1, 9]], np.int32)).tolist() == [[-1, 1, -1, -1]]


def test_the_state_holds_all() -> None:
    fitted, loaded = Providers("studio").fit(DATA, rng=RNG), Providers("studio")
    loaded.load_state(fitted.state())
    assert loaded.names == ("x", "y")
    items = np.array([[0, 1, 2, 3]], np.int32)
    np.testing.assert_array_equal(loaded.codes(items), fitted.codes(items))
    np.testing.assert_array_equal(loaded.share, fitted.share)
    with pytest.raises(ValueError, match="code must be from -1 to 0"):
        loaded.load_state({**fitted.state(), "share": np.array([1.0])})


def test_new_items_have_their_providers() -> None:
    fitted = Providers("studio").fit(DATA, rng=RNG)
    fitted.add_items({"studio": FEATURE.select(np.array([1], np.int32))})
    fitted.add_items({"other": FEATURE.select(np.array([1], np.int32))})
    assert fitted.codes(np.array([[4, 5]], np.int32)).tolist() == [[1, -1]]


def test_wrong_features_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'none'.*items have no such feature.*use one of: group"):
        Providers("none").fit(tastes(), rng=RNG)
    with pytest.raises(InputError, match=r"'title'.*it is text"):
        Providers("title").fit(tastes(), rng=RNG)
    empty = replace(DATA, item_features={"studio": replace(FEATURE, values=np.full(4, -1, np.int32))})
    with pytest.raises(InputError, match="no item has a value"):
        Providers("studio").fit(empty, rng=RNG)
