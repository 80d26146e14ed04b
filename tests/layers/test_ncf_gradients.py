"""Hand-written loss and gradients of neural collaborative filtering equal those of automatic differentiation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pasand.layers import ncf_gradients
from pasand.layers.ncf import NCF, DensePath, ProductPath

USERS, ITEMS = 5, 9


def network(paths: tuple[str, ...], widths: tuple[int, ...] = (8, 6), dropout: float = 0.0) -> NCF:
    torch.manual_seed(0)
    built: dict[str, ProductPath | DensePath] = {}
    if "product" in paths:
        built["product"] = ProductPath(USERS, ITEMS, 4)
    if "layers" in paths:
        built["layers"] = DensePath(USERS, ITEMS, {}, 4, widths, dropout)
    return NCF(built)


def batch(users: int, n_items: int, seed: int = 0) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    inputs = {
        "user": torch.randint(USERS + 1, (users,), generator=draw),
        "item": torch.randint(ITEMS + 1, (users * n_items,), generator=draw),
    }
    label = torch.rand((users, n_items), generator=draw).round()
    return inputs, label, torch.randint(3, (users, n_items), generator=draw).float()


def gradients(net: NCF, inputs: dict[str, Tensor], label: Tensor, counts: Tensor) -> list[Tensor]:
    net.zero_grad()
    (net.cross_entropy(inputs, label, counts) / counts.sum().clamp(min=1)).backward()
    return [weight.grad.clone() for weight in net.parameters() if weight.grad is not None]


@pytest.mark.parametrize("paths", [("product",), ("layers",), ("product", "layers")], ids="+".join)
@given(users=st.integers(1, 12), n_items=st.integers(1, 5), seed=st.integers(0, 9))
@settings(max_examples=20)
def test_gradients_are_those_of_automatic_differentiation(
    paths: tuple[str, ...], users: int, n_items: int, seed: int
) -> None:
    net, (inputs, label, counts) = network(paths), batch(users, n_items, seed)
    manual = net.cross_entropy(inputs, label, counts), gradients(net, inputs, label, counts)
    for path in net.paths.values():
        path.plain = False
    automatic = net.cross_entropy(inputs, label, counts), gradients(net, inputs, label, counts)
    torch.testing.assert_close(manual, automatic, rtol=1e-4, atol=1e-5)
    assert len(manual[1]) == len(list(net.parameters()))


def test_chunks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (inputs, label, counts) = network(("product", "layers")), batch(12, 3)
    whole = net.cross_entropy(inputs, label, counts), gradients(net, inputs, label, counts)
    monkeypatch.setattr(ncf_gradients, "CHUNK", 7)
    chunked = net.cross_entropy(inputs, label, counts), gradients(net, inputs, label, counts)
    torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-5)


def test_networks_with_dropout_or_without_layers_use_automatic_differentiation() -> None:
    inputs, label, counts = batch(6, 2)
    for widths, dropout in (((8,), 0.5), ((), 0.0)):
        net = network(("layers",), widths, dropout).eval()
        logits = net.rank({"user": inputs["user"].repeat_interleave(2), "item": inputs["item"]}).view_as(label)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
        torch.testing.assert_close(net.cross_entropy(inputs, label, counts), (losses * counts).sum())


def test_equal_codes_add_their_gradients() -> None:
    table = torch.nn.Embedding.from_pretrained(torch.zeros(3, 2), freeze=False)
    (ncf_gradients.rows(table, torch.tensor([1, 1, 2])) * torch.tensor([[1.0], [2.0], [4.0]])).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.tolist() == [[0, 0], [3, 3], [4, 4]]
