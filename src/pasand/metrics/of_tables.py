"""Metrics of any recommendations, given as a table, against a table of what was chosen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from pasand.data.dataset import Dataset
from pasand.data.encoding.cells import as_ids, as_numbers, is_missing, plain
from pasand.data.relevance import Relevance
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.metrics.names import metrics
from pasand.sources import frames
from pasand.types import Candidates, Rows

logger = logging.getLogger(__name__)


def means_of_tables(recommendations: Any, truth: Any, names: str | Sequence[str] = "ndcg@10") -> dict[str, float]:
    """Return the means over users of metrics of any recommendations, against the items that each user chose.

    Both tables have columns user_id and item_id, or names as in a log; recommendations also have rank (1 is best) or
    score (higher is better), or else are in order; what has neither is last. Users of `truth` without recommendations
    count with an empty list, and users without truth are left out. A metric that no user defines is nan. A warning is
    logged if the tables have no item in common. Raises InputError if they have no user in common, for a missing column
    or id, a rank or score that is no number, an item twice in a list, an empty truth, and for a metric that needs more
    than lists.
    """
    names = [names] if isinstance(names, str) else names
    shown = _pairs(recommendations, "recommendations")
    chosen_items = _pairs(truth, "truth").select("user", "item").unique(maintain_order=True)
    if not len(chosen_items):
        raise InputError("truth", cause="the table has no rows", cure="give a row for each item that a user chose")
    if different := _without_match(shown["user"], chosen_items["user"]):
        cause = f"none of its users is in truth, {different}"
        raise InputError("recommendations", cause=cause, cure="write the ids of both in the same way")
    if different := _without_match(shown["item"], chosen_items["item"]):
        logger.warning("no recommended item is in truth, %s: are the ids of both written in the same way?", different)
    users = Vocabulary(chosen_items["user"])
    items = Vocabulary(pl.concat([shown["item"], chosen_items["item"]]))
    shown = shown.filter(pl.col("user").is_in(chosen_items["user"].implode()))
    if shown.select("user", "item").is_duplicated().any():
        twice = shown.filter(shown.select("user", "item").is_duplicated())
        where = f"user {twice['user'][0]!r}"
        raise InputError("recommendations", value=twice["item"][0], cause=f"twice in the list of {where}", cure="once")
    listed = _lists(shown, users, items)
    relevant = _lists(chosen_items.with_columns(order=pl.lit(0.0)), users, items)
    candidates = Candidates(
        items=listed, scores=np.where(listed >= 0, -np.arange(listed.shape[1], dtype=np.float32), np.float32(-np.inf))
    )
    truth_lists = Relevance(
        items=relevant,
        gains=np.ones(relevant.shape, np.float32),
        catalogue=np.full(len(users), len(items), np.int32),
    )
    found = metrics(names, _empty(users, items))
    if found.runs or found.ratings:
        wrong = next(iter([*found.runs, *found.ratings]))
        raise InputError("metrics", value=wrong, cause="it needs more than lists", cure="use pasand.compare")
    by_user = {name: np.asarray(metric(candidates, truth_lists)) for name, metric in found.lists.items()}
    return {name: np.nan if np.isnan(values).all() else float(np.nanmean(values)) for name, values in by_user.items()}


def _empty(users: Vocabulary, items: Vocabulary) -> Dataset:
    nothing = np.zeros(0, np.int32)
    return Dataset(
        name="", users=users, items=items, user=nothing, item=nothing, time=np.zeros(0, np.int64), value=None
    )


def _pairs(table: Any, what: str) -> pl.DataFrame:
    """Return columns user, item and order, the lower the better."""
    frame = frames.as_polars(table)
    roles = frames.roles(frame, what)
    ranked = next(((sign, name) for name, sign in (("rank", 1), ("score", -1)) if name in frame.columns), None)
    return frame.select(
        _ids(frame, roles["user"], what).alias("user"),
        _ids(frame, roles["item"], what).alias("item"),
        order=pl.int_range(pl.len()) if ranked is None else ranked[0] * _numbers(frame, ranked[1], what),
    )


def _ids(frame: pl.DataFrame, column: str, what: str) -> pl.Series:
    """Return a column of ids as text; raises InputError where one is missing."""
    ids = as_ids(frame[column])
    if ids.null_count():
        row, cure = ids.is_null().arg_true()[0] + 1, "leave out the rows without an id"
        raise InputError(what, row=row, column=column, cause="there is no id", cure=cure)
    return ids


def _numbers(frame: pl.DataFrame, column: str, what: str) -> pl.Series:
    """Return a column as numbers, null where it is missing; raises InputError where it is something else."""
    cells = plain(frame.select(column)).to_series()
    if cells.dtype.is_numeric():
        return as_numbers(cells)
    numbers = (
        as_numbers(cells) if cells.dtype == pl.String else pl.repeat(None, len(cells), dtype=pl.Float64, eager=True)
    )
    wrong = (numbers.is_null() & ~is_missing(cells)).arg_true()
    if len(wrong):
        row, cure = wrong[0], f"make the column {column} numeric"
        raise InputError(what, row=row + 1, column=column, value=cells.to_list()[row], cause="not a number", cure=cure)
    return numbers


def _without_match(shown: pl.Series, chosen: pl.Series) -> str:
    """Return an example of each column if they have no id in common, "" if they have or one is empty."""
    if not len(shown) or shown.is_in(chosen.implode()).any():
        return ""
    return f"{shown[0]!r} against {chosen[0]!r}"


def _lists(pairs: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> Rows:
    """Return the items of each user in order, (U, K), padded with -1."""
    ordered = pairs.sort("order", nulls_last=True, maintain_order=True)
    user, item = users.rows(ordered["user"]), items.rows(ordered["item"])
    by_user = np.argsort(user, kind="stable")
    user, item = user[by_user], item[by_user]
    counts = np.bincount(user, minlength=len(users))
    position = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    lists = np.full((len(users), max(1, int(counts.max(initial=0)))), -1, np.int32)
    lists[user, position] = item
    return lists
