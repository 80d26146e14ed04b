"""Conversion between JSON values and features, and filters by feature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pasand.data.conditions import is_any_of, is_between
from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.serving.schemas import MAX_NAME, MAX_NAMES, Between, RequestError, Scalar
from pasand.types import Array, Mask


def parse_features(values: Mapping[str, Any], known: Features, where: str) -> tuple[dict[str, Feature], list[str]]:
    """Return JSON values as features of one row, coded as the known ones, and notes on what was ignored.

    A category that the bundle does not know is left out. Raises RequestError, at a field below `where`, for
    an unknown feature and for a value that does not fit the feature's kind.
    """
    features, notes = {}, []
    for name, value in values.items():
        if name not in known:
            names = ", ".join(list(known)[:20]) or "none"
            raise RequestError(
                422, "unknown_feature", f"there is no feature {name!r}; there are: {names}", f"{where}.{name}"
            )
        feature = parse_value(value, known[name], f"{where}.{name}")
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
        return [feature.names[code] for code in value.tolist()]
    if feature.kind == "number":
        return None if np.isnan(value) else float(str(value))  # 149.61, not 149.61000061035156
    if feature.kind == "time":
        return None if value == TIME_UNKNOWN else int(value)
    if feature.kind == "vector":
        return None if np.isnan(value).any() else value.tolist()
    return str(value) or None


def filter_mask(feature: Feature, wanted: Scalar | list[Scalar] | Between, where: str) -> Mask:
    """Return the mask of the rows that pass a filter, (N,): one of several values, or a range of numbers or times.

    Raises RequestError, at the field `where`, if the filter does not suit the kind of the feature.
    """
    try:
        if isinstance(wanted, Between):
            low = -math.inf if wanted.min is None else wanted.min
            return is_between(feature, low, math.inf if wanted.max is None else wanted.max)
        return is_any_of(feature, wanted if isinstance(wanted, list) else [wanted])
    except ValueError as error:
        raise RequestError(422, "invalid", str(error), where) from None


def parse_value(value: Any, known: Feature, where: str) -> Feature:
    """Return one value as a feature of one row, of the known one's kind, with categories of its own.

    Raises RequestError for a value that does not fit the kind, more than `MAX_NAMES` names or one above `MAX_NAME`.
    """
    values = value if isinstance(value, list) else [value]
    if known.kind not in ("bag", "vector") and len(values) != 1:
        raise RequestError(422, "invalid", f"one value is required, got {len(values)}", where)
    if known.kind in ("categorical", "bag"):
        names = tuple(dict.fromkeys(str(one) for one in values))
        if len(names) > MAX_NAMES:
            raise RequestError(422, "invalid", f"{len(names):,} names are too many: give {MAX_NAMES} at most", where)
        longest = max(map(len, names), default=0)
        if longest > MAX_NAME:
            cause = f"a name of {longest:,} characters is too long: give {MAX_NAME} at most"
            raise RequestError(422, "invalid", cause, where)
        codes = np.arange(len(names), dtype=np.int32)
        return Feature(kind=known.kind, values=codes[None, :] if known.kind == "bag" else codes, names=names)
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
