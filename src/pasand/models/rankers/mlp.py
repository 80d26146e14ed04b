"""MLP: dense layers over the concatenated vectors of user and item (He et al., WWW 2017, equation 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pasand.models.rankers.neural_cf import NeuralCF


@dataclass(kw_only=True)
class MLP(NeuralCF):
    """Scores by ReLU layers over the vectors of user, item and side features."""

    layers: tuple[int, ...] = (64, 32, 16)
    """Widths of the ReLU layers; without layers the output is a sum, which learns popularity at best."""
    dropout: float = 0.0
    """Dropout rate of the layers in training."""

    paths: ClassVar[tuple[str, ...]] = ("layers",)

    def _shape(self) -> tuple[tuple[int, ...], float, float]:
        return self.layers, self.dropout, 0.5
