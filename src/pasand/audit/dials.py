"""The strengths of a recipe's policy that can be turned, and the recommender with another value of one of them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pasand import recipe
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.recipe import Assembly, component_class
from pasand.reranking.calibration import Calibration
from pasand.reranking.policies import STAGE, STAGES, expanded

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
    policy = tomllib.loads(text).get(STAGE, [])
    found: list[Dial] = []
    for position, table in enumerate(policy if isinstance(policy, list) else []):
        kind = table.get("kind", "rule")
        made = _of_rule(position, table) if kind == "rule" else _of_strength(position, kind, table)
        n = 1 + sum(one.kind == kind for one in found)
        if made is not None:
            name = made.name if kind == "rule" or n == 1 else f"{kind} {n}"
            found.append(Dial(**{**vars(made), "name": name}))
    return found


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
    """Return the recommender with another value of a dial, or without its table (None).

    Components with the same table are those of the bundle; only what the table concerns is built and fitted again.
    """
    fitted = bundle.assembly
    ready = {fitted.digests[one]: part for one, part in fitted.components.items()}
    return recipe.build(with_value(fitted.text, dial, value), ready=ready).fit(data, seed=0, ready=ready)


def with_value(text: str, dial: Dial, value: float | None) -> str:
    """Return the recipe with another value of a dial, or without its table (None); comments are lost."""
    found = tomllib.loads(text)
    policy = list(found[STAGE])
    if value is None:
        del policy[dial.position]
    else:
        number = int(value) if "count" in dial.field else value
        policy[dial.position] = {**policy[dial.position], dial.field: number}
    tables = {key: table for key, table in found.items() if key != STAGE} | ({STAGE: policy} if policy else {})
    return recipe.dump(expanded(tables, where="recipe"))


def _of_rule(position: int, table: dict[str, Any]) -> Dial | None:
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
        name=str(table["name"]),
        kind="rule",
        position=position,
        field=field,
        current=float(table[field]),
        low=float(low),
        high=float(high),
        slots=slots,
    )


def _of_strength(position: int, kind: str, table: dict[str, Any]) -> Dial | None:
    """Return the dial of a table with a strength; None for a kind without one."""
    cls: Any = Calibration if kind == "calibration" else component_class(STAGES[kind], where="recipe")
    if "strength" not in cls.__dataclass_fields__:
        return None
    current = float(table.get("strength", cls.__dataclass_fields__["strength"].default))
    return Dial(name=kind, kind=kind, position=position, field="strength", current=current, low=0.0, high=math.inf)
