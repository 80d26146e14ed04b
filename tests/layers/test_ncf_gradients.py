"""By hand as by automatic differentiation: loss and gradients of neural collaborative filtering."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pasand.layers import ncf_gradients
from pasand.layers.ncf import NCF, Layers, Product

USERS, ITEMS = 5, 9


def network(paths: tuple[str, ...], widths: tuple[int, ...] = (8, 6), dropout: float = 0.0) -> NCF:
    torch.manual_seed(0)
    built: dict[str, Product | Layers] = {}
    if "product" in paths:
        built["product"] = Product(USERS, ITEMS, 4)
    if "layers" in paths:
        built["layers"] = Layers(USERS, ITEMS, {}, 4, widths, dropout)
    return NCF(built)


def batch(users: int, many: int, seed: int = 0) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    told = {
        "user": torch.randint(USERS + 1, (users,), generator=draw),
        "item": torch.randint(ITEMS + 1, (users * many,), generator=draw),
    }
    label = torch.rand((users, many), generator=draw).round()
    return told, label, torch.randint(3, (users, many), generator=draw).float()


def gradients(of: NCF, told: dict[str, Tensor], label: Tensor, counts: Tensor) -> list[Tensor]:
    of.zero_grad()
    (of.cross_entropy(told, label, counts) / counts.sum().clamp(min=1)).backward()
    return [weight.grad.clone() for weight in of.parameters() if weight.grad is not None]


@pytest.mark.parametrize("paths", [("product",), ("layers",), ("product", "layers")], ids="+".join)
@given(users=st.integers(1, 12), many=st.integers(1, 5), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_gradients_are_those_of_automatic_differentiation(
    paths: tuple[str, ...], users: int, many: int, seed: int
) -> None:
    net, (told, label, counts) = network(paths), batch(users, many, seed)
    by_hand = net.cross_entropy(told, label, counts), gradients(net, told, label, counts)
    for path in net.paths.values():
        path.plain = False
    usual = net.cross_entropy(told, label, counts), gradients(net, told, label, counts)
    torch.testing.assert_close(by_hand, usual, rtol=1e-4, atol=1e-5)
    assert len(by_hand[1]) == len(list(net.parameters()))


def test_parts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (told, label, counts) = network(("product", "layers")), batch(12, 3)
    whole = net.cross_entropy(told, label, counts), gradients(net, told, label, counts)
    monkeypatch.setattr(ncf_gradients, "PART", 7)
    parts = net.cross_entropy(told, label, counts), gradients(net, told, label, counts)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_networks_with_dropout_or_without_layers_take_the_usual_way() -> None:
    told, label, counts = batch(6, 2)
    for widths, dropout in (((8,), 0.5), ((), 0.0)):
        net = network(("layers",), widths, dropout).eval()
        logits = net.rank({"user": told["user"].repeat_interleave(2), "item": told["item"]}).view_as(label)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
        torch.testing.assert_close(net.cross_entropy(told, label, counts), (losses * counts).sum())


def test_equal_codes_add_their_gradients() -> None:
    table = torch.nn.Embedding.from_pretrained(torch.zeros(3, 2), freeze=False)
    (ncf_gradients.rows(table, torch.tensor([1, 1, 2])) * torch.tensor([[1.0], [2.0], [4.0]])).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.tolist() == [[0, 0], [3, 3], [4, 4]]
