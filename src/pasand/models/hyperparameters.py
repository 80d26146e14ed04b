"""One rule for the hyper-parameters of all models: numbers are finite and not negative."""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from typing import Any


def check_numbers(model: Any) -> None:
    """Raise ValueError for a hyper-parameter of a dataclass that is nan, infinite or negative, naming it."""
    for name in (field.name for field in fields(model) if field.init):
        value = getattr(model, name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int | float) and not (isfinite(number) and number >= 0):
                raise ValueError(f"{name} must be a finite number from 0, got {number}")
