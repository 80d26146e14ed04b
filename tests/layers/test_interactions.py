"""Interactions of fields, against loops."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pasand.layers.interactions import BUCKETS, CrossLayer, FieldInteractions, HashedCrosses, second_order  # noqa: E402
from pasand.layers.network_shape import Shape, user_item_crosses  # noqa: E402


def test_second_order_is_the_sum_over_pairs() -> None:
    vectors = torch.randn(3, 4, 5)
    pairs = sum((vectors[:, i] * vectors[:, j]).sum(-1) for i in range(4) for j in range(i))
    torch.testing.assert_close(second_order(vectors), pairs)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_cross_layer_multiplies_with_the_first(rank: int) -> None:
    layer, first, x = CrossLayer(4, rank), torch.randn(3, 4), torch.randn(3, 4)
    matrix = layer.last.weight @ layer.first.weight if rank else layer.last.weight
    for n in range(3):
        expected = first[n] * (matrix @ x[n] + layer.last.bias) + x[n]
        torch.testing.assert_close(layer(first, x)[n], expected)


def test_combinations_have_weights_of_their_own() -> None:
    hashed = HashedCrosses()
    torch.nn.init.normal_(hashed.weights.weight)
    first, second = torch.tensor([[1, 2], [3, 0], [0, 0]]), torch.tensor([[7], [7], [7]])

    def weight(a: int, b: int) -> float:
        return float(hashed.weights.weight.detach()[(a * 1_000_003 + b * 7_919) % BUCKETS, 0])

    expected = torch.tensor([(weight(1, 7) + weight(2, 7)) / 2, weight(3, 7), 0.0])
    torch.testing.assert_close(hashed(first, second), expected)
    assert user_item_crosses(["user", "history", "item", "item.genre", "user.age"]) == (
        ("history", "item"),
        ("history", "item.genre"),
        ("user.age", "item"),
        ("user.age", "item.genre"),
    )


def test_a_factorisation_machine_by_hand() -> None:
    network = FieldInteractions({"user": 2, "item": 3, "pair": -2}, 4, Shape(linear=True, second_order=True))
    inputs = {
        "user": torch.tensor([[1], [2]]),
        "item": torch.tensor([[3], [0]]),
        "pair": torch.tensor([[0.5, -1.0], [2.0, 0.0]]),
    }
    with torch.no_grad():
        for table in network.code_weights:
            table.table.weight.normal_()
            table.table.weight[0] = 0
    for n in range(2):
        numbers = inputs["pair"][n]
        fields = [
            network.embeddings[0].table.weight[inputs["user"][n, 0]],
            network.embeddings[1].table.weight[inputs["item"][n, 0]],
        ]
        fields += [numbers[i] * network.number_vectors[i] for i in range(2)]
        expected = network.bias[0] + network.number_weights.weight[0] @ numbers
        expected = expected + sum(
            t.table.weight[inputs[f][n, 0], 0] for t, f in zip(network.code_weights, ("user", "item"), strict=True)
        )
        expected = expected + sum(fields[i] @ fields[j] for i in range(4) for j in range(i))
        torch.testing.assert_close(network.rank(inputs)[n], expected)


def test_an_unknown_position_has_no_bias() -> None:
    network = FieldInteractions({"item": 3, "pair": -1}, 2, Shape(linear=True))
    with torch.no_grad():
        network.position_biases.weight[1:] = torch.arange(1.0, 101.0)[:, None]
    assert network.position_bias(torch.tensor([0, 1, 3, 900])).tolist() == [0, 1, 3, 100]


@pytest.mark.parametrize(
    "shape",
    [
        Shape(dense=(8, 4)),
        Shape(cross_layers=2, rank=3, dense=(8,)),
        Shape(cross_layers=2),
        Shape(linear=True, second_order=True, dense=(8,)),
        Shape(linear=True, crossed=(("history", "item"),), dense=(8,)),
    ],
    ids=str,
)
def test_what_the_items_of_a_query_share_is_computed_once(shape: Shape) -> None:
    torch.manual_seed(0)
    fields = {"pair": -2, "user": 5, "item": 6, "history": 6, "user.age": -2, "item.genre": 3, "item.year": -2}
    network = FieldInteractions(fields, 4, shape)
    inputs = {
        name: torch.randint(size + 1, (7, 3 if name == "history" else 1)) if size > 0 else torch.randn(7, -size)
        for name, size in fields.items()
    }
    shared = {name: inputs[name][:1] for name in ("user", "history", "user.age")}
    repeated = inputs | {name: values.repeat(7, 1) for name, values in shared.items()}
    query_inputs = inputs | shared | {"items": network.item(inputs)}
    torch.testing.assert_close(network.rank_items(query_inputs), network.rank(repeated))


def test_a_network_reads_all_fields_side_by_side() -> None:
    network = FieldInteractions({"pair": -2, "user": 5, "item": 6}, 4, Shape(cross_layers=2, rank=3, dense=(8, 4)))
    inputs = {"user": torch.tensor([[1], [4]]), "item": torch.tensor([[3], [0]]), "pair": torch.randn(2, 2)}
    x = torch.cat([network.embeddings[0](inputs["user"]), network.embeddings[1](inputs["item"]), inputs["pair"]], dim=1)
    crossed = network.crosses[1](x, network.crosses[0](x, x))
    assert network.output is not None
    expected = network.output(torch.cat([network.dense(x), crossed], dim=1))[:, 0]
    torch.testing.assert_close(network.rank(inputs), expected)
