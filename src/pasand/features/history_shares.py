"""How a history is spread over the categories of an item feature, such as the language: a vector for each query.

A user who watched four Tamil films and one in Hindi has 80 % Tamil. Shares are smoothed by `SHRINKAGE` events of a
prior: the categories that the user declared, where users have a feature of that name, else the shares of all users.
They are computed from the events of the query's history alone: they follow a live history without training, and an
example of training has the shares of the events before it. Plain arrays, no torch.

Learnt arrays, here of the column "language": "history_code.language" and "history_weight.language" (T,), the categories
of the items and their weights, item after item, by the offsets "history_start.language" (N + 1,);
"history_names.language", the category of each name; "history_prior.language" (C,), the shares of all users;
"history_declared.language", the category of each name of the users' feature, or "history_alias.language" where that has
the name in `ALIASES`. "history_settings" (4,): half-life in seconds, 0 for none; threshold of positives; median
strength, 0 for none; number of events of the prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features
from pasand.errors import InputError
from pasand.features import strengths
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Mask, Offsets, Queries, Rows, Times

Values = NDArray[np.float64]

SHRINKAGE = 5.0
"""Events of the prior that are added to each history."""
MAX_CATEGORIES = 64
"""Categories of a column at most: with more names, the most frequent ones have one each, and the others share one."""
DAY = 86_400
MAX_HALF_LIVES = 500.0
"""Half-lives by which an event is later than its query at most, so that no weight overflows."""
INPUT = "share."
"""How the names of the inputs begin."""
ALIASES = {"language": "languages", "languages": "language"}
"""Users may declare `languages` where items have a `language`."""


def check_options(names: Sequence[str], half_life_days: float | None) -> None:
    """Raise ValueError for a name that is given twice, and for a half-life that is not above 0."""
    if len(set(names)) < len(names):
        raise ValueError(f"history_shares must be different item features, got {list(names)}")
    if half_life_days is not None and not 0 < half_life_days < np.inf:
        raise ValueError(f"half_life_days must be positive and finite, got {half_life_days}")


def columns(learnt: Arrays) -> list[str]:
    """Return the names of the columns that were learnt, sorted."""
    return sorted(name.removeprefix("history_prior.") for name in learnt if name.startswith("history_prior."))


def learn(data: Dataset, names: Sequence[str], half_life_days: float | None) -> dict[str, Array]:
    """Return the arrays by which histories become shares of the categories of these item features; {} for no names.

    Strengths of events weigh as log2(1 + r / median) (`strengths`). Without times (`Dataset.order` other than "time")
    the half-life has no effect. Raises InputError for a feature that items do not have or that is not of categories.
    """
    learnt: dict[str, Array] = {}
    for name in names:
        learnt |= _learn_column(data, name, _column(data, name))
    if learnt:
        value = data.positives().value if data.values == "strength" else None
        unit = 0.0 if value is None else strengths.median(value)
        seconds = half_life_days * DAY if half_life_days and data.order == "time" else 0.0
        learnt["history_settings"] = np.array([seconds, data.positive_from, unit, SHRINKAGE])
    return learnt


def check_learnt(learnt: Arrays, n_items: int) -> None:
    """Raise ValueError for arrays that `learn` cannot have returned, KeyError for a missing one."""
    for name in columns(learnt):
        layout = {
            f"history_code.{name}": Entry("int32", "T", lowest=0, below="C"),
            f"history_weight.{name}": Entry("float64", "T", lowest=0),
            f"history_start.{name}": Entry("int64", "N+1", rises_to="T"),
            f"history_names.{name}": Entry("int32", "*", lowest=0, below="C"),
            f"history_prior.{name}": Entry("float64", "C", lowest=0),
            f"history_declared.{name}": Entry("int64", "*", lowest=-1, below="C", optional=True),
            f"history_alias.{name}": Entry("int64", "*", lowest=-1, below="C", optional=True),
            "history_settings": Entry("float64", "4", infinite=True),
        }
        check(learnt, layout, N=n_items)


def input_sizes(learnt: Arrays) -> dict[str, int]:
    """Return minus the width of each input of `of_queries`, by its name, as `encoding.input_sizes`."""
    return {f"{INPUT}{name}": -(len(learnt[f"history_prior.{name}"]) + 1) for name in columns(learnt)}


def of_queries(learnt: Arrays, queries: Queries) -> dict[str, Array]:
    """Return the shares of each query's positive history less those of all users, (B, C + 1) float32, by input name.

    The last column is 1 where the history has an event with a category, or the user declared one; elsewhere the row is
    0. Only `history`, `history_time`, `history_value`, `time` and the declared categories are read.
    """
    if not columns(learnt):
        return {}
    b, h = queries.history.shape
    _, positive_from, unit, _ = learnt["history_settings"].tolist()
    liked = np.ascontiguousarray(queries.liked(positive_from), np.int32).reshape(-1)
    begin = np.arange(b, dtype=np.int64) * h
    events = (
        liked,
        np.ascontiguousarray(queries.history_time, np.int64).reshape(-1),
        _weights(queries.history_value, unit),
    )
    at = begin, begin + h, np.ascontiguousarray(queries.time, np.int64)
    masses = {name: _masses_of(learnt, name, events, at) for name in columns(learnt)}
    return {f"{INPUT}{name}": _input(learnt, name, mass, queries.features) for name, mass in masses.items()}


def of_examples(learnt: Arrays, data: Dataset) -> dict[str, Array]:
    """Return the inputs of each user's first positive of each item, (E, C + 1) by name, user by user, oldest first.

    They are those of a query at the time of that positive, whose history is the user's positives before it. Where the
    order of events has no meaning, it is the user's positives of other items.
    """
    if not columns(learnt):
        return {}
    positives = data.positives()
    grouped = positives.by_user
    user = positives.user[grouped.event].astype(np.int64)
    _, first, pair = np.unique(user * max(data.n_items, 1) + grouped.item, return_index=True, return_inverse=True)
    chosen = np.sort(first)
    value = None if positives.value is None else positives.value[grouped.event]
    weight = _weights(value, float(learnt["history_settings"][2]))
    events = np.ascontiguousarray(grouped.item, np.int32), positives.time[grouped.event], weight
    begin, end, time = grouped.start[user[chosen]], chosen.astype(np.int64), events[1][chosen]
    if data.order == "none":
        end = grouped.start[user[chosen] + 1]
    features = {name: feature.take(user[chosen].astype(np.int32)) for name, feature in data.user_features.items()}
    inputs = {}
    for name in columns(learnt):
        mass = _masses_of(learnt, name, events, (begin, end, time))
        if data.order == "none":
            total = np.bincount(pair, weight if len(weight) else None)[pair[chosen]]
            mass -= total[:, None] * _masses_of(
                learnt, name, (events[0], events[1], weight[:0]), (chosen, chosen + 1, time)
            )
            mass[mass < 1e-9] = 0
        inputs[f"{INPUT}{name}"] = _input(learnt, name, mass, features)
    return inputs


def extended_with_items(learnt: Arrays, features: Features, n_new: int) -> dict[str, Array]:
    """Return the arrays that have a row for each item, with `n_new` new items appended; {} without columns."""
    arrays: dict[str, Array] = {}
    for name in columns(learnt):
        feature = features.get(name)
        empty = np.empty(0, np.int32), np.empty(0), np.zeros(n_new + 1, np.int64)
        code, weight, start = empty if feature is None else table(feature, learnt[f"history_names.{name}"])
        arrays[f"history_code.{name}"] = extended(learnt[f"history_code.{name}"], code)
        arrays[f"history_weight.{name}"] = extended(learnt[f"history_weight.{name}"], weight)
        arrays[f"history_start.{name}"] = extended(
            learnt[f"history_start.{name}"], start[1:] + learnt[f"history_start.{name}"][-1]
        )
    return arrays


def known(inputs: Mapping[str, Array], n: int) -> Mask:
    """Return which of n queries have a category in their history or declared one, by their inputs; (n,)."""
    found = np.zeros(n, np.bool_)
    for name, values in inputs.items():
        if name.startswith(INPUT):
            found |= values[:, -1] > 0
    return found


def table(feature: Feature, to: Rows) -> tuple[Rows, Values, Offsets]:
    """Return the categories of the rows of a feature, (T,), their weights, which sum to 1 in a row, and offsets.

    `to` is the category of each name.
    """
    row, code = feature.members()
    count = np.bincount(row, minlength=len(feature))
    start = np.append(0, np.cumsum(count)).astype(np.int64)
    return to[code].astype(np.int32), 1.0 / count[row], start


def smoothed(mass: Values, prior: Values, shrinkage: float) -> Values:
    """Return masses, (B, C), as shares that sum to 1, with `shrinkage` events of a prior, (C,) or (B, C), added.

    >>> smoothed(np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([0.5, 0.5]), 4.0)
    array([[0.75, 0.25],
           [0.5 , 0.5 ]])
    """
    total = mass + shrinkage * prior
    shares: Values = total / np.maximum(total.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return shares


def _column(data: Dataset, name: str) -> Feature:
    usable = [other for other, one in data.item_features.items() if one.kind in ("categorical", "bag")]
    if name in usable:
        return data.item_features[name]
    cure = f"use one of: {', '.join(usable)}" if usable else "give items a column of categories"
    texts = [other for other, one in data.item_features.items() if one.kind == "text"]
    if name in ("language", "script") and texts:
        cure = f"add --encode {texts[0]}={name}, or {cure}"
    cause = "items have no such feature of categories, of which history_shares would be computed"
    raise InputError(data.name, value=name, cause=cause, cure=cure)


def _learn_column(data: Dataset, name: str, feature: Feature) -> dict[str, Array]:
    n_names = len(feature.names)
    times = np.bincount(data.item[data.is_positive], minlength=data.n_items)
    row, code = feature.members()
    mass = np.bincount(code, times[row] / np.bincount(row, minlength=data.n_items)[row], n_names)
    to = np.arange(n_names, dtype=np.int32)
    if n_names > MAX_CATEGORIES:
        to[:] = MAX_CATEGORIES - 1
        to[np.argsort(-mass, kind="stable")[: MAX_CATEGORIES - 1]] = np.arange(MAX_CATEGORIES - 1)
    prior = np.bincount(to, mass, int(to.max(initial=0)) + 1)
    codes, weight, start = table(feature, to)
    learnt: dict[str, Array] = {
        "code": codes,
        "weight": weight,
        "start": start,
        "names": to,
        "prior": prior / (prior.sum() or 1.0),
    }
    category = {one: int(to[at]) for at, one in enumerate(feature.names)}
    for part, other in (("declared", name), ("alias", ALIASES.get(name, ""))):
        of_users = data.user_features.get(other)
        if of_users is not None and of_users.kind in ("categorical", "bag"):
            learnt[part] = np.array([category.get(one, -1) for one in of_users.names], np.int64)
            break
    return {f"history_{part}.{name}": values for part, values in learnt.items()}


def _weights(value: Array | None, unit: float) -> Values:
    """Return the weights of events by their strengths, flat; (0,) where all weigh 1."""
    if value is None or not unit:
        return np.empty(0)
    return strengths.weights(value, unit, "log").astype(np.float64).reshape(-1)


def _masses_of(
    learnt: Arrays, name: str, events: tuple[Rows, Times, Values], at: tuple[Offsets, Offsets, Times]
) -> Values:
    of_items = (learnt[f"history_{part}.{name}"] for part in ("code", "weight", "start"))
    half_life = float(learnt["history_settings"][0])
    found: Values = masses(*events, *at, *of_items, len(learnt[f"history_prior.{name}"]), half_life)
    return found


def _input(learnt: Arrays, name: str, mass: Values, features: Mapping[str, Array]) -> Array:
    """Return the shares of masses, (B, C), less those of all users, and whether anything is known; (B, C + 1)."""
    of_all = learnt[f"history_prior.{name}"]
    declared = _declared(learnt, name, features, len(mass))
    is_declared: Mask = np.asarray(declared.any(axis=1))
    prior = np.where(is_declared[:, None], declared, of_all)
    shares = smoothed(mass, prior, float(learnt["history_settings"][3])) - of_all
    given: Mask = np.asarray(mass.any(axis=1) | is_declared)
    shares[~given] = 0
    return np.column_stack([shares, given]).astype(np.float32)


def _declared(learnt: Arrays, name: str, features: Mapping[str, Array], n: int) -> Values:
    """Return the shares of the categories that users declared, (n, C); 0 where they declared none."""
    n_codes = len(learnt[f"history_prior.{name}"])
    for part, feature in (("declared", name), ("alias", ALIASES.get(name, ""))):
        to = learnt.get(f"history_{part}.{name}")
        if to is not None and feature in features:
            return declared_shares(np.asarray(features[feature]), to, n_codes)
    return np.zeros((n, n_codes))


def declared_shares(codes: Array, to: Array, n_codes: int) -> Values:
    """Return codes of a user feature, (n,) or (n, L), as shares of categories, (n, C); 0 where there is none.

    `to` is the category of each code, -1 for none. Other codes, such as -1, are left out.

    >>> declared_shares(np.array([[0, 1], [1, -1], [9, -1]]), np.array([0, 2]), 3)
    array([[0.5, 0. , 0.5],
           [0. , 0. , 1. ],
           [0. , 0. , 0. ]])
    """
    table = codes.reshape(len(codes), -1) if codes.size else np.empty((len(codes), 0), np.int64)
    inside = (table >= 0) & (table < len(to))
    category = np.append(to, -1)[np.where(inside, table, -1)]
    shares = np.zeros((len(codes), n_codes))
    row, column = np.nonzero(category >= 0)
    np.add.at(shares, (row, category[row, column]), 1.0)
    total = shares.sum(axis=1, keepdims=True)
    np.divide(shares, total, out=shares, where=total > 0)
    return shares


@njit(cache=True, nogil=True)
def masses(
    item: Rows,
    time: Times,
    weight: Values,
    begin: Offsets,
    end: Offsets,
    at: Times,
    code: Rows,
    share: Values,
    start: Offsets,
    n_codes: int,
    half_life: float,
) -> Values:
    """Return the weight of each category in some ranges of events, (R, C): events begin[r]:end[r] as of time at[r].

    `item` and `time` (E,) are those of the events, whose items have the categories of `table`; items outside of it have
    none. `weight` is (E,), or (0,) where each weighs 1. With a half-life, in seconds above 0, an event loses half of
    its weight in that time. A range that continues the one before it costs its further events alone.
    """
    out, mass = np.zeros((len(begin), n_codes)), np.zeros(n_codes)
    following, now, is_empty = np.int64(0), np.int64(0), True
    for r in range(len(begin)):
        if r == 0 or begin[r] != begin[r - 1] or end[r] < end[r - 1]:
            for c in range(n_codes):
                mass[c] = 0.0
            following, is_empty = begin[r], True
        for e in range(following, end[r]):
            i = item[e]
            if i < 0 or i >= len(start) - 1:
                continue
            if half_life > 0:
                if not is_empty:
                    factor = 2.0 ** min((now - time[e]) / half_life, MAX_HALF_LIVES)
                    for c in range(n_codes):
                        mass[c] *= factor
                now, is_empty = time[e], False
            w = weight[e] if len(weight) else 1.0
            for t in range(start[i], start[i + 1]):
                mass[code[t]] += w * share[t]
        following = end[r]
        factor = 1.0
        if half_life > 0 and not is_empty:
            factor = 2.0 ** min((now - at[r]) / half_life, MAX_HALF_LIVES)
        for c in range(n_codes):
            out[r, c] = mass[c] * factor
    return out
