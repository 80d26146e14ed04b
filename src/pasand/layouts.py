"""`Entry`: type, shape and bounds of an array that a component saves; `check`: whether a file's arrays are so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pasand import mapped
from pasand.types import Array, Arrays


@dataclass(frozen=True, slots=True)
class Entry:
    """What a named array must be; sizes are those of the legend in `pasand.types`."""

    kind: str
    """Name of the NumPy type; "number": any type of whole or real numbers; "any": any type."""
    shape: str = ""
    """Sizes between blanks, as in "N+1 D 2": a capital letter means one number in all arrays of a layout, a small
    one for one number in this array, "*" for any number, and "..." at the end for any further sizes. "": one value."""
    lowest: int | None = None
    """Lowest number that is allowed; None: any."""
    above: int | None = None
    """Number that all numbers must be above; None: any."""
    below: int | str | None = None
    """Number, or size such as "N" or "N+1", that whole numbers must be below; None: any."""
    rises_to: str = ""
    """Letter of a size: the numbers are offsets, which rise to it."""
    gaps: bool = False
    """Whether nan is allowed."""
    infinite: bool = False
    """Whether infinite numbers are allowed."""
    optional: bool = False
    """Whether the array may be absent."""


Layout: TypeAlias = Mapping[str, Entry]
"""Entries by the names of arrays; a name that ends in ".*" means every array whose name begins so."""


def check(arrays: Arrays, layout: Layout, **sizes: int) -> dict[str, int]:
    """Return the sizes by letter, with `sizes` among them; raise ValueError where an array differs from its entry.

    Arrays that are not in the layout are not looked at. Raises KeyError for the name of an array that is missing.

    >>> check({"items": np.zeros((3, 2), np.float32)}, {"items": Entry("float32", "N D")})
    {'N': 3, 'D': 2}
    >>> check({"items": np.zeros(3, np.float32)}, {"items": Entry("float32", "N D")})
    Traceback (most recent call last):
    ValueError: items must be float32 of shape (any, any), and is float32 of shape (3,)
    """
    found = dict(sizes)
    for name, entry in _present(arrays, layout):
        _learn_sizes(arrays[name], entry, found)
    for name, entry in _present(arrays, layout):
        _check_one(name, arrays[name], entry, found)
    return found


def _present(arrays: Arrays, layout: Layout) -> Iterator[tuple[str, Entry]]:
    for name, entry in layout.items():
        if name.endswith(".*"):
            yield from ((other, entry) for other in arrays if other.startswith(name[:-1]))
        elif name in arrays:
            yield name, entry
        elif not entry.optional:
            raise KeyError(name)


def _learn_sizes(values: Array, entry: Entry, sizes: dict[str, int], *, own: bool = False) -> None:
    """Add the sizes that are not known yet: those in capital letters, or the array's `own`."""
    tokens = _tokens(values, entry)
    for token, size in zip(tokens, values.shape, strict=True) if len(tokens) == values.ndim else ():
        letter, _, more = token.partition("+")
        if letter.isalpha() and letter.islower() == own:
            sizes.setdefault(letter, max(0, size - int(more or 0)))


def _tokens(values: Array, entry: Entry) -> list[str]:
    """Return a token for each size that the array must have."""
    tokens = entry.shape.split()
    if tokens[-1:] != ["..."]:
        return tokens
    return tokens[:-1] + ["*"] * (values.ndim - len(tokens) + 1)


def _check_one(name: str, values: Array, entry: Entry, sizes: Mapping[str, int]) -> None:
    known = dict(sizes)
    _learn_sizes(values, entry, known, own=True)
    free = entry.kind == "any" or (entry.kind == "number" and values.dtype.kind in "iuf")
    kind = values.dtype if free else np.dtype("float64" if entry.kind == "number" else entry.kind)
    below = _size(entry.below, known) if isinstance(entry.below, str) else entry.below
    real = values.dtype.kind == "f"
    shape = [_size(token, known) for token in _tokens(values, entry)]
    mapped.check(name, values, kind.type, shape, lowest=None if real else entry.lowest, below=below)
    if entry.rises_to:
        mapped.check_offsets(name, values, known[entry.rises_to])
    if real and values.size:
        _check_real(name, values, entry)


def _check_real(name: str, values: Array, entry: Entry) -> None:
    least, most = values.min(), values.max()  # nan if there is any
    if np.isnan(least):
        if not entry.gaps:
            raise ValueError(f"{name} must be numbers, and one is nan")
        given = values[~np.isnan(values)]
        least, most = (given.min(), given.max()) if len(given) else (np.inf, np.inf)
    elif not entry.infinite and not (np.isfinite(least) and np.isfinite(most)):
        raise ValueError(f"{name} must be finite numbers, and one is infinite")
    if entry.lowest is not None and least < entry.lowest:
        raise ValueError(f"{name} must be from {entry.lowest}, and one is {least}")
    if entry.above is not None and least <= entry.above:
        raise ValueError(f"{name} must be above {entry.above}, and one is {least}")


def _size(token: str, sizes: Mapping[str, int]) -> int | None:
    letter, _, more = token.partition("+")
    if letter.isdigit():
        return int(letter)
    return sizes[letter] + int(more or 0) if letter in sizes else None
