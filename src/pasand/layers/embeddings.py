"""Embeddings of a network's inputs: single codes, means of several codes, numbers. Code 0 is "unknown"."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def embedding_table(codes: int, dimensions: int, *, padding: bool) -> nn.Embedding:
    """Return vectors for codes 0..codes; code 0 starts as the zero vector, and is not trained where it is padding."""
    embedding = nn.Embedding(codes + 1, dimensions, padding_idx=0 if padding else None)
    nn.init.normal_(embedding.weight, std=dimensions**-0.5)
    with torch.no_grad():
        embedding.weight[0] = 0
    return embedding


class CodeEmbedding(nn.Module):
    """The vector of a code; code 0, shared by all unknown users or items, has a trained vector, too."""

    def __init__(self, codes: int, dimensions: int) -> None:
        super().__init__()
        self.table = embedding_table(codes, dimensions, padding=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Map (n,) to (n, D)."""
        vectors: Tensor = self.table(codes)
        return vectors


class MeanEmbedding(nn.Module):
    """The mean of the vectors of several codes; 0 where there is no code."""

    def __init__(self, codes: int, dimensions: int) -> None:
        super().__init__()
        self.table = embedding_table(codes, dimensions, padding=True)

    def forward(self, codes: Tensor) -> Tensor:
        """Map (n, L), padded anywhere with 0, to (n, D)."""
        if codes.shape[-1] == 1:  # the vector of code 0 is 0
            vector: Tensor = self.table(codes[..., 0])
            return vector
        count = (codes > 0).sum(-1, keepdim=True).clamp(min=1)
        vectors: Tensor = self.table(codes).sum(-2) / count
        return vectors


def feature_embedding(size: int, dimensions: int) -> nn.Module:
    """Return the embedding of an input of that size (`pasand.features.encoding.input_sizes`).

    A size above 0 is the largest code, (n, L) -> (n, D); one below 0 is minus the width of numbers, (n, W) -> (n, D).
    """
    return MeanEmbedding(size, dimensions) if size > 0 else nn.Linear(-size, dimensions, bias=False)
