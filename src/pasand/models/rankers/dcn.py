"""Deep & cross network, version 2 (Wang et al., WWW 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.models.rankers.contextual import ContextualRanker

if TYPE_CHECKING:
    from pasand.layers.network_shape import Shape


@dataclass(kw_only=True)
class DCN(ContextualRanker):
    """Scores by cross layers, which multiply the features with each other, in parallel to dense layers."""

    cross_layers: int = 2
    """Number of cross layers; n of them form products of up to n + 1 features."""
    rank: int = 32
    """Rank of the weight matrices of the cross layers; 0: full rank."""
    layers: tuple[int, ...] = (128, 64)
    """Widths of the dense ReLU layers."""
    dropout: float = 0.0
    """Dropout rate of the dense layers in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cross_layers < 1 or self.rank < 0:
            values = f"{self.cross_layers} and {self.rank}"
            raise ValueError(f"cross_layers must be positive and rank not negative, got {values}")

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape

        return Shape(cross_layers=self.cross_layers, rank=self.rank, dense=self.layers, dropout=self.dropout)
