"""Factorisation machine by stochastic gradients (Rendle, ICDM 2010)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.training.contextual import Contextual

if TYPE_CHECKING:
    from pasand.layers.shape import Shape


@dataclass(kw_only=True)
class FM(Contextual):
    """Scores by a weight for each feature and an inner product for each pair of them."""

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.shape import Shape

        return Shape(linear=True, second_order=True)
