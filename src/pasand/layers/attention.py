"""Towers that read a history with self-attention (Kang & McAuley, SASRec, ICDM 2018).

Two ways through one network give the same vectors: `states` reads sequences of like length in training, `query` reads
left-padded histories of one width when serving, and computes of the last block only what the last place needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Self-attention and a dense layer, each behind a layer norm and added to what came in.

    With `gated`, what is added is multiplied by a sigmoid of what came in (Borisyuk et al., LiGR, 2025).
    """

    def __init__(self, dimensions: int, heads: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.gated = heads, dropout, gated
        self.attention_norm, self.dense_norm = nn.LayerNorm(dimensions), nn.LayerNorm(dimensions)
        self.asks = nn.Linear(dimensions, dimensions)
        self.tells = nn.Linear(dimensions, 2 * dimensions)
        self.joins = nn.Linear(dimensions, dimensions)
        self.widens, self.narrows = nn.Linear(dimensions, 4 * dimensions), nn.Linear(4 * dimensions, dimensions)
        if gated:
            self.attention_gate, self.dense_gate = nn.Linear(dimensions, dimensions), nn.Linear(dimensions, dimensions)

    def forward(self, x: Tensor, mask: Tensor | None, last: bool) -> Tensor:
        """Map (B, L, D) to (B, L, D), or (B, 1, D) with `last`: the last place alone.

        `mask`, (B, 1, L or 1, L), is true where a place may look; None: at itself and whatever stands before it.
        """
        normed = self.attention_norm(x)
        if last:
            x, asking = x[:, -1:], normed[:, -1:]
        else:
            asking = normed
        keys, values = self.tells(normed).chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(
            self._split(self.asks(asking)),
            self._split(keys),
            self._split(values),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None,
        )
        attended = self.joins(attended.transpose(1, 2).flatten(2))
        x = x + self._dropped(attended) * (torch.sigmoid(self.attention_gate(x)) if self.gated else 1)
        dense = self.narrows(self._dropped(functional.gelu(self.widens(self.dense_norm(x)))))
        return x + self._dropped(dense) * (torch.sigmoid(self.dense_gate(x)) if self.gated else 1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


class HistoryTower(nn.Module):
    """Reads a history into a vector, in the space of the same item vectors that it is made of."""

    def __init__(
        self, n_items: int, dimensions: int, max_length: int, blocks: int, heads: int, dropout: float, gated: bool
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, dimensions)
        self.places = nn.Embedding(max_length, dimensions)
        self.blocks = nn.ModuleList(Block(dimensions, heads, dropout, gated) for _ in range(blocks))
        self.norm = nn.LayerNorm(dimensions)
        self.dropout, self.padding = dropout, n_items
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def states(self, items: Tensor, places: Tensor) -> Tensor:
        """Map sequences (B, L), padded on the right, and their places counted from the end to (B, L, D).

        Each place knows the items up to its own; what stands at padding is of no meaning.
        """
        x = functional.dropout(self.items(items) + self.places(places), self.dropout, self.training)
        for block in self.blocks:
            x = block(x, None, False)
        normed: Tensor = self.norm(x)
        return normed

    def query(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "history" (B, max_length), oldest first, padded on the left with the number of items, to (B, D)."""
        history = inputs["history"]
        length = history.shape[1]
        x = self.items(history) + self.places.weight[:length].flip(0)
        real = (history != self.padding)[:, None, None]  # (B, 1, 1, L)
        itself = torch.eye(length, dtype=torch.bool, device=history.device)  # so that no place looks at nothing
        earlier = torch.ones_like(itself).tril()
        mask = (real & earlier) | itself
        for block in self.blocks[:-1]:
            x = block(x, mask, False)
        x = self.blocks[-1](x, mask[:, :, -1:], True)
        normed: Tensor = self.norm(x[:, 0])
        return normed

    def item(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "item" (n,) to (n, D)."""
        vectors: Tensor = self.items(inputs["item"])
        return vectors
