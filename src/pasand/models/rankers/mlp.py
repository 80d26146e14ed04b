"""Dense layers over the vectors of user and item side by side (He et al., WWW 2017, equation 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pasand.models.rankers.neural_cf import NeuralCF


@dataclass(kw_only=True)
class MLP(NeuralCF):
    """Scores by ReLU layers over the vectors of user, item and side features."""

    layers: tuple[int, ...] = (64, 32, 16)
    """Widths of the ReLU layers; none: their output is a sum, and popularity at best."""
    dropout: float = 0.0
    """Share of the units of each layer that is left out in training."""

    paths: ClassVar[tuple[str, ...]] = ("layers",)

    def _shape(self) -> tuple[tuple[int, ...], float, float]:
        return self.layers, self.dropout, 0.5
