"""What towers read: rows, histories and features as codes and numbers. Plain arrays, no torch.

Everything learnt here is arrays by name, so that it is saved with a model: `<side>_codes.<feature>` says which row of
an embedding stands for a category, `<side>_scale.<feature>` how numbers are standardised, `<side>_edges.<feature>`
where they are cut into bands. A side is "user" or "item". Code 0 is always "not known".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit

from pasand.data.features import Feature, Features
from pasand.errors import InputError
from pasand.types import Array, Arrays, Mask, Rows

READ = ("categorical", "bag", "number", "vector")
"""Kinds of features that can be read; texts need an encoder first, and times say nothing without a "now"."""
SHARED_BY = 2
"""Users or items that must share a category before it gets a code; one that nobody shares is an id in disguise."""
FARTHEST = 10.0
"""Standard deviations beyond which a number counts as that far."""


def chosen(features: Features, names: Sequence[str] | None, where: str) -> dict[str, Feature]:
    """Return the features of these names, or all that can be read (None).

    Raises InputError for a name that is not there or is of a kind that cannot be read.
    """
    readable = {name: feature for name, feature in features.items() if feature.kind in READ}
    if names is None:
        return readable
    for name in names:
        if name not in readable:
            cause = f"of kind {features[name].kind}, which is not read" if name in features else "no such feature"
            cure = f"choose from: {', '.join(sorted(readable)) or '(there are none)'}"
            raise InputError(where, value=name, cause=cause, cure=cure)
    return {name: readable[name] for name in names}


def numbered(used: Mask) -> Array:
    """Return codes 1, 2, ... for the rows that are used, 0 for the others; (n,) int64.

    >>> numbered(np.array([True, False, True]))
    array([1, 0, 2])
    """
    codes: Array = np.where(used, np.cumsum(used), 0).astype(np.int64)
    return codes


def codes_of(rows: Rows, codes: Array) -> Array:
    """Return the code of each row, 0 for rows outside the table; (...) -> (...) int64.

    >>> codes_of(np.array([1, -1, 7], np.int32), np.array([0, 5]))
    array([5, 0, 0])
    """
    found: Array = _codes_of(_narrow(rows).reshape(-1), codes).reshape(rows.shape)
    return found


def recent(rows: Rows, codes: Array, n: int) -> Array:
    """Return the codes of each row's last n items that have one, oldest first, 0 before them; (B, H) -> (B, n).

    >>> recent(np.array([[3, -1, 0, 1]], np.int32), np.array([1, 2, 0, 3]), 2)
    array([[1, 2]])
    """
    found: Array = _recent(_narrow(rows), codes, n)
    return found


def _narrow(rows: Rows) -> Rows:
    """Return rows as int32, so that kernels are compiled for one type; what is too large for it stays so."""
    if rows.dtype != np.int32:
        rows = np.minimum(rows, np.iinfo(np.int32).max).astype(np.int32)
    return np.ascontiguousarray(rows)


@njit(cache=True, nogil=True)
def _codes_of(rows: Rows, codes: Array) -> Array:
    found = np.zeros(len(rows), np.int64)
    for n in range(len(rows)):
        if 0 <= rows[n] < len(codes):
            found[n] = codes[rows[n]]
    return found


@njit(cache=True, nogil=True)
def _recent(rows: Rows, codes: Array, n: int) -> Array:
    found = np.zeros((len(rows), n), np.int64)
    for b in range(len(rows)):
        at = n
        for h in range(rows.shape[1] - 1, -1, -1):
            if at and 0 <= rows[b, h] < len(codes) and codes[rows[b, h]] > 0:
                at -= 1
                found[b, at] = codes[rows[b, h]]
    return found


def learn(side: str, features: Features, rows: Rows, bands: int = 0) -> dict[str, Array]:
    """Return what `read` needs for these features, learnt from the rows (of users or items) that have likings.

    Categories that fewer than `SHARED_BY` of the rows have, and features that none of them knows, are left out.
    Numbers are standardised, or cut into so many bands of equal size, each of which is then a category.
    """
    learnt: dict[str, Array] = {}
    for name, feature in features.items():
        values = feature.take(rows)
        if feature.kind in ("categorical", "bag"):
            table = values.reshape(len(rows), -1)
            count = np.zeros(len(feature.names), np.int64)
            if len(rows):
                for column in table.T:
                    count += np.bincount(column[column >= 0], minlength=len(count))[: len(count)]
            codes = numbered(count >= SHARED_BY)
            if codes.any():
                learnt[f"{side}_codes.{name}"] = codes
                learnt[f"{side}_width.{name}"] = np.array([table.shape[1]])
        elif feature.kind == "number" and bands:
            known = values[np.isfinite(values)]
            if len(known):
                edges = np.unique(np.quantile(known, np.arange(1, bands) / bands)).astype(np.float32)
                learnt[f"{side}_edges.{name}"] = edges
        else:
            table = values.reshape(len(rows), -1).astype(np.float64)
            table[~np.isfinite(table).all(axis=1)] = np.nan
            known = table[~np.isnan(table).any(axis=1)]
            if len(known) and known.std(axis=0).any():
                spread = known.std(axis=0)
                scale = np.stack([known.mean(axis=0), np.where(spread > 0, spread, 1)])
                learnt[f"{side}_scale.{name}"] = scale.astype(np.float32)
    return learnt


def parts(side: str, learnt: Arrays) -> dict[str, int]:
    """Return the inputs that `read` gives: codes by their largest code, numbers by minus their width; sorted by name.

    >>> parts("user", {"user_codes.city": np.array([0, 1, 2]), "user_scale.age": np.ones((2, 1))})
    {'user.age': -2, 'user.city': 2}
    """
    found = {}
    for key, values in learnt.items():
        kind, _, name = key.partition(".")
        if kind == f"{side}_codes":
            found[f"{side}.{name}"] = int(values.max())
        elif kind == f"{side}_edges":
            found[f"{side}.{name}"] = len(values) + 1
        elif kind == f"{side}_scale":
            found[f"{side}.{name}"] = -(values.shape[1] + 1)
    return dict(sorted(found.items()))


def read(side: str, learnt: Arrays, features: Mapping[str, Array], n: int) -> dict[str, Array]:
    """Return the inputs of n users or items from their features, coded as in the dataset.

    Codes are (n, L) int64, numbers (n, D + 1) float32: standardised, 0 where not known, and at last 1 where known.
    Features that were not learnt are ignored, those not given count as not known, and so do codes of categories that
    training did not see; numbers `FARTHEST` deviations away count as that far. Raises InputError for values that are no
    whole numbers where codes are read, or no numbers, and for a vector of another width than in training.
    """
    inputs: dict[str, Array] = {}
    for name in _names(side, learnt):
        key, values = f"{side}.{name}", features.get(name)
        if f"{side}_codes.{name}" in learnt:
            width = int(learnt[f"{side}_width.{name}"][0])
            inputs[key] = _codes(values, learnt[f"{side}_codes.{name}"], width, n, key)
        elif f"{side}_edges.{name}" in learnt:
            inputs[key] = _bands(values, learnt[f"{side}_edges.{name}"], n, key)
        else:
            inputs[key] = _numbers(values, learnt[f"{side}_scale.{name}"], n, key)
    return inputs


def _names(side: str, learnt: Arrays) -> list[str]:
    """Return the names of the features that are read, sorted."""
    kinds = tuple(f"{side}_{kind}." for kind in ("codes", "edges", "scale"))
    return sorted(key.partition(".")[2] for key in learnt if key.startswith(kinds))


def anything(inputs: Mapping[str, Array], n: int) -> Mask:
    """Return which of n rows of `read` know anything at all; (n,)."""
    known = np.zeros(n, np.bool_)
    for values in inputs.values():
        known |= (values > 0).any(axis=1) if values.dtype == np.int64 else values[:, -1] > 0
    return known


def _codes(values: Array | None, codes: Array, width: int, n: int, where: str) -> Array:
    if values is None:
        return np.zeros((n, width), np.int64)
    given = np.asarray(values)
    if given.dtype.kind not in "iu":
        cause = f"codes of categories are whole numbers, these are of type {given.dtype}"
        raise InputError(where, value=_some(given), cause=cause, cure="code them as in the data; -1 is not known")
    return recent(given.reshape(n, -1) if n else given.reshape(0, 1), codes, width)


def _bands(values: Array | None, edges: Array, n: int, where: str) -> Array:
    if values is None:
        return np.zeros((n, 1), np.int64)
    numbers = _floats(values, n, where)
    if numbers.shape[1] != 1 and n:
        raise InputError(where, cause=f"{numbers.shape[1]} numbers where one is read", cure="give one for each")
    return np.where(np.isnan(numbers), 0, np.searchsorted(edges, numbers, side="right") + 1)


def _numbers(values: Array | None, scale: Array, n: int, where: str) -> Array:
    out = np.zeros((n, scale.shape[1] + 1), np.float32)
    if values is None:
        return out
    numbers = _floats(values, n, where) if n else out[:, :-1]
    if numbers.shape[1] != scale.shape[1]:
        cause = f"a vector of {numbers.shape[1]} numbers, but {scale.shape[1]} in training"
        raise InputError(where, cause=cause, cure="give vectors from the encoder that was used in training")
    known = np.isfinite(numbers).all(axis=1)
    standard = (numbers[known] - scale[0]) / scale[1]
    out[known, :-1] = np.clip(standard, -FARTHEST, FARTHEST)
    out[known, -1] = 1
    return out


def _floats(values: Array, n: int, where: str) -> Array:
    """Return numbers as (n, D) float32; what is too large for it is infinite, and so not known."""
    try:
        with np.errstate(over="ignore"):
            given = np.asarray(values).astype(np.float32)
    except (TypeError, ValueError):
        raise InputError(
            where, value=_some(values), cause="not a number", cure="give numbers; nan is not known"
        ) from None
    return given.reshape(n, -1) if n else given.reshape(0, 1)


def _some(values: Array) -> object:
    flat = np.asarray(values).reshape(-1)
    return flat[0].item() if len(flat) and hasattr(flat[0], "item") else flat[0] if len(flat) else None
