"""Conditions on features: which rows have one of several values, or a value in a range; for filters and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pasand.data.features import Feature
from pasand.data.packed_texts import packed_or_none
from pasand.types import Array, Mask


def is_between(feature: Feature, low: float, high: float) -> Mask:
    """Return whether each row of numbers or times is in a range, both ends included, (N,); False where it is missing.

    Raises ValueError for a feature of another kind.
    """
    if feature.kind not in ("number", "time"):
        raise ValueError(f"min and max are for numbers and times, this is {feature.kind}")
    values: Any = feature.values
    return np.asarray((values >= low) & (values <= high) & ~feature.is_missing(), np.bool_)


def is_any_of(feature: Feature, wanted: Sequence[str | int | float | bool]) -> Mask:
    """Return whether each row has one of the values, (N,); of a bag, whether one of its categories is among them.

    Raises ValueError for vectors, and for a value that is not a number where the feature is of numbers or times.
    """
    if feature.kind in ("categorical", "bag"):
        names = {str(value) for value in wanted}
        codes = np.array([name in names for name in feature.names] + [False], np.bool_)
        if feature.kind == "categorical":
            return codes[feature.values]
        hits = np.append(0, np.cumsum(codes[feature.bags.codes]))
        return np.diff(hits[feature.bags.start]) > 0
    if feature.kind in ("number", "time"):
        numbers = [value for value in wanted if isinstance(value, int | float)]
        if len(numbers) < len(wanted):
            raise ValueError(f"numbers are required, since this is {feature.kind}")
        return _is_number(feature.values, numbers)
    if feature.kind == "text":
        wanted_texts, texts = [str(value) for value in wanted], packed_or_none(feature.values)
        if texts is not None:
            return texts.isin(wanted_texts)
        return np.isin(feature.values, np.array(wanted_texts, np.dtypes.StringDType()))
    raise ValueError("vectors cannot be filtered by")


def _is_number(values: Array, numbers: list[int | float]) -> Mask:
    """Return whether each value is one of the numbers, (N,); a number that the values' type cannot hold is none."""
    if np.issubdtype(values.dtype, np.integer):
        info = np.iinfo(values.dtype)
        wanted = np.array([int(one) for one in numbers if info.min <= one <= info.max and one == int(one)], np.int64)
        return np.isin(values, wanted)
    with np.errstate(over="ignore"):
        return np.isin(values, np.array(numbers, np.float64).astype(values.dtype))
