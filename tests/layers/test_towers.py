"""Towers of embeddings and dense layers, on small hand-computed inputs."""

from __future__ import annotations

import torch
from torch import nn

from pasand.layers.embeddings import CodeEmbedding, MeanEmbedding, feature_embedding
from pasand.layers.towers import Dense, Tower, TwoTowers


def test_the_mean_leaves_padding_out() -> None:
    average = MeanEmbedding(2, 1)
    with torch.no_grad():
        average.table.weight[:] = torch.tensor([[0.0], [2.0], [4.0]])
    codes = torch.tensor([[0, 0, 1], [1, 0, 2], [0, 0, 0]])
    assert average(codes).tolist() == [[2.0], [3.0], [0.0]]


def test_padding_is_not_trained_and_the_unknown_code_is() -> None:
    average, single = MeanEmbedding(2, 3), CodeEmbedding(2, 3)
    (average(torch.tensor([[0, 1]])).sum() + single(torch.tensor([0])).sum()).backward()
    assert average.table.weight.grad is not None
    assert single.table.weight.grad is not None
    assert not average.table.weight.grad[0].any()
    assert single.table.weight.grad[0].all()
    assert not average.table.weight[0].any()
    assert not single.table.weight[0].any()


def test_unknown_numbers_add_nothing() -> None:
    embedded = feature_embedding(-3, 4)(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert not embedded[0].any()
    assert embedded[1].any()


def test_a_tower_without_layers_adds_up() -> None:
    parts: dict[str, nn.Module] = {"a": CodeEmbedding(1, 4), "b": MeanEmbedding(3, 4)}
    inputs = {"a": torch.tensor([1]), "b": torch.tensor([[1, 3]])}
    expected = parts["a"](inputs["a"]) + parts["b"](inputs["b"])
    torch.testing.assert_close(Tower(parts, 4, ())(inputs), expected)


def test_dense_layers_read_the_concatenated_embeddings() -> None:
    parts: dict[str, nn.Module] = {"a": CodeEmbedding(1, 4), "b": CodeEmbedding(1, 4)}
    inputs = {"a": torch.tensor([1]), "b": torch.tensor([1])}
    tower, without_sum = Tower(parts, 4, (6,)), Tower(parts, 4, (6, 5), dense_only=True)
    both = torch.cat([parts["a"](inputs["a"]), parts["b"](inputs["b"])], dim=1)
    assert tower.dense is not None
    assert without_sum.dense is not None
    torch.testing.assert_close(tower(inputs), tower.dense(both) + both[:, :4] + both[:, 4:])
    torch.testing.assert_close(without_sum(inputs), without_sum.dense(both))


def test_relu_is_between_the_layers() -> None:
    dense = Dense(2, (1,), 1)
    for values, weights in zip(dense.parameters(), ([[1.0, -1.0]], [0.0], [[3.0]], [0.5]), strict=True):
        values.data = torch.tensor(weights)
    assert dense(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).tolist() == [[6.5], [0.5]]


def test_normalised_vectors_have_length_one() -> None:
    towers = TwoTowers(
        Tower({"user": CodeEmbedding(2, 4)}, 4, ()), Tower({"item": CodeEmbedding(2, 4)}, 4, ()), normalise=True
    )
    assert torch.allclose(towers.query({"user": torch.tensor([1, 2])}).norm(dim=1), torch.ones(2))
    assert not towers.item({"item": torch.tensor([0])}).any()  # nothing is known, and nothing is nan
