"""Neural matrix factorisation (He et al., WWW 2017, equations 12 and 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pasand.training.collaborative import Collaborative


@dataclass(kw_only=True)
class NeuMF(Collaborative):
    """Scores by the product of vectors and by dense layers over others, side by side.

    With pretraining both paths are trained by themselves before, and their outputs weighted at the start.
    """

    layers: tuple[int, ...] = (64, 32, 16)
    """Widths of the ReLU layers."""
    dropout: float = 0.0
    """Share of the units of each layer that is left out in training."""
    pretrain: bool = True
    """Whether each path is trained by itself before."""
    alpha: float = 0.5
    """Weight of the product's output at the start; the layers' counts the rest."""

    paths: ClassVar[tuple[str, ...]] = ("product", "layers")

    def _shape(self) -> tuple[tuple[int, ...], float, float]:
        return self.layers, self.dropout, self.alpha
