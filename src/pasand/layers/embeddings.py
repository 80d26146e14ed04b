"""Embeddings of what towers read: single codes, averages of codes, numbers. Code 0 is "not known"."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def table(codes: int, dimensions: int, *, blank: bool) -> nn.Embedding:
    """Return vectors for codes 0..codes; code 0 begins as the zero vector and stays so where it is blank."""
    embedding = nn.Embedding(codes + 1, dimensions, padding_idx=0 if blank else None)
    nn.init.normal_(embedding.weight, std=dimensions**-0.5)
    with torch.no_grad():
        embedding.weight[0] = 0
    return embedding


class One(nn.Module):
    """The vector of a code; code 0 has a vector of its own, that of whoever is unknown."""

    def __init__(self, codes: int, dimensions: int) -> None:
        super().__init__()
        self.table = table(codes, dimensions, blank=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Map (n,) to (n, D)."""
        vectors: Tensor = self.table(codes)
        return vectors


class Average(nn.Module):
    """The mean of the vectors of several codes; 0 where there is none."""

    def __init__(self, codes: int, dimensions: int) -> None:
        super().__init__()
        self.table = table(codes, dimensions, blank=True)

    def forward(self, codes: Tensor) -> Tensor:
        """Map (n, L), padded anywhere with 0, to (n, D)."""
        if codes.shape[-1] == 1:  # the vector of code 0 is 0
            vector: Tensor = self.table(codes[..., 0])
            return vector
        count = (codes > 0).sum(-1, keepdim=True).clamp(min=1)
        vectors: Tensor = self.table(codes).sum(-2) / count
        return vectors


def feature(size: int, dimensions: int) -> nn.Module:
    """Return what embeds an input of `pasand.features.encoding`: codes up to a size, or minus a width of numbers."""
    return Average(size, dimensions) if size > 0 else nn.Linear(-size, dimensions, bias=False)
