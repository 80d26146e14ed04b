"""Encodes ids, histories and features as the codes and numbers that networks read. Plain arrays, no torch.

Everything learnt here is a set of named arrays, so that it is saved with a model: `<side>_codes.<feature>` maps each
category to the row of an embedding, `<side>_scale.<feature>` holds the mean and deviation by which numbers are
standardised, `<side>_edges.<feature>` the limits that cut them into bands. A side is "user" or "item". Code 0 always
means "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit

from pasand.data.features import MAX_CODES, Feature, Features
from pasand.errors import InputError
from pasand.layouts import Entry
from pasand.types import Array, Arrays, Mask, Rows

ENCODED_KINDS = ("categorical", "bag", "number", "vector")
"""Kinds of features that can be encoded; texts need a text encoder first, and times mean nothing without a "now"."""
MIN_SHARED = 2
"""Users or items that must share a category before it gets a code; one that no other shares is an id in disguise."""
MAX_DEVIATIONS = 10.0
"""Standard deviations from the mean at which numbers are clipped."""
MAX_WIDTH = 1 << 14
"""Largest number of codes of a history that are read; a recipe or bundle with a larger one is refused."""

LAYOUT = {
    f"{side}_{name}.*": entry
    for side in ("user", "item")
    for name, entry in {
        "codes": Entry("int64", "c", lowest=0, below="c+1"),
        "width": Entry("int64", "1", lowest=1, below=MAX_CODES + 1),
        "edges": Entry("float32", "*"),
        "scale": Entry("float32", "2 d"),
    }.items()
}
"""Layout of the arrays of `learn`, for both sides."""


def select_features(features: Features, names: Sequence[str] | None, where: str) -> dict[str, Feature]:
    """Return the features of these names, or all that can be encoded (None).

    Raises InputError for a name that does not exist or whose feature is of a kind that cannot be encoded.
    """
    usable = {name: feature for name, feature in features.items() if feature.kind in ENCODED_KINDS}
    if names is None:
        return usable
    for name in names:
        if name not in usable:
            cause = (
                f"of kind {features[name].kind}, which models do not read" if name in features else "no such feature"
            )
            cure = f"choose from: {', '.join(sorted(usable)) or '(there are none)'}"
            raise InputError(where, value=name, cause=cause, cure=cure)
    return {name: usable[name] for name in names}


def consecutive_codes(used: Mask) -> Array:
    """Return codes 1, 2, ... for the rows in use, 0 for the others; (n,) int64.

    >>> consecutive_codes(np.array([True, False, True]))
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


def check_history_length(length: int) -> None:
    """Raise ValueError for more items of a history than `MAX_WIDTH`, which could not be held for a batch of queries."""
    if length > MAX_WIDTH:
        raise ValueError(f"history_length must be at most {MAX_WIDTH:,}, got {length:,}")


def recent_codes(rows: Rows, codes: Array, n: int) -> Array:
    """Return the codes of each row's last n items that have one, oldest first, 0 before them; (B, H) -> (B, n).

    >>> recent_codes(np.array([[3, -1, 0, 1]], np.int32), np.array([1, 2, 0, 3]), 2)
    array([[1, 2]])
    """
    found: Array = _recent_codes(_narrow(rows), codes, n)
    return found


def _narrow(rows: Rows) -> Rows:
    """Return rows as int32, so that kernels are compiled for one type; larger values become the largest int32."""
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
def _recent_codes(rows: Rows, codes: Array, n: int) -> Array:
    found = np.zeros((len(rows), n), np.int64)
    for b in range(len(rows)):
        at = n
        for h in range(rows.shape[1] - 1, -1, -1):
            if at and 0 <= rows[b, h] < len(codes) and codes[rows[b, h]] > 0:
                at -= 1
                found[b, at] = codes[rows[b, h]]
    return found


def learn(side: str, features: Features, rows: Rows, bins: int = 0) -> dict[str, Array]:
    """Return the arrays that `encode` needs for these features, learnt from the given rows (of users or items).

    Categories that fewer than `MIN_SHARED` of the rows have, and features that are unknown for all of them, are left
    out. Of a bag the first `MAX_CODES` codes of a row are read. Numbers are standardised, or with `bins` cut into that
    many bands of equal size, each of which is then a category.
    """
    learnt: dict[str, Array] = {}
    for name, feature in features.items():
        if feature.kind in ("categorical", "bag"):
            count = np.bincount(feature.select(rows).members()[1], minlength=len(feature.names))
            codes = consecutive_codes(count[: len(feature.names)] >= MIN_SHARED)
            if codes.any():
                width = min(MAX_CODES, max(1, feature.bags.longest)) if feature.kind == "bag" else 1
                learnt[f"{side}_codes.{name}"] = codes
                learnt[f"{side}_width.{name}"] = np.array([width])
            continue
        values = feature.take(rows)
        if feature.kind == "number" and bins:
            known = values[np.isfinite(values)]
            if len(known):
                edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)).astype(np.float32)
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


