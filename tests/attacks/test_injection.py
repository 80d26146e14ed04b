"""Injection: the attacked log is the log and the profiles, and profiles are as their kind defines them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.attacks.injection import Attack, Attacked, inject
from pasand.attacks.kinds import KINDS
from pasand.attacks.ratings import rating_statistics
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from tests.attacks.market import market, rare_item
from tests.logs import log


def attacked(kind: str, *, data: Dataset | None = None, seed: int = 0, **more: float) -> Attacked:
    data = market() if data is None else data
    return inject(data, Attack(kind=kind, **more), rare_item(data), rng=np.random.default_rng(seed))


@given(
    kind=st.sampled_from(sorted(KINDS)), share=st.floats(0.001, 0.2), filler=st.floats(0.001, 1), seed=st.integers(0)
)
@settings(max_examples=30)
def test_the_attacked_log_is_the_log_and_the_profiles(kind: str, share: float, filler: float, seed: int) -> None:
    data = market()
    result = attacked(kind, share=share, filler=filler, seed=seed)
    after, new = result.data, result.injected
    for name in ("user", "item", "time", "value"):
        np.testing.assert_array_equal(getattr(after, name)[~new], getattr(data, name))
    assert (np.diff(after.time) >= 0).all()
    assert after.time[-1] == data.time[-1]
    assert after.users.ids(np.arange(data.n_users)) == data.users.ids(np.arange(data.n_users))
    assert len(result.attackers) == max(round(share * data.n_users), 1)
    pairs = np.column_stack([after.user[new], after.item[new]])
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    others = len(np.unique(data.item)) - 1
    n_filler = min(max(round(filler * (others + 1)), 1), others)
    np.testing.assert_array_equal(np.bincount(after.user[new])[result.attackers], n_filler + 1)
    of_target = after.item[new] == result.target
    np.testing.assert_array_equal(np.sort(after.user[new][of_target]), result.attackers)
    assert after.value is not None
    assert (after.value[new][of_target] == 5).all()
    assert set(after.value[new]) <= {1, 2, 3, 4, 5}


def test_average_and_love_hate_rate_as_they_are_named() -> None:
    result = attacked("average", share=1.0, filler=0.5)
    known = rating_statistics(market())
    value, item = result.data.value, result.data.item
    assert value is not None
    mean = dict(zip(known.items.tolist(), known.mean, strict=True))
    own = result.injected & (item != result.target)
    expected = np.array([mean[i] for i in item[own].tolist()])
    assert np.corrcoef(value[own], expected)[0, 1] > 0.3
    assert abs(value[own].mean() - expected.mean()) < 0.1
    result = attacked("love-hate")
    assert result.data.value is not None
    assert (result.data.value[result.injected & (result.data.item != result.target)] == 1).all()


def test_random_rates_around_the_overall_mean_and_average_over_popular_chooses_popular_items() -> None:
    known = rating_statistics(market())
    result = attacked("random", share=1.0, filler=0.5)
    own = result.injected & (result.data.item != result.target)
    assert result.data.value is not None
    assert abs(result.data.value[own].mean() - known.overall_mean) < 0.1
    assert np.isin(known.items[known.items != result.target], result.data.item[own]).all()
    result = attacked("average-over-popular", share=0.2)
    chosen = result.data.item[result.injected & (result.data.item != result.target)]
    assert set(chosen) == set(known.items[known.items != result.target][: round(0.2 * (len(known.items) - 1))])


def test_bandwagon_rates_the_most_popular_items_highest() -> None:
    result = attacked("bandwagon", filler=0.1)
    most = rating_statistics(market()).items[:5]
    for attacker in result.attackers:
        own = result.data.user == attacker
        assert result.data.value is not None
        assert (result.data.value[own & np.isin(result.data.item, most)] == 5).sum() == 5


def test_a_log_without_times_and_one_without_ratings() -> None:
    timeless = replace(market(), order="none", time=np.zeros_like(market().time))
    result = attacked("random", data=timeless)
    assert (result.data.time == 0).all()
    assert result.injected[len(timeless) :].all()
    plain = replace(market(), value=None, values="none", positive_from=-np.inf)
    assert attacked("bandwagon", data=plain).data.value is None
    plays = replace(market(), values="strength", positive_from=-np.inf)
    values = attacked("random", data=plays).data.value
    assert values is not None
    assert np.isfinite(values).all()
    for kind in ("average", "love-hate"):
        with pytest.raises(InputError, match=r"no ratings.*--kind random"):
            attacked(kind, data=plain)


def test_further_columns_are_unknown_for_attackers() -> None:
    data = log([("a", "x", 1, 5.0), ("b", "y", 2, 3.0)], columns={"position": np.array([1.0, 2.0], np.float32)})
    after = inject(data, Attack(kind="random", share=0.5), 0, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(after.data.columns["position"]), after.injected)


@pytest.mark.parametrize("wrong", [{"kind": "nuke"}, {"share": 0.0}, {"share": np.nan}, {"filler": 1.5}])
def test_impossible_attacks_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Attack(**wrong)  # type: ignore[arg-type]
