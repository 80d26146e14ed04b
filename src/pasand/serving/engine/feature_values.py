"""JSON values as features, and features as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.data.packed_texts import still_packed
from pasand.serving.schemas import Between, Plain, RequestError
from pasand.types import Array, Mask


def coded(values: Mapping[str, Any], known: Features, where: str) -> tuple[dict[str, Feature], list[str]]:
    """Return JSON values as features of one row, coded as the known ones, and what was left aside, in sentences.

    A category that the bundle does not have counts as not known. Raises Refused for a feature that there is not, and
    for a value that cannot be of its kind.
    """
    found, notes = {}, []
    for name, value in values.items():
        if name not in known:
            there = ", ".join(list(known)[:20]) or "none"
            raise RequestError(
                422, "unknown_feature", f"there is no feature {name!r}; there are: {there}", f"{where}.{name}"
            )
        made = _feature(value, known[name], f"{where}.{name}")
        try:
            found[name], unseen = made.coded_as(known[name])
        except ValueError as error:
            raise RequestError(422, "invalid", str(error), f"{where}.{name}") from None
        notes += [f"{name} {one!r} is not known and was left aside" for one in unseen]
    return found, notes


def shown(feature: Feature, row: int) -> Any:
    """Return the value of one row as JSON has it; None where it is not known."""
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


def mask(feature: Feature, wanted: Plain | list[Plain] | Between, where: str) -> Mask:
    """Return which rows a filter lets through, (N,): those of one of the values, or between two numbers or times.

    Raises Refused where the filter does not suit the kind of the feature.
    """
    if isinstance(wanted, Between):
        if feature.kind not in ("number", "time"):
            raise RequestError(422, "invalid", f"min and max are for numbers and times, this is {feature.kind}", where)
        low, high = -math.inf if wanted.min is None else wanted.min, math.inf if wanted.max is None else wanted.max
        values: Any = feature.values
        return np.asarray((values >= low) & (values <= high) & ~feature.absent(), np.bool_)
    values = wanted if isinstance(wanted, list) else [wanted]
    if feature.kind in ("categorical", "bag"):
        names = {str(value) for value in values}
        codes = np.array([code for code, name in enumerate(feature.names) if name in names], np.int32)
        hit: Mask = np.isin(feature.values, codes)
        return hit if hit.ndim == 1 else np.asarray(hit.any(axis=1), np.bool_)
    if feature.kind in ("number", "time"):
        numbers = [value for value in values if isinstance(value, int | float)]
        if len(numbers) < len(values):
            raise RequestError(422, "invalid", f"numbers are asked for, since this is {feature.kind}", where)
        return np.isin(feature.values, np.array(numbers, feature.values.dtype))
    if feature.kind == "text":
        wanted_texts, texts = [str(value) for value in values], still_packed(feature.values)
        if texts is not None:
            return texts.isin(wanted_texts)
        return np.isin(feature.values, np.array(wanted_texts, np.dtypes.StringDType()))
    raise RequestError(422, "invalid", "vectors cannot be filtered by", where)


def _feature(value: Any, known: Feature, where: str) -> Feature:
    """Return one value as a feature of one row of the known one's kind; raises Refused where it cannot be that."""
    several = value if isinstance(value, list) else [value]
    if known.kind not in ("bag", "vector") and len(several) != 1:
        raise RequestError(422, "invalid", f"one value is asked for, got {len(several)}", where)
    if known.kind == "bag":
        names = tuple(dict.fromkeys(str(one) for one in several))
        return Feature(kind="bag", values=np.arange(len(names), dtype=np.int32)[None, :], names=names)
    if known.kind == "categorical":
        return Feature(kind="categorical", values=np.zeros(1, np.int32), names=(str(several[0]),))
    if known.kind == "text":
        return Feature(kind="text", values=np.array([str(several[0])], np.dtypes.StringDType()))
    if known.kind == "time":
        return Feature(kind="time", values=np.array([_seconds(several[0], where)], np.int64))
    numbers = [float(one) for one in several if isinstance(one, int | float)]
    if len(numbers) < len(several):
        raise RequestError(422, "invalid", f"a number is asked for, got {several[0]!r}", where)
    with np.errstate(over="ignore"):
        values: Array = np.array(numbers, np.float32)
    if not np.isfinite(values).all():
        raise RequestError(422, "invalid", "the number is too large", where)
    return Feature(kind=known.kind, values=values if known.kind == "number" else values[None, :])


def _seconds(value: Any, where: str) -> int:
    """Return seconds since 1970 of a number of them, or of an ISO 8601 date or time, UTC where it names no zone."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e11:
        return int(value)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise RequestError(422, "invalid", f"neither seconds since 1970 nor an ISO date: {value!r}", where) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