def rows_like(table: Array, feature: Feature | None, n: int) -> Array:
    """Return the values of n new rows in the shape and type of a table of the same feature; missing ones for None.

    Of a longer bag or vector the first codes or numbers are kept, as many as the table has columns.
    """
    rows: Array = np.full((n, *table.shape[1:]), np.nan if table.dtype.kind == "f" else -1, table.dtype)
    if feature is None:
        return rows
    values = feature.take(np.arange(n, dtype=np.int32))
    if table.ndim == 1:
        rows[:] = values
    elif n:
        values = values.reshape(n, -1)[:, : table.shape[1]]
        rows[:, : values.shape[1]] = values
    return rows


def input_sizes(side: str, learnt: Arrays) -> dict[str, int]:
    """Return the size of each input that `encode` returns: the largest code, or minus the width of numbers; by name.

    >>> input_sizes("user", {"user_codes.city": np.array([0, 1, 2]), "user_scale.age": np.ones((2, 1))})
    {'user.age': -2, 'user.city': 2}
    """
    sizes = {}
    for key, values in learnt.items():
        kind, _, name = key.partition(".")
        if kind == f"{side}_codes":
            sizes[f"{side}.{name}"] = int(values.max())
        elif kind == f"{side}_edges":
            sizes[f"{side}.{name}"] = len(values) + 1
        elif kind == f"{side}_scale":
            sizes[f"{side}.{name}"] = -(values.shape[1] + 1)
    return dict(sorted(sizes.items()))


def encode(side: str, learnt: Arrays, features: Mapping[str, Array], n: int) -> dict[str, Array]:
    """Return the inputs of n users or items, encoded from features whose values are coded as in the dataset.

    Codes are (n, L) int64, numbers (n, D + 1) float32: standardised, 0 where unknown, with a last column of 1 where
    known and 0 elsewhere. Features that were not learnt are ignored. Features that are not given count as unknown, and
    so do codes of categories that were not in training. Numbers are clipped at `MAX_DEVIATIONS` deviations. Raises
    InputError for values that are not whole numbers where codes are expected or not numbers elsewhere, and for a
    vector of another width than in training.
    """
    inputs: dict[str, Array] = {}
    for name in _names(side, learnt):
        key, values = f"{side}.{name}", features.get(name)
        if f"{side}_codes.{name}" in learnt:
            width = int(learnt[f"{side}_width.{name}"][0])
            inputs[key] = _codes(values, learnt[f"{side}_codes.{name}"], width, n, key)
        elif f"{side}_edges.{name}" in learnt:
            inputs[key] = _bins(values, learnt[f"{side}_edges.{name}"], n, key)
        else:
            inputs[key] = _numbers(values, learnt[f"{side}_scale.{name}"], n, key)
    return inputs


def _names(side: str, learnt: Arrays) -> list[str]:
    """Return the names of the features that were learnt, sorted."""
    kinds = tuple(f"{side}_{kind}." for kind in ("codes", "edges", "scale"))
    return sorted(key.partition(".")[2] for key in learnt if key.startswith(kinds))


def any_known(inputs: Mapping[str, Array], n: int) -> Mask:
    """Return which of the n rows of `encode` have at least one known value; (n,)."""
    known = np.zeros(n, np.bool_)
    for values in inputs.values():
        known |= (values > 0).any(axis=1) if values.dtype == np.int64 else values[:, -1] > 0
    return known


def _codes(values: Array | None, codes: Array, width: int, n: int, where: str) -> Array:
    if values is None:
        return np.zeros((n, width), np.int64)
    given = np.asarray(values)
    if given.dtype.kind not in "iu":
        cause = f"codes of categories must be whole numbers, these are of type {given.dtype}"
        raise InputError(where, value=_first(given), cause=cause, cure="code them as in the data; -1 is unknown")
    return recent_codes(given.reshape(n, -1) if n else given.reshape(0, 1), codes, width)


def _bins(values: Array | None, edges: Array, n: int, where: str) -> Array:
    if values is None:
        return np.zeros((n, 1), np.int64)
    numbers = _floats(values, n, where)
    if numbers.shape[1] != 1 and n:
        cause = f"{numbers.shape[1]} numbers for each row, expected 1"
        raise InputError(where, cause=cause, cure="give one number for each row")
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
    standardised = (numbers[known] - scale[0]) / scale[1]
    out[known, :-1] = np.clip(standardised, -MAX_DEVIATIONS, MAX_DEVIATIONS)
    out[known, -1] = 1
    return out


def _floats(values: Array, n: int, where: str) -> Array:
    """Return numbers as (n, D) float32; values too large for it become infinite, and so unknown."""
    try:
        with np.errstate(over="ignore"):
            given = np.asarray(values).astype(np.float32)
    except (TypeError, ValueError):
        raise InputError(
            where, value=_first(values), cause="not a number", cure="give numbers; nan is unknown"
        ) from None
    return given.reshape(n, -1) if n else given.reshape(0, 1)


def _first(values: Array) -> object:
    """Return the first value, as an example for a message; None where there is none."""
    flat = np.asarray(values).reshape(-1)
    return flat[0].item() if len(flat) and hasattr(flat[0], "item") else flat[0] if len(flat) else None
