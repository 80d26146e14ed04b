"""Conversion between JSON values and features, and filters by feature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.data.packed_texts import packed_or_none
from pasand.serving.schemas import Between, RequestError, Scalar
from pasand.types import Array, Mask


def parse_features(values: Mapping[str, Any], known: Features, where: str) -> tuple[dict[str, Feature], list[str]]:
    """Return JSON values as features of one row, coded as the known ones, and notes on what was ignored.

    A category that the bundle does not know becomes a missing value. Raises RequestError, at a field below `where`, for
    an unknown feature and for a value that does not fit the feature's kind.
    """
    features, notes = {}, []
    for name, value in values.items():
        if name not in known:
            names = ", ".join(list(known)[:20]) or "none"
            raise RequestError(
                422, "unknown_feature", f"there is no feature {name!r}; there are: {names}", f"{where}.{name}"
            )
        feature = _feature(value, known[name], f"{where}.{name}")
        try:
            features[name], unknown = feature.coded_as(known[name])
        except ValueError as error:
            raise RequestError(422, "invalid", str(error), f"{where}.{name}") from None
        notes += [f"{name} {category!r} is unknown and was ignored" for category in unknown]
    return features, notes


def feature_to_json(feature: Feature, row: int) -> Any:
    """Return the value of one row as JSON represents it; None if missing."""
    if row >= len(feature):
        return None
    value = feature.values[row]
    if feature.kind == "categorical":
        return feature.names[value] if value >= 0 else None
    if feature.kind == "bag":
        return [feature.names[code] for code in value.tolist() if code >= 0]
    if feature.kind == "number":
        return None if np.isnan(value) else float(value)
    if feature.kind == "time":
        return None if value == TIME_UNKNOWN else int(value)
    if feature.kind == "vector":
        return None if np.isnan(value).any() else value.tolist()
    return str(value) or None


def filter_mask(feature: Feature, wanted: Scalar | list[Scalar] | Between, where: str) -> Mask:
    """Return the mask of the rows that pass a filter, (N,): one of several values, or a range of numbers or times.

    Raises RequestError, at the field `where`, if the filter does not suit the kind of the feature.
    """
    if isinstance(wanted, Between):
        if feature.kind not in ("number", "time"):
            raise RequestError(422, "invalid", f"min and max are for numbers and times, this is {feature.kind}", where)
        low, high = -math.inf if wanted.min is None else wanted.min, math.inf if wanted.max is None else wanted.max
        values: Any = feature.values
        return np.asarray((values >= low) & (values <= high) & ~feature.is_missing(), np.bool_)
    values = wanted if isinstance(wanted, list) else [wanted]
    if feature.kind in ("categorical", "bag"):
        names = {str(value) for value in values}
        codes = np.array([code for code, name in enumerate(feature.names) if name in names], np.int32)
        hit: Mask = np.isin(feature.values, codes)
        return hit if hit.ndim == 1 else np.asarray(hit.any(axis=1), np.bool_)
    if feature.kind in ("number", "time"):
        numbers = [value for value in values if isinstance(value, int | float)]
        if len(numbers) < len(values):
            raise RequestError(422, "invalid", f"numbers are required, since this is {feature.kind}", where)
        return _is_any_of(feature.values, numbers)
    if feature.kind == "text":
        wanted_texts, texts = [str(value) for value in values], packed_or_none(feature.values)
        if texts is not None:
            return texts.isin(wanted_texts)
        return np.isin(feature.values, np.array(wanted_texts, np.dtypes.StringDType()))
    raise RequestError(422, "invalid", "vectors cannot be filtered by", where)


def _is_any_of(values: Array, numbers: list[int | float]) -> Mask:
    """Return whether each value is one of the numbers, (N,); a number that the values' type cannot hold is none."""
    if np.issubdtype(values.dtype, np.integer):
        info = np.iinfo(values.dtype)
        wanted = np.array([int(one) for one in numbers if info.min <= one <= info.max and one == int(one)], np.int64)
        return np.isin(values, wanted)
    with np.errstate(over="ignore"):
        return np.isin(values, np.array(numbers, np.float64).astype(values.dtype))


def _feature(value: Any, known: Feature, where: str) -> Feature:
    """Return one value as a feature of one row and of the known one's kind; raises RequestError if it does not fit."""
    values = value if isinstance(value, list) else [value]
    if known.kind not in ("bag", "vector") and len(values) != 1:
        raise RequestError(422, "invalid", f"one value is required, got {len(values)}", where)
    if known.kind == "bag":
        names = tuple(dict.fromkeys(str(one) for one in values))
        return Feature(kind="bag", values=np.arange(len(names), dtype=np.int32)[None, :], names=names)
    if known.kind == "categorical":
        return Feature(kind="categorical", values=np.zeros(1, np.int32), names=(str(values[0]),))
    if known.kind == "text":
        return Feature(kind="text", values=np.array([str(values[0])], np.dtypes.StringDType()))
    if known.kind == "time":
        return Feature(kind="time", values=np.array([_seconds(values[0], where)], np.int64))
    try:
        numbers = [float(one) for one in values if isinstance(one, int | float)]
    except OverflowError:
        raise RequestError(422, "invalid", "the number is too large", where) from None
    if len(numbers) < len(values):
        raise RequestError(422, "invalid", f"a number is required, got {values[0]!r}", where)
    with np.errstate(over="ignore"):
        array: Array = np.array(numbers, np.float32)
    if not np.isfinite(array).all():
        raise RequestError(422, "invalid", "the number is too large", where)
    return Feature(kind=known.kind, values=array if known.kind == "number" else array[None, :])


def _seconds(value: Any, where: str) -> int:
    """Return seconds since 1970, given a number of them or an ISO 8601 date or time (UTC if it names no zone).

    Raises RequestError for other values.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e11:
        return int(value)
    try:
        time = datetime.fromisoformat(str(value))
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise RequestError(422, "invalid", "neither seconds since 1970 nor an ISO date", where) from None
