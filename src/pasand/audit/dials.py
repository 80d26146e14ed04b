"""The strengths of a recipe's policy that can be turned, and the recommender with another value of one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pasand.audit.policy_tables import CALIBRATION, RULE, Part, parts_of, rebuilt, replaced
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.recipe import Assembly, component_class
from pasand.reranking.calibration.calibration import Calibration
from pasand.reranking.policies import STAGES

BOUNDS = ("min_share", "min_count", "max_share", "max_count")
"""Fields of a rule that can be turned, the first that it has."""
FACTORS = (0.25, 0.5, 1, 2, 4)
"""Strengths by default, as multiples of that of the recipe; of 1 where that is 0."""
MINIMA, MAXIMA = (0.1, 0.2, 0.3, 0.4, 0.5), (0.8, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Shares of the slots by default, of which counts are the nearest number of slots."""


@dataclass(frozen=True, kw_only=True)
class Dial:
    """The number of a `[[policy]]` table that determines how much it changes lists."""

    name: str
    """The name of a rule, or the kind of another table, with its number from the second one of a kind on."""
    kind: str
    position: int
    """Position of the table in the policy."""
    field: str
    current: float
    """Value in the recipe."""
    low: float
    high: float
    slots: int = 0
    """Slots at the top that a rule concerns; 0: all."""

    @property
    def reversed(self) -> bool:
        """Whether a smaller value changes lists more."""
        return self.field.startswith("max")

    def grid(self, k: int) -> list[float]:
        """Return values to try with lists of k, from the weakest to the strongest, that of the recipe among them."""
        slots = min(self.slots or k, k)
        shares = MAXIMA if self.reversed else MINIMA
        if self.field == "strength":
            values = [factor * (self.current or 1.0) for factor in FACTORS]
        else:
            values = [max(1.0, round(share * slots)) for share in shares] if "count" in self.field else list(shares)
        kept = {value for value in values if self.low <= value <= self.high}
        return sorted(kept | {self.current}, reverse=self.reversed)

    def checked(self, values: Sequence[float]) -> list[float]:
        """Return the values from the weakest to the strongest; raises InputError for one that is out of range."""
        for value in values:
            whole = "count" not in self.field or value == int(value)
            if not (self.low <= value <= self.high and math.isfinite(value) and whole):
                what = "a whole number" if "count" in self.field else "a number"
                upto = f"at most {self.high:g}" if math.isfinite(self.high) else "finite"
                cause = f"{self.field} of {self.name!r} must be {what} of at least {self.low:g} and {upto}"
                raise InputError("--strengths", value=value, cause=cause, cure=f"write --strengths {self.current:g}")
        return sorted(set(values), reverse=self.reversed)


def dials(text: str) -> list[Dial]:
    """Return the dials of a recipe, one per `[[policy]]` table that has one, in order; [] without a policy."""
    found = [_of_rule(part) if part.kind == RULE else _of_strength(part) for part in parts_of(text)]
    return [dial for dial in found if dial is not None]


def chosen(text: str, names: Sequence[str]) -> list[Dial]:
    """Return the dials with these names, or all; raises InputError without a policy, and for an unknown name."""
    known = dials(text)
    if not known:
        cause = "its recipe has no [[policy]] with a strength, so there is nothing to trade"
        cure = (
            'fit it with a recipe that ends in a table such as [[policy]] kind = "calibration" attributes = ["genres"]'
        )
        raise InputError("bundle", cause=cause, cure=cure)
    for name in names:
        if name not in [dial.name for dial in known]:
            cure = f"use one of: {', '.join(dial.name for dial in known)}"
            raise InputError("--policy", value=name, cause="the recipe has no such policy", cure=cure)
    return [dial for dial in known if not names or dial.name in names]


def turned(bundle: Bundle, dial: Dial, value: float | None, data: Dataset) -> Assembly:
    """Return the recommender with another value of a dial, or without its table (None), as `rebuilt` does."""
    return rebuilt(bundle, with_value(bundle.assembly.text, dial, value), data)


def with_value(text: str, dial: Dial, value: float | None) -> str:
    """Return the recipe with another value of a dial, or without its table (None); comments are lost."""
    if value is None:
        return replaced(text, dial.position, None)
    number = int(value) if "count" in dial.field else value
    return replaced(text, dial.position, {**parts_of(text)[dial.position].table, dial.field: number})


def _of_rule(part: Part) -> Dial | None:
    table = part.table
    field = next((one for one in BOUNDS if table.get(one) is not None), None)
    if field is None:
        return None
    share, other = "share" in field, field.replace("min", "max") if "min" in field else field.replace("max", "min")
    most = 1.0 if share else float(table.get("first") or math.inf)
    low, high = (0.0, table.get(other, most)) if "min" in field else (table.get(other, 0.0), most)
    if table.get("significance") is not None:
        low, high = 0.01, 0.99
    slots = int(table.get("first", 0))
    return Dial(
        name=part.name,
        kind=part.kind,
        position=part.number,
        field=field,
        current=float(table[field]),
        low=float(low),
        high=float(high),
        slots=slots,
    )


def _of_strength(part: Part) -> Dial | None:
    """Return the dial of a table with a strength; None for a kind without one."""
    if part.kind not in STAGES and part.kind != CALIBRATION:
        return None
    cls: Any = Calibration if part.kind == CALIBRATION else component_class(STAGES[part.kind], where="recipe")
    if "strength" not in cls.__dataclass_fields__:
        return None
    current = float(part.table.get("strength", cls.__dataclass_fields__["strength"].default))
    return Dial(
        name=part.name,
        kind=part.kind,
        position=part.number,
        field="strength",
        current=current,
        low=0.0,
        high=math.inf,
    )
