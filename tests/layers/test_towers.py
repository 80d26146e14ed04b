"""Towers, by hand."""

from __future__ import annotations

import torch
from torch import nn

from pasand.layers.embeddings import Average, One, feature
from pasand.layers.towers import Dense, Tower, TwoTowers


def test_an_average_leaves_padding_out() -> None:
    average = Average(2, 1)
    with torch.no_grad():
        average.table.weight[:] = torch.tensor([[0.0], [2.0], [4.0]])
    codes = torch.tensor([[0, 0, 1], [1, 0, 2], [0, 0, 0]])
    assert average(codes).tolist() == [[2.0], [3.0], [0.0]]


def test_padding_learns_nothing_and_the_unknown_do() -> None:
    average, one = Average(2, 3), One(2, 3)
    (average(torch.tensor([[0, 1]])).sum() + one(torch.tensor([0])).sum()).backward()
    assert average.table.weight.grad is not None
    assert one.table.weight.grad is not None
    assert not average.table.weight.grad[0].any()
    assert one.table.weight.grad[0].all()
    assert not average.table.weight[0].any()
    assert not one.table.weight[0].any()


def test_numbers_that_are_not_known_add_nothing() -> None:
    embedded = feature(-3, 4)(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert not embedded[0].any()
    assert embedded[1].any()


def test_a_tower_without_layers_adds_up() -> None:
    parts: dict[str, nn.Module] = {"a": One(1, 4), "b": Average(3, 4)}
    inputs = {"a": torch.tensor([1]), "b": torch.tensor([[1, 3]])}
    expected = parts["a"](inputs["a"]) + parts["b"](inputs["b"])
    torch.testing.assert_close(Tower(parts, 4, ())(inputs), expected)


def test_dense_layers_read_the_parts_side_by_side() -> None:
    parts: dict[str, nn.Module] = {"a": One(1, 4), "b": One(1, 4)}
    inputs = {"a": torch.tensor([1]), "b": torch.tensor([1])}
    tower, alone = Tower(parts, 4, (6,)), Tower(parts, 4, (6, 5), alone=True)
    both = torch.cat([parts["a"](inputs["a"]), parts["b"](inputs["b"])], dim=1)
    assert tower.dense is not None
    assert alone.dense is not None
    torch.testing.assert_close(tower(inputs), tower.dense(both) + both[:, :4] + both[:, 4:])
    torch.testing.assert_close(alone(inputs), alone.dense(both))


def test_relu_stands_between_the_layers() -> None:
    dense = Dense(2, (1,), 1)
    for values, weights in zip(dense.parameters(), ([[1.0, -1.0]], [0.0], [[3.0]], [0.5]), strict=True):
        values.data = torch.tensor(weights)
    assert dense(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).tolist() == [[6.5], [0.5]]


def test_normalised_vectors_have_length_one() -> None:
    towers = TwoTowers(Tower({"user": One(2, 4)}, 4, ()), Tower({"item": One(2, 4)}, 4, ()), normalise=True)
    assert torch.allclose(towers.query({"user": torch.tensor([1, 2])}).norm(dim=1), torch.ones(2))
    assert not towers.item({"item": torch.tensor([0])}).any()  # nothing is known, and nothing is nan
