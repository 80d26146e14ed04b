"""Lowest value of a positive event, from the scale of the ratings without outliers, and warnings about it."""

from __future__ import annotations

import numpy as np

from pasand.data.log import Log, Options
from pasand.errors import InputError
from pasand.types import Scores

MAX_OUTLIERS = 0.1
"""Largest share of ratings that may be outliers; values of more ratings belong to the scale."""

MIN_GAP = 4.0
"""Smallest distance between the scale and an outlier."""


def positive_threshold(log: Log, options: Options, value: Scores | None) -> tuple[float, list[str]]:
    """Return the lowest value of a positive event, and warnings.

    It is taken from the options, or else from the source, or else from the scale of ratings; -inf: every event is
    positive. A strength of 0 or less is never positive. Raises InputError where no event would be positive.
    """
    if options.positive_from is not None:
        if value is not None and not options.positive_from <= value.max():
            cause = f"no event reaches it: values run from {value.min():g} to {value.max():g}"
            raise InputError(
                "positive_from", value=options.positive_from, cause=cause, cure="choose a value among them"
            )
        return options.positive_from, []
    if log.positive_from is not None:
        return log.positive_from, []
    if value is None or log.values == "none":
        return -np.inf, []
    if log.values == "strength":
        return _smallest_strength(log, value)
    if not value.any():
        cause = "all ratings or labels are 0, so no event is positive"
        cure = "name another column, --column value=NAME, or count all events as positive: --positive-from 0"
        raise InputError(log.name, column=log.column_names.get("value", "value"), value="0", cause=cause, cure=cure)
    outliers, zeros = outlying(value), _zeros(value, log.column_names.get("value", "value"))
    if not len(outliers):
        return default_positive_threshold(value), zeros
    inside = value[~np.isin(value, outliers)]
    count = len(value) - len(inside)
    named = ", ".join(f"{outlier:g}" for outlier in outliers[:5]) + ", ..." * (len(outliers) > 5)
    column = log.column_names.get("value", "value")
    warning = (
        f"warning: {count:,} of {len(value):,} ratings are far outside the scale of {inside.min():g} to "
        f"{inside.max():g}: {named} in column {column!r}; the scale ignores them, but they remain in the log: "
        "delete these rows if the values are codes or typing errors"
    )
    return default_positive_threshold(inside), [warning, *zeros]


def _zeros(value: Scores, column: str) -> list[str]:
    """Return a warning if zeros lie beside a scale that begins at 1, where they often mean that no rating was given."""
    values = np.unique(value)
    if values[0] != 0 or len(values) < 4 or values[1] < 1:
        return []
    count = int((value == 0).sum())
    return [
        f"warning: {count:,} of {len(value):,} ratings are 0, beside {values[1]:g} to {values[-1]:g}: "
        f"is 0 'not rated'? Then leave these out: --where '{column} > 0'"
    ]


def _smallest_strength(log: Log, value: Scores) -> tuple[float, list[str]]:
    """Return the smallest strength above 0, and a note; -inf where all strengths are above 0."""
    below = int((value <= 0).sum())
    if not below:
        return -np.inf, []
    column = log.column_names.get("value", "value")
    if below == len(value):
        cause = f"no strength is above 0, so no event is positive: values run from {value.min():g} to {value.max():g}"
        cure = "name another column, --column value=NAME, or read the values as ratings: --value-as rating"
        raise InputError(log.name, column=column, value=f"{value[0]:g}", cause=cause, cure=cure)
    note = f"{below:,} events are not positive: their strength, column {column!r}, is 0 or less"
    return float(value[value > 0].min()), [note]


def outlying(ratings: Scores) -> Scores:
    """Return the distinct values that are far from the scale of all others, in order, (n,); empty: none.

    Seen from the middle half of the ratings, outliers are behind a gap that is wider than the scale up to it, and they
    are at most a tenth of the ratings.

    >>> outlying(np.array([1, 2, 3, 4, 5, 4, 3, 4, 5, 55, 2], np.float32)).tolist()
    [55.0]
    """
    values, counts = np.unique(ratings, return_counts=True)
    gaps = np.diff(values)
    if len(gaps) < 2:
        return values[:0]
    smallest = max(MIN_GAP, 4 * float(gaps.min()))
    low, high = (int(np.searchsorted(np.cumsum(counts), share * len(ratings))) for share in (0.25, 0.75))
    grown = True
    while grown:
        width = max(float(values[high] - values[low]), smallest)
        grown = False
        if high + 1 < len(values) and gaps[high] <= width:
            high, grown = high + 1, True
        if low > 0 and gaps[low - 1] <= width:
            low, grown = low - 1, True
    outside = np.r_[values[:low], values[high + 1 :]]
    share = 1 - counts[low : high + 1].sum() / len(ratings)
    return outside if share <= MAX_OUTLIERS else values[:0]


def default_positive_threshold(ratings: Scores) -> float:
    """Return the lowest observed rating that reaches three quarters of the scale, or else the highest rating.

    The scale runs from the lowest to the highest observed rating. If the highest is 5 or 10, it begins at 1 even if
    no rating is that low.

    >>> default_positive_threshold(np.array([1, 2, 3, 4, 5], np.float32))
    4.0
    >>> default_positive_threshold(np.arange(1, 11, dtype=np.float32) / 2)
    4.0
    """
    low, high = float(ratings.min()), float(ratings.max())
    if high in (5.0, 10.0):
        low = min(low, 1.0)
    enough = ratings >= np.float32(low + 0.75 * (high - low))
    return float(np.min(ratings, where=enough, initial=np.float32(high)))
