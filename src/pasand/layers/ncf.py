"""Neural collaborative filtering (He et al., WWW 2017): products of embeddings, dense layers over them, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pasand.layers.embeddings import feature_embedding
from pasand.layers.ncf_gradients import Vectors, cross_entropy, rows


def embedding_table(codes: int, dimensions: int) -> nn.Embedding:
    """Return vectors for codes 0..codes, drawn with deviation .1 (Rendle et al., RecSys 2020).

    With the .01 of He et al. training on small logs starts too slowly.
    """
    embedding = nn.Embedding(codes + 1, dimensions)
    nn.init.normal_(embedding.weight, std=0.1)
    return embedding


class ProductPath(nn.Module):
    """The element-wise product of the user's and the item's vector: GMF without its output layer (equation 8)."""

    def __init__(self, users: int, items: int, dimensions: int) -> None:
        """Take the largest codes of users and of items."""
        super().__init__()
        self.users, self.items, self.width = (
            embedding_table(users, dimensions),
            embedding_table(items, dimensions),
            dimensions,
        )
        self.plain = True
        """Whether `ncf_gradients` covers the path."""

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "user" and "item", (n,) codes, to (n, D)."""
        vectors: Tensor = self.users(inputs["user"]) * self.items(inputs["item"])
        return vectors


class DensePath(nn.Module):
    """ReLU layers over the concatenated vectors of user, item and side features: MLP without its output (equation 10).

    Without layers it is the concatenation itself.
    """

    def __init__(
        self, users: int, items: int, sides: Mapping[str, int], dimensions: int, widths: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.users, self.items = embedding_table(users, dimensions), embedding_table(items, dimensions)
        self._names = list(sides)
        self.sides = nn.ModuleList(feature_embedding(size, dimensions) for size in sides.values())
        before, layers = (2 + len(sides)) * dimensions, list[nn.Module]()
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
            before = width
        self.dense, self.width = nn.Sequential(*layers), before
        self.plain = bool(widths) and not sides and not dropout

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map "user" and "item", (n,) codes, and the side features to (n, last width)."""
        own = [self.users(inputs["user"]), self.items(inputs["item"])]
        sides = [embedding(inputs[name]) for name, embedding in zip(self._names, self.sides, strict=True)]
        vectors: Tensor = self.dense(torch.cat([*own, *sides], dim=-1))
        return vectors


class NCF(nn.Module):
    """Maps the concatenated outputs of its paths to a logit (equation 12)."""

    def __init__(self, paths: Mapping[str, ProductPath | DensePath]) -> None:
        super().__init__()
        self.paths = nn.ModuleDict(dict(paths))
        self.output = nn.Linear(sum(path.width for path in paths.values()), 1)
        nn.init.kaiming_uniform_(self.output.weight, a=1)

    def rank(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map inputs, (n, ...) each, to logits, (n,)."""
        logits: Tensor = self.output(torch.cat([path(inputs) for path in self.paths.values()], dim=-1))
        return logits[:, 0]

    def cross_entropy(self, inputs: dict[str, Tensor], label: Tensor, counts: Tensor) -> Tensor:
        """Return the summed cross-entropy of users with M items each, weighted by the counts of pairs, (B, M).

        Inputs of users have B rows, inputs of items B M. On a CPU what a user's items share is computed once, unless
        there is dropout, a side feature or bfloat16.
        """
        if self._uses_manual_gradients(label.device.type):
            vectors = Vectors(*self._path_vectors("product", inputs), *self._path_vectors("layers", inputs))
            layers = [weight for name, weight in self.named_parameters() if name.startswith("paths.layers.dense.")]
            return cross_entropy(vectors, label, counts, (self.output.weight, self.output.bias), layers)
        n_items = label.shape[1]
        shared = {name for name in inputs if name == "user" or name.startswith("user.")}
        repeated = {k: v.repeat_interleave(n_items, 0) if k in shared else v for k, v in inputs.items()}
        logits = self.rank(repeated).float().view_as(label)
        return functional.binary_cross_entropy_with_logits(logits, label, counts, reduction="sum")

    def _path_vectors(self, path: str, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return a path's vectors of users, (B, D), and of items, (B M, D); D = 0 where there is no such path."""
        users, items = inputs["user"], inputs["item"]
        if path not in self.paths:
            empty = self.output.weight.new_empty((len(items), 0))
            return empty[: len(users)], empty
        return rows(self.paths[path].users, users), rows(self.paths[path].items, items)

    def _uses_manual_gradients(self, device: str) -> bool:
        plain = all(path.plain for path in self.paths.values())
        return plain and device == "cpu" and not torch.is_autocast_enabled("cpu")

    def load_pretrained(self, states: Mapping[str, Mapping[str, Tensor]], weights: Mapping[str, float]) -> None:
        """Initialise from networks that have one path each, whose outputs are weighted so (equation 13)."""
        with torch.no_grad():
            for name in self.paths:
                own = {k.removeprefix(f"paths.{name}."): v for k, v in states[name].items() if k.startswith("paths.")}
                self.paths[name].load_state_dict(own)
            self.output.weight.copy_(torch.cat([weights[n] * states[n]["output.weight"] for n in self.paths], dim=1))
            self.output.bias.copy_(sum(weights[n] * states[n]["output.bias"] for n in self.paths))
