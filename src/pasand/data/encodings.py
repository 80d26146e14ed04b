"""`Encoding`: how a feature was computed from a column of items, for items that are added later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pasand.data.features import Feature
from pasand.types import Array, Arrays

FIELDS = ("column", "kind", "model", "fingerprint")
CATEGORIES = ("language", "script")
"""Kinds that make a categorical feature of a text, named after the kind; the others make vectors."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """A column of texts or of names of files, the encoder that reads it, and what was learnt from the catalogue."""

    column: str
    kind: str
    """Kind of encoder, such as "text" or "image"; see `pasand.encoders.columns`."""
    model: str
    """Model of the encoder, "" for its default; of `CATEGORIES` "bag" where the feature is one."""
    fingerprint: str
    """Fingerprint of the encoder: another one on the machine that adds items gives them no vector."""
    state: Arrays = field(default_factory=dict)
    """Arrays that the encoder learnt ("encoder....") and those of `pasand.encoders.reduction` ("mean", "axes"); of
    `CATEGORIES` the names of the feature."""

    @property
    def feature(self) -> str:
        """Name of the feature that holds what was computed."""
        return self.kind if self.kind in CATEGORIES else f"{self.column}_{self.kind}"


def pack(encodings: Sequence[Encoding]) -> tuple[dict[str, Array], list[dict[str, str]]]:
    """Return encodings as plain arrays and a description that JSON can hold; `unpack` reverses it."""
    arrays = {f"{at}.{name}": values for at, one in enumerate(encodings) for name, values in one.state.items()}
    return arrays, [{name: getattr(one, name) for name in FIELDS} for one in encodings]


def unpack(arrays: Arrays, description: Any) -> tuple[Encoding, ...]:
    """Return the encodings of what `pack` returned; raises ValueError for another description."""
    if not isinstance(description, list):
        raise ValueError("encodings must be a list")
    encodings = []
    for at, fields in enumerate(description):
        if not isinstance(fields, Mapping) or not all(isinstance(fields.get(name), str) for name in FIELDS):
            raise ValueError(f"encoding {at} must name {', '.join(FIELDS)}")
        prefix = f"{at}."
        state = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
        encodings.append(Encoding(**{name: fields[name] for name in FIELDS}, state=state))
    return tuple(encodings)


def with_columns(features: Mapping[str, Feature], encodings: Sequence[Encoding]) -> dict[str, Feature]:
    """Return the features, and an empty one of kind text for each encoded column that is not among them.

    These are the features that an added item may have: columns with names of files are not kept beside their vectors.
    """
    import numpy as np

    empty = Feature(kind="text", values=np.array([], np.dtypes.StringDType()))
    return {**{one.column: empty for one in encodings}, **features}
