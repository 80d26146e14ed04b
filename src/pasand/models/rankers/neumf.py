"""Neural matrix factorisation (He et al., WWW 2017, equations 12 and 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pasand.models.rankers.neural_cf import NeuralCF


@dataclass(kw_only=True)
class NeuMF(NeuralCF):
    """Scores by the sum of a product path and a path of dense layers, which have embeddings of their own.

    With pretraining each path is first trained by itself, and their outputs are then combined by `alpha`.
    """

    layers: tuple[int, ...] = (64, 32, 16)
    """Widths of the ReLU layers."""
    dropout: float = 0.0
    """Dropout rate of the layers in training."""
    pretrain: bool = True
    """Whether each path is first trained by itself."""
    pretrain_epochs: int = 20
    """Number of passes of each path by itself, at most: validation may stop training earlier."""
    fine_tuning: float = 0.1
    """Learning rate of both paths together after pretraining, as a share of `learning_rate`."""
    alpha: float = 0.5
    """Initial weight of the product path's output, in [0, 1]; that of the dense path is 1 - alpha."""

    paths: ClassVar[tuple[str, ...]] = ("product", "layers")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrain_epochs < 1 or not self.fine_tuning > 0:
            raise ValueError("pretrain_epochs and fine_tuning must be positive")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")

    def _shape(self) -> tuple[tuple[int, ...], float, float]:
        return self.layers, self.dropout, self.alpha

    def _pretraining(self) -> tuple[int, float]:
        return (self.pretrain_epochs if self.pretrain else 0), self.fine_tuning
