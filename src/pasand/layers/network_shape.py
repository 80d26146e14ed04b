"""The components of a network of feature interactions; needs no torch, since serving from ONNX graphs reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The terms and layers that a network of feature interactions has."""

    linear: bool = False
    """A weight for each code and each number."""
    second_order: bool = False
    """The pairwise term of a factorisation machine."""
    crossed: tuple[tuple[str, str], ...] = ()
    """Pairs of code fields whose combinations of codes have weights of their own (wide part of wide & deep)."""
    cross_layers: int = 0
    """Number of layers of the cross network (DCN V2)."""
    rank: int = 0
    """Rank of the cross layers' matrices; 0: full."""
    dense: tuple[int, ...] = ()
    """Widths of the ReLU layers."""
    dropout: float = 0.0
    """Share of the units of each ReLU layer that is dropped in training."""


def user_item_crosses(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return all pairs of a user field (or the history) and an item field (or the item's id) among these names."""
    users = [name for name in names if name.startswith("user.") or name in ("history",)]
    items = [name for name in names if name.startswith("item.") or name == "item"]
    return tuple((user, item) for user in users for item in items)
