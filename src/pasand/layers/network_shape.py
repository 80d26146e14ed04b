"""What networks of many fields are made of, told without torch, since who answers from their graphs has to know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Which parts a network has."""

    linear: bool = False
    second_order: bool = False
    """The pairwise term of a factorisation machine."""
    crossed: tuple[tuple[str, str], ...] = ()
    """Pairs of fields of codes whose combinations have weights of their own."""
    cross_layers: int = 0
    rank: int = 0
    """Rank of the cross layers' matrices; 0: full."""
    dense: tuple[int, ...] = ()
    dropout: float = 0.0


def joined(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a user's field and an item's among these names, histories against ids included."""
    users = [name for name in names if name.startswith("user.") or name in ("history",)]
    items = [name for name in names if name.startswith("item.") or name == "item"]
    return tuple((one, other) for one in users for other in items)
