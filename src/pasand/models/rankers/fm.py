"""Factorisation machine trained by stochastic gradients (Rendle, ICDM 2010)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.models.rankers.contextual import ContextualRanker

if TYPE_CHECKING:
    from pasand.layers.network_shape import Shape


@dataclass(kw_only=True)
class FM(ContextualRanker):
    """Scores by a weight for each feature and the inner product of the vectors of each pair of features."""

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape

        return Shape(linear=True, second_order=True)
