"""Generalised matrix factorisation (He et al., WWW 2017, equation 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pasand.models.rankers.neural_cf import NeuralCF


@dataclass(kw_only=True)
class GMF(NeuralCF):
    """Scores by a learnt weighting of the elementwise product of the user's and the item's vector."""

    paths: ClassVar[tuple[str, ...]] = ("product",)
