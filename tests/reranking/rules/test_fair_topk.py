"""Tables of FA*IR: their failure probability against simulation, against the next step, and in published cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from pasand.reranking.rules.fair_topk import _table, _tails, failure_probability, minimum_counts
from pasand.reranking.rules.groups import Rule
from pasand.reranking.rules.rules import Rules
from tests.reranking.rules.test_rules import candidates_of, groups_of, queries


@pytest.mark.parametrize("pool", [0, 60])
@pytest.mark.parametrize("significance", [0.01, 0.1, 0.2])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 10, 40])
def test_the_table_keeps_the_significance_and_the_next_step_does_not(
    k: int, share: float, significance: float, pool: int
) -> None:
    table, failure = minimum_counts(k, share, significance, pool=pool)
    assert failure <= significance
    assert failure == pytest.approx(failure_probability(table, share, pool=pool), abs=1e-15)
    assert (np.diff(table) >= 0).all()
    assert (np.diff(table) <= 1).all()
    tables = [_table(k, share, pool, step) for step in np.unique(_tails(k, share, pool, 1.0))]
    stricter = [one for one in tables if (one >= table).all() and (one > table).any()]
    assert all(failure_probability(one, share, pool=pool) > significance for one in stricter[:1])


def test_failure_probabilities_are_those_of_simulation() -> None:
    rng = np.random.default_rng(0)
    table, failure = minimum_counts(20, 0.4, 0.15)
    count = np.cumsum(rng.random((200_000, 20)) < 0.4, axis=1)
    assert (count < table).any(axis=1).mean() == pytest.approx(failure, abs=0.003)
    table, failure = minimum_counts(20, 0.4, 0.15, pool=50)
    urn = np.repeat([1, 0], [20, 30])
    count = np.cumsum(rng.permuted(np.tile(urn, (100_000, 1)), axis=1)[:, :20], axis=1)
    assert (count < table).any(axis=1).mean() == pytest.approx(failure, abs=0.004)


def test_a_table_without_adjustment_is_the_quantile() -> None:
    """Significance .1 and p = .5 are those of Table 2 of the paper; LensKit tests its positions 4, 7 and 9 as well."""
    assert _table(12, 0.5, 0, 0.1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4]
    slots = np.arange(1, 31)
    for share in (0.1, 0.37, 0.8):
        np.testing.assert_array_equal(_table(30, share, 0, 0.07), binom.ppf(0.07, slots, share))
    np.testing.assert_array_equal(_table(30, 0.4, 50, 0.07), hypergeom.ppf(0.07, 50, 20, slots))


def test_published_failure_probabilities_are_reproduced_and_one_exceeds_its_significance() -> None:
    """Tables for k = 20, p = .25 and significance .1 in README.md of github.com/fair-search/fairsearch-fair-python.

    The second is its adjusted table, and fails with .105 although .1 is wanted. The probability published for the first
    leaves out position 20, where that table rises to 3.
    """
    unadjusted = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]
    adjusted = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert _table(20, 0.25, 0, 0.1).tolist() == unadjusted
    assert failure_probability(np.array(unadjusted[:19]), 0.25) == pytest.approx(0.11517506930977106, abs=1e-14)
    assert failure_probability(np.array(adjusted), 0.25) == pytest.approx(0.10515247355215251, abs=1e-14)
    assert minimum_counts(20, 0.25, 0.1)[1] <= 0.1


def test_a_rule_with_a_significance_follows_the_table() -> None:
    rule = Rule(name="c", where={"group": "c"}, min_share=0.5, significance=0.1)
    others = [item for item in range(30) if item % 3 != 2][:10]
    found = Rules(groups_of(rule))(queries(1, 10), candidates_of([[*others, 2, 5, 8, 11]]))
    count = np.cumsum(found.items[0] % 3 == 2)
    assert count.tolist() == minimum_counts(10, 0.5, 0.1)[0].tolist()


@pytest.mark.parametrize("arguments", [(0, 0.5, 0.1), (5, 0.0, 0.1), (5, 1.0, 0.1), (5, 0.5, 0.0), (5, 0.5, 1.0)])
def test_impossible_arguments_are_refused(arguments: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        minimum_counts(*arguments)
    with pytest.raises(ValueError, match="pool must be at least k"):
        minimum_counts(5, 0.5, 0.1, pool=4)
