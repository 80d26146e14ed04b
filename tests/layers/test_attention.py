"""Self-attention towers equal a reference written position by position in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pasand.layers.attention import ClozeTower, HistoryTower, TransformerBlock, fast_dropout

N_ITEMS, WIDTH, LONGEST = 20, 12, 7
Matrix = NDArray[np.float64]


def tower(blocks: int = 2, heads: int = 3, gated: bool = True) -> HistoryTower:
    torch.manual_seed(3)
    made = HistoryTower(N_ITEMS, WIDTH, LONGEST, blocks, heads, 0.5, gated)
    made.eval()
    for weight in made.parameters():  # nothing may be near 0, lest a term go unnoticed
        torch.nn.init.normal_(weight, std=0.4)
    return made


def right_padded(histories: list[list[int]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return items and positions counted from the end."""
    items = torch.tensor([h + [0] * (width - len(h)) for h in histories])
    count = torch.tensor([len(h) for h in histories])
    return items, (count[:, None] - 1 - torch.arange(width)).clamp(min=0)


def left_padded(histories: list[list[int]]) -> dict[str, torch.Tensor]:
    return {"history": torch.tensor([[N_ITEMS] * (LONGEST - len(h)) + h for h in histories])}


def plain(weight: torch.Tensor) -> Matrix:
    out: Matrix = weight.detach().double().numpy()
    return out


def dense(layer: torch.nn.Linear, x: Matrix) -> Matrix:
    out: Matrix = x @ plain(layer.weight).T + plain(layer.bias)
    return out


def normed(layer: torch.nn.LayerNorm, x: Matrix) -> Matrix:
    out: Matrix = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return out * plain(layer.weight) + plain(layer.bias)


def sigmoid(x: Matrix) -> Matrix:
    out: Matrix = 1 / (1 + np.exp(-x))
    return out


def gelu(x: Matrix) -> Matrix:
    below: Matrix = torch.special.ndtr(torch.from_numpy(x)).numpy()
    return x * below


def reference(made: HistoryTower, history: list[int]) -> Matrix:
    """Return the states of one history without padding, computed one position at a time; (L, D) in float64."""
    length = len(history)
    table = plain(made.items.weight)
    positions = plain(made.positions.weight)
    x = np.stack([table[item] + positions[length - 1 - t] for t, item in enumerate(history)])
    for block in made.blocks:
        assert isinstance(block, TransformerBlock)
        normal = normed(block.attention_norm, x)
        queries, keys_values = dense(block.query, normal), dense(block.key_value, normal)
        attended = np.zeros_like(x)
        size = WIDTH // block.heads
        for t in range(length):
            for head in range(block.heads):
                part = slice(head * size, (head + 1) * size)
                scores = np.array([queries[t, part] @ keys_values[s, part] / np.sqrt(size) for s in range(t + 1)])
                share = np.exp(scores) / np.exp(scores).sum()
                attended[t, part] = sum(share[s] * keys_values[s, WIDTH:][part] for s in range(t + 1))
        added = dense(block.output, attended)
        x = x + (added * sigmoid(dense(block.attention_gate, x)) if block.gated else added)
        added = dense(block.dense_out, gelu(dense(block.dense_in, normed(block.dense_norm, x))))
        x = x + (added * sigmoid(dense(block.dense_gate, x)) if block.gated else added)
    return normed(made.norm, x)


HISTORIES = [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5], [8, 9, 7, 9, 3]]


@pytest.mark.parametrize(("blocks", "heads", "gated"), [(1, 1, False), (2, 3, True)])
def test_both_methods_agree_with_the_reference(blocks: int, heads: int, gated: bool) -> None:
    made = tower(blocks, heads, gated)
    items, positions = right_padded(HISTORIES, LONGEST)
    states, queries = made.states(made.items(items), positions).detach(), made.query(left_padded(HISTORIES)).detach()
    for b, history in enumerate(HISTORIES):
        expected = reference(made, history)
        np.testing.assert_allclose(states[b, : len(history)], expected, atol=1e-5)
        np.testing.assert_allclose(queries[b], expected[-1], atol=1e-5)


