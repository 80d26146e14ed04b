"""Metrics of tables: wrong tables are refused with the cause, and what has no score is last."""

from __future__ import annotations

import math

import pandas as pd
import polars as pl
import pytest

from pasand.errors import InputError
from pasand.metrics.of_tables import means_of_tables

TRUTH = pl.DataFrame({"user_id": [42, 42, 7], "item_id": ["x", "x", "y"]})
SHOWN = pl.DataFrame({"user_id": [42, 42], "item_id": ["y", "x"]})


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_an_item_without_score_is_last(missing: float | None) -> None:
    shown = SHOWN.with_columns(score=pl.Series([missing, 0.1]))
    assert means_of_tables(shown, TRUTH, "hit_rate@1") == {"hit_rate@1": 0.5}
    ranked = SHOWN.with_columns(rank=pl.Series([missing, 3]))
    assert means_of_tables(ranked.to_pandas(), TRUTH, ["hit_rate@1"]) == {"hit_rate@1": 0.5}


def test_users_that_never_match_are_refused() -> None:
    shown = SHOWN.with_columns(user_id=pl.lit("00042"))
    with pytest.raises(InputError, match="recommendations: none of its users is in truth, '00042' against '42'"):
        means_of_tables(shown, TRUTH)
    assert means_of_tables(SHOWN.clear(), TRUTH) == {"ndcg@10": 0.0}


def test_items_that_never_match_give_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    shown = SHOWN.with_columns(item_id=pl.Series(["X", "Y"]))
    assert means_of_tables(shown, TRUTH) == {"ndcg@10": 0.0}
    assert "no recommended item is in truth, 'X' against 'x'" in caplog.text
    caplog.clear()
    means_of_tables(SHOWN, TRUTH)
    assert not caplog.messages


@pytest.mark.parametrize("truth", [TRUTH.clear(), pd.DataFrame({"user_id": [], "item_id": []})])
def test_an_empty_truth_is_refused(truth: object) -> None:
    with pytest.raises(InputError, match="truth: the table has no rows"):
        means_of_tables(SHOWN, truth)


def test_a_rank_is_a_number() -> None:
    assert means_of_tables(SHOWN.with_columns(rank=pl.Series(["2", " 1"])), TRUTH, "mrr@5") == {"mrr@5": 0.5}
    for wrong in (pl.Series(["1", "first"]), pl.Series(["1", "first"], dtype=pl.Categorical)):
        message = "recommendations, row 2, column 'rank': 'first' is wrong: not a number"
        with pytest.raises(InputError, match=message):
            means_of_tables(SHOWN.with_columns(rank=wrong), TRUTH)
    with pytest.raises(InputError, match=r"recommendations, row 1, column 'score': \[1\] is wrong: not a number"):
        means_of_tables(SHOWN.with_columns(score=pl.Series([[1], [2]])).to_pandas(), TRUTH)


def test_a_missing_id_is_refused() -> None:
    shown = SHOWN.with_columns(item_id=pl.Series(["x", None]))
    with pytest.raises(InputError, match="recommendations, row 2, column 'item_id': there is no id"):
        means_of_tables(shown, TRUTH)
    with pytest.raises(InputError, match="truth, row 2, column 'item_id': there is no id"):
        means_of_tables(SHOWN, shown)


def test_a_metric_that_no_user_defines_is_nan() -> None:
    assert math.isnan(means_of_tables(SHOWN, SHOWN, "auc")["auc"])  # every item is relevant
