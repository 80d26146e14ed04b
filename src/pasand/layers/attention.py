"""Self-attention over the history: the networks of SASRec (Kang & McAuley, ICDM 2018) and BERT4Rec.

Two methods of a network give the same vectors: `states` reads right-padded sequences of similar length in training,
`query` reads left-padded histories of fixed length in serving, and computes the last block for the last position alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def fast_dropout(x: Tensor, share: float) -> Tensor:
    """Return x with about that share of its numbers set to 0 and the others scaled up, so that the mean is kept.

    The share is rounded to 256ths: one random byte decides each number, an eighth of the usual random draws.
    """
    level = round(share * 256)
    if level == 0:
        return x
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= level
    return x * kept.to(x.dtype).mul_(256 / (256 - level))


class TransformerBlock(nn.Module):
    """Pre-norm Transformer block: self-attention and two dense layers, each with a residual connection.

    With `gated`, each residual is multiplied by a sigmoid of the block's input (Borisyuk et al., LiGR, 2025).
    """

    def __init__(self, dimensions: int, heads: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.gated = heads, dropout, gated
        self.attention_norm, self.dense_norm = nn.LayerNorm(dimensions), nn.LayerNorm(dimensions)
        self.query = nn.Linear(dimensions, dimensions)
        self.key_value = nn.Linear(dimensions, 2 * dimensions)
        self.output = nn.Linear(dimensions, dimensions)
        self.dense_in, self.dense_out = nn.Linear(dimensions, 4 * dimensions), nn.Linear(4 * dimensions, dimensions)
        if gated:
            self.attention_gate, self.dense_gate = nn.Linear(dimensions, dimensions), nn.Linear(dimensions, dimensions)

    def forward(self, x: Tensor, mask: Tensor | None, last: bool) -> Tensor:
        """Map (B, L, D) to (B, L, D), or with `last` to (B, 1, D), the last position alone.

        `mask`, (B, 1, L or 1, L), is true where a position may attend; None: to itself and all earlier positions.
        """
        normed = self.attention_norm(x)
        if last:
            x, queried = x[:, -1:], normed[:, -1:]
        else:
            queried = normed
        keys, values = self.key_value(normed).chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(
            self._split(self.query(queried)),
            self._split(keys),
            self._split(values),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None,
        )
        attended = self.output(attended.transpose(1, 2).flatten(2))
        rate = self.dropout if self.training else 0
        added = fast_dropout(attended, rate)
        x = x + (added * torch.sigmoid(self.attention_gate(x)) if self.gated else added)
        added = fast_dropout(
            self.dense_out(fast_dropout(functional.gelu(self.dense_in(self.dense_norm(x))), rate)), rate
        )
        return x + (added * torch.sigmoid(self.dense_gate(x)) if self.gated else added)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class HistoryTower(nn.Module):
    """Maps a history to a vector in the same space as the item vectors that it reads (SASRec)."""

    def __init__(
        self, n_items: int, dimensions: int, history_length: int, blocks: int, heads: int, dropout: float, gated: bool
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, dimensions)
        self.positions = nn.Embedding(history_length, dimensions)
        self.blocks = nn.ModuleList(TransformerBlock(dimensions, heads, dropout, gated) for _ in range(blocks))
        self.norm = nn.LayerNorm(dimensions)
        self.dropout, self.padding = dropout, n_items
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def states(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Map the item vectors of sequences, (B, L, D), padded on the right, to the state at each position, (B, L, D).

        `positions`, (B, L), are counted from the end of each sequence. A state depends on the items up to its own
        position; states at padding are meaningless.
        """
        x = fast_dropout(vectors + self.positions(positions), self.dropout if self.training else 0)
        for block in self.blocks:
            x = block(x, None, False)
        normed: Tensor = self.norm(x)
        return normed

    def query(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "history" (B, history_length), oldest first, padded on the left with the number of items, to (B, D)."""
        history = inputs["history"]
        length = history.shape[1]
        x = self.items(history) + self.positions.weight[:length].flip(0)
        real = (history != self.padding)[:, None, None]  # (B, 1, 1, L)
        itself = torch.eye(length, dtype=torch.bool, device=history.device)  # so that every position attends to one
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
    """Maps a history with masked positions, read in both directions, to vectors (Sun et al., BERT4Rec, CIKM 2019).

    The query is the state of a mask token that is appended to the history.
    """

    def __init__(
        self, n_items: int, dimensions: int, history_length: int, blocks: int, heads: int, dropout: float, gated: bool
    ) -> None:
        super().__init__(n_items, dimensions, history_length + 1, blocks, heads, dropout, gated)
        self.mask_token = nn.Parameter(torch.randn(dimensions) * 0.02)

    def masked_states(self, vectors: Tensor, positions: Tensor, masked: Tensor, real: Tensor) -> Tensor:
        """Map the item vectors of sequences, (B, L, D), padded anywhere, to the state at each position, (B, L, D).

        `positions`, (B, L), are counted from the end. `masked`, (B, L), is true where the mask token replaces the item,
        `real`, (B, L), at items and mask tokens. Each position attends to all real ones.
        """
        x = torch.where(masked[:, :, None], self.mask_token, vectors) + self.positions(positions)
        x = fast_dropout(x, self.dropout if self.training else 0)
        mask = real[:, None, None]
        for block in self.blocks:
            x = block(x, mask, False)
        normed: Tensor = self.norm(x)
        return normed

    def query(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "history" (B, history_length), oldest first, padded on the left with the number of items, to (B, D)."""
        history = inputs["history"]
        appended = self.mask_token.expand(history.shape[0], 1, -1)
        x = torch.cat([self.items(history), appended], 1) + self.positions.weight[: history.shape[1] + 1].flip(0)
        real = functional.pad(history != self.padding, (0, 1), value=True)
        mask = real[:, None, None]
        for block in self.blocks[:-1]:
            x = block(x, mask, False)
        normed: Tensor = self.norm(self.blocks[-1](x, mask, True)[:, 0])
        return normed
