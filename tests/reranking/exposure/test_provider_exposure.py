"""Exposure of every provider over requests: shares that hold, the least exposed raised, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.features import Feature
from pasand.reranking.exposure.provider_exposure import ProviderExposure, by_price, max_min_prices
from pasand.reranking.exposure.providers import Providers
from pasand.types import Candidates, Queries
from tests.logs import tastes

N_PROVIDERS, N_ITEMS, K = 12, 120, 5
RNG = np.random.default_rng(0)
STUDIO = Feature(
    kind="categorical", values=np.arange(N_ITEMS, dtype=np.int32) % N_PROVIDERS, names=tuple("abcdefghijkl")
)
DATA = replace(tastes(n_items=N_ITEMS, per_user=16), item_features={"studio": STUDIO})


def stage_of(**options: Any) -> ProviderExposure:
    return ProviderExposure(Providers("studio").fit(DATA, rng=RNG), **options)


def queries(n: int, k: int = K) -> Queries:
    return DATA.queries(np.zeros(n, np.int32), k=k)


def lists_of(n: int, seed: int = 0, width: int = 60) -> Candidates:
    """Return lists in which the items of later providers have lower scores."""
    rng = np.random.default_rng(seed)
    items = rng.permuted(np.tile(np.arange(N_ITEMS), (n, 1)), axis=1)[:, :width].astype(np.int32)
    scores = rng.normal(size=items.shape) - 0.2 * (items % N_PROVIDERS)
    order = np.argsort(-scores, axis=1)
    scores = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    return Candidates(items=np.take_along_axis(items, order, axis=1), scores=scores)


def show(stage: ProviderExposure, candidates: Candidates) -> float:
    """Show the lists that the stage chooses, one after the other, and return the sum of their scores."""
    total = 0.0
    for items, scores in zip(candidates.items, candidates.scores, strict=True):
        found = stage(queries(1), Candidates(items=items[None], scores=scores[None])).top(K)
        stage.shown(found.items, np.zeros(1, np.int64))
        total += float(found.scores.sum())
    return total


def test_every_provider_gets_its_part_of_the_share() -> None:
    candidates, stage = lists_of(2000), stage_of(ratio=0.6)
    free = np.bincount(candidates.items[:, :K].ravel() % N_PROVIDERS, minlength=N_PROVIDERS) / (2000 * K)
    assert free.min() < 0.2 / N_PROVIDERS
    total = show(stage, candidates)
    assert stage.shares.min() >= 0.95 * 0.6 / N_PROVIDERS
    wide = candidates.scores[:, :K].sum() - (candidates.scores[:, 0] - candidates.scores[:, 30]).sum()
    assert total > wide  # less than one spread a list


def test_strength_raises_the_least_exposed() -> None:
    candidates = lists_of(1000)
    least, totals = [], []
    for strength in (0.02, 0.2, 1.0):
        stage = stage_of(aim="max-min", strength=strength)
        totals.append(show(stage, candidates))
        least.append(stage.shares.min())
    assert least == sorted(least)
    assert totals == sorted(totals, reverse=True)
    assert least[-1] >= 0.8 / N_PROVIDERS


def test_queries_of_one_call_are_chosen_as_if_shown_one_by_one() -> None:
    candidates = lists_of(100)
    for aim in ("share", "max-min"):
        one, other = stage_of(aim=aim), stage_of(aim=aim)
        together = one(queries(100), candidates)
        assert float(together.scores.sum()) == pytest.approx(show(other, candidates), rel=1e-5)
        assert not one.ledger.slots


def test_a_ledger_goes_on_with_other_providers() -> None:
    stage, new = stage_of(), stage_of()
    show(stage, lists_of(100))
    other = Feature(kind="categorical", values=STUDIO.values, names=tuple("lkjihgfedcba"))
    new.providers.fit(replace(DATA, item_features={"studio": other}), rng=RNG)
    assert new.ledger_key == stage.ledger_key != stage_of(ratio=0.4).ledger_key
    new.continue_from(stage)
    np.testing.assert_array_equal(new.shares, stage.shares[::-1])
    np.testing.assert_array_equal(new.state()["multiplier"], stage.state()["multiplier"][::-1])
    loaded = stage_of()
    loaded.load_state(stage.state())
    np.testing.assert_array_equal(loaded.shares, stage.shares)


@given(st.data())
def test_the_best_by_price(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    values = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    scores = np.sort(np.array(data.draw(values), np.float64))[::-1].copy()
    code = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int32)
    price, k = np.array([0.0, 1.0, 2.5]), data.draw(st.integers(1, n))
    best, priced = by_price(scores, code, price, k)
    np.testing.assert_array_equal(priced, scores + np.append(price, 0)[code])
    np.testing.assert_array_equal(best, np.argsort(-priced, kind="stable")[:k])


def test_prices_are_equal_at_equal_exposure_per_share_and_highest_for_the_least_exposed() -> None:
    share, code = np.array([0.5, 0.25, 0.25, 0.0]), np.array([0, 1, 2, -1, 3], np.int32)
    equal = max_min_prices(code, np.array([20, 10, 10, 0]), share, 0.1, 2.0)
    np.testing.assert_allclose(equal, [2, 2, 2, 0])
    first = max_min_prices(code, np.array([20, 10, 0, 0]), share, 0.1, 2.0)
    assert first[2] > 2 > first[0]
    assert (share * first).sum() == pytest.approx(2.0)


@given(st.data())
@settings(max_examples=50)
def test_the_contract_of_stages(data: st.DataObject) -> None:
    """No item twice, nothing new, padding last, k respected, scores do not rise."""
    lists = data.draw(st.lists(st.lists(st.integers(0, 125), unique=True, max_size=9), min_size=1, max_size=4))
    width = max(map(len, lists))
    items = np.array([one + [-1] * (width - len(one)) for one in lists], np.int32).reshape(len(lists), -1)
    scores = np.where(items >= 0, 9 - np.arange(width), -np.inf).astype(np.float32)
    if width > 2 and data.draw(st.booleans()):
        scores[:, width - 2 :] = -np.inf
    k, last = data.draw(st.integers(1, 8)), data.draw(st.booleans())
    stage = stage_of(aim=data.draw(st.sampled_from(["share", "max-min"])), horizon=1, last=last)
    result = stage(queries(len(lists), k), Candidates(items=items, scores=scores))
    for one, row, values in zip(lists, result.items.tolist(), result.scores, strict=True):
        kept = [item for item in row if item >= 0]
        assert row == kept + [-1] * (len(row) - len(kept))
        assert len(kept) == len(set(kept)) == (min(k, len(one)) if last else len(one))
        assert set(kept) <= set(one)
        assert not (np.diff(values[np.isfinite(values)]) > 0).any()


def test_wrong_options_are_refused() -> None:
    for options, message in (
        ({"horizon": 0}, "horizon must be positive"),
        ({"ratio": 1.5}, "ratio must be in"),
        ({"strength": 0.0}, "strength must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            stage_of(**options)