def test_a_later_item_changes_no_earlier_state() -> None:
    made = tower()
    items, positions = right_padded([[3, 1, 4, 1, 5, 9, 2]], LONGEST)
    changed = items.clone()
    changed[0, 4] = 11
    one, other = (made.states(made.items(which), positions)[0].detach() for which in (items, changed))
    torch.testing.assert_close(one[:4], other[:4], rtol=0, atol=0)
    assert (one[4:] - other[4:]).abs().amax(dim=1).gt(1e-3).all()


def test_padding_on_the_right_changes_nothing() -> None:
    made = tower()
    items, positions = right_padded([[5, 3, 5]], 3)
    wider, more = right_padded([[5, 3, 5]], LONGEST)
    short, long = made.states(made.items(items), positions), made.states(made.items(wider), more)
    torch.testing.assert_close(short[0], long[0, :3], atol=1e-6, rtol=0)


def test_an_empty_history_gives_finite_vectors() -> None:
    assert torch.isfinite(tower().query(left_padded([[], [1]]))).all()


def test_order_matters() -> None:
    made = tower()
    one, other = made.query(left_padded([[1, 2, 3], [2, 1, 3]]))
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_dropout_keeps_the_mean_and_a_share(share: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(101, 103, requires_grad=True)
    out = fast_dropout(x, share)
    assert abs(float((out.detach() == 0).float().mean()) - share) < 0.02
    assert abs(float(out.detach().mean()) - 1) < 0.03
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())


def test_dropout_is_independent_of_the_column() -> None:
    torch.manual_seed(0)
    rows = fast_dropout(torch.ones(400, 16), 0.5)
    assert ((rows == 0).float().mean(dim=0) - 0.5).abs().max() < 0.12
    assert np.abs(np.corrcoef((rows == 0).T.double().numpy()) - np.eye(16)).max() < 0.25


def cloze() -> ClozeTower:
    torch.manual_seed(3)
    made = ClozeTower(N_ITEMS, WIDTH, LONGEST, 2, 3, 0.5, True)
    made.eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return made


def masked_states(made: ClozeTower, histories: list[list[int]], at: list[int], width: int) -> torch.Tensor:
    """Return the state at each position, with one masked position in each history."""
    items, positions = right_padded(histories, width)
    real = torch.arange(width) < torch.tensor([len(h) for h in histories])[:, None]
    masked = torch.arange(width) == torch.tensor(at)[:, None]
    return made.masked_states(made.items(items), positions, masked, real).detach()


def test_a_query_is_the_state_of_a_mask_at_the_end() -> None:
    made = cloze()
    states = masked_states(made, [[*h, 0] for h in HISTORIES], [len(h) for h in HISTORIES], LONGEST + 1)
    expected = torch.stack([states[b, len(h)] for b, h in enumerate(HISTORIES)])
    torch.testing.assert_close(made.query(left_padded(HISTORIES)).detach(), expected, atol=1e-5, rtol=1e-5)


def test_a_masked_position_sees_both_sides_and_not_its_own_item() -> None:
    made = cloze()
    base = masked_states(made, [[3, 1, 4, 1, 5]], [2], 5)[0, 2]
    assert torch.equal(base, masked_states(made, [[3, 1, 9, 1, 5]], [2], 5)[0, 2])
    for other in ([[7, 1, 4, 1, 5]], [[3, 1, 4, 1, 8]]):
        assert (base - masked_states(made, other, [2], 5)[0, 2]).abs().max() > 1e-3


def test_padding_changes_no_masked_state() -> None:
    made = cloze()
    short, long = masked_states(made, [[3, 1, 4]], [1], 3), masked_states(made, [[3, 1, 4]], [1], LONGEST)
    torch.testing.assert_close(short[0], long[0, :3], atol=1e-6, rtol=0)
