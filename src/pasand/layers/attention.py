"""Towers that read a history with self-attention (Kang & McAuley, SASRec, ICDM 2018).

Two ways through one network give the same vectors: `states` reads sequences of like length in training, `query` reads
left-padded histories of one width when serving, and computes of the last block only what the last place needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def dropped(x: Tensor, share: float) -> Tensor:
    """Return x with about that share of its numbers set to 0 and the others raised to make up for it.

    The share is rounded to 256ths: a byte decides of each number, which takes an eighth of the random draws.
    """
    level = round(share * 256)
    if level == 0:
        return x
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= level
    return x * kept.to(x.dtype).mul_(256 / (256 - level))


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
        share = self.dropout if self.training else 0
        added = dropped(attended, share)
        x = x + (added * torch.sigmoid(self.attention_gate(x)) if self.gated else added)
        added = dropped(self.narrows(dropped(functional.gelu(self.widens(self.dense_norm(x))), share)), share)
        return x + (added * torch.sigmoid(self.dense_gate(x)) if self.gated else added)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


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

    def states(self, vectors: Tensor, places: Tensor) -> Tensor:
        """Map the item vectors of sequences, (B, L, D), padded on the right, to what each place knows, (B, L, D).

        `places`, (B, L), are counted from the end of each sequence. A place knows the items up to its own; what stands
        at padding is of no meaning.
        """
        x = dropped(vectors + self.places(places), self.dropout if self.training else 0)
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


class ClozeTower(HistoryTower):
    """Reads a history with gaps in both directions (Sun et al., BERT4Rec, CIKM 2019); it asks with a gap at the end."""

    def __init__(
        self, n_items: int, dimensions: int, max_length: int, blocks: int, heads: int, dropout: float, gated: bool
    ) -> None:
        super().__init__(n_items, dimensions, max_length + 1, blocks, heads, dropout, gated)
        self.gap = nn.Parameter(torch.randn(dimensions) * 0.02)

    def filled(self, vectors: Tensor, places: Tensor, hidden: Tensor, real: Tensor) -> Tensor:
        """Map the item vectors of sequences, (B, L, D), padded anywhere, to what each place expects, (B, L, D).

        `places`, (B, L), are counted from the end; `hidden`, (B, L), is true at gaps, `real`, (B, L), at gaps and
        items. Each place looks at all real ones.
        """
        x = torch.where(hidden[:, :, None], self.gap, vectors) + self.places(places)
        x = dropped(x, self.dropout if self.training else 0)
        mask = real[:, None, None]
        for block in self.blocks:
            x = block(x, mask, False)
        normed: Tensor = self.norm(x)
        return normed

    def query(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "history" (B, max_length), oldest first, padded on the left with the number of items, to (B, D)."""
        history = inputs["history"]
        gap = self.gap.expand(history.shape[0], 1, -1)
        x = torch.cat([self.items(history), gap], 1) + self.places.weight[: history.shape[1] + 1].flip(0)
        real = functional.pad(history != self.padding, (0, 1), value=True)
        mask = real[:, None, None]
        for block in self.blocks[:-1]:
            x = block(x, mask, False)
        normed: Tensor = self.norm(self.blocks[-1](x, mask, True)[:, 0])
        return normed
