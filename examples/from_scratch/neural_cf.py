"""Neural collaborative filtering in plain NumPy, with backpropagation by hand.

The vectors of user and item are concatenated; two dense layers of 64 and 32 units and one output predict whether the
user likes the item. He et al., "Neural Collaborative Filtering", WWW 2017 (the MLP of section 3.3).
Run: python examples/from_scratch/neural_cf.py [SOURCE], where SOURCE is a log that pasand reads (default: bollywood).
"""

import sys
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.types import Array, Arrays, Queries, Rows, Scores


def start(n_users: int, n_items: int, dimensions: int, rng: Generator) -> dict[str, Array]:
    """Return random parameters: small embeddings, He initialisation for the ReLU layers, biases 0."""
    wide = (2 * dimensions, 64, 32, 1)
    parameters = {
        "users": rng.normal(0, 0.1, (n_users, dimensions)),
        "items": rng.normal(0, 0.1, (n_items, dimensions)),
    }
    for n, (narrow, to) in enumerate(pairwise(wide)):
        parameters[f"weight{n}"] = rng.normal(0, np.sqrt(2 / narrow), (narrow, to))
        parameters[f"bias{n}"] = np.zeros(to)
    return parameters


def forward(parameters: Arrays, users: Rows, items: Rows) -> list[Array]:
    """Return the output of every layer, the logits last; (B, 2 D), (B, 64), (B, 32), (B, 1)."""
    layers = [np.hstack([parameters["users"][users], parameters["items"][items]])]
    for n in range(3):
        z = layers[-1] @ parameters[f"weight{n}"] + parameters[f"bias{n}"]
        layers.append(np.maximum(z, 0) if n < 2 else z)
    return layers


def loss_and_gradients(parameters: Arrays, users: Rows, items: Rows, liked: Array) -> tuple[float, dict[str, Array]]:
    """Return the mean binary cross-entropy of the sigmoid outputs and its gradients, by name of the parameter."""
    layers = forward(parameters, users, items)
    logits = layers[-1][:, 0]
    loss = np.mean(np.logaddexp(0, logits) - liked * logits)
    above = ((1 / (1 + np.exp(-logits)) - liked) / len(liked))[:, None]  # d loss / d logit
    gradients = {}
    for n in (2, 1, 0):
        gradients[f"weight{n}"] = layers[n].T @ above
        gradients[f"bias{n}"] = above.sum(axis=0)
        above = above @ parameters[f"weight{n}"].T
        if n:
            above = above * (layers[n] > 0)  # the ReLU passes the gradient where it passed the input
    dimensions = parameters["users"].shape[1]
    for name, rows, part in (("users", users, above[:, :dimensions]), ("items", items, above[:, dimensions:])):
        gradients[name] = np.zeros_like(parameters[name])
        np.add.at(gradients[name], rows, part)  # a row may occur more than once in a batch
    return float(loss), gradients


class Adam:
    """Updates parameters in place: Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015."""

    def __init__(self, parameters: Arrays, learning_rate: float) -> None:
        self.parameters, self.learning_rate, self.n = parameters, learning_rate, 0
        self.mean = {name: np.zeros_like(values) for name, values in parameters.items()}
        self.square = {name: np.zeros_like(values) for name, values in parameters.items()}

    def step(self, gradients: Arrays) -> None:
        """Take one step against the gradients."""
        self.n += 1
        for name, gradient in gradients.items():
            self.mean[name] += 0.1 * (gradient - self.mean[name])
            self.square[name] += 0.001 * (gradient**2 - self.square[name])
            mean, square = self.mean[name] / (1 - 0.9**self.n), self.square[name] / (1 - 0.999**self.n)
            self.parameters[name][:] -= self.learning_rate * mean / (np.sqrt(square) + 1e-8)


class NeuralCF:
    """Learns from positives and four uniformly sampled negatives for each."""

    def __init__(self, dimensions: int = 16, epochs: int = 10, batch_size: int = 256, negatives: int = 4) -> None:
        self.dimensions, self.epochs, self.batch_size, self.negatives = dimensions, epochs, batch_size, negatives

    def fit(self, data: Dataset, *, rng: Generator) -> "NeuralCF":
        """Train with Adam on batches of positives (label 1) and sampled items (label 0), and return itself."""
        self.parameters = start(data.n_users, data.n_items, self.dimensions, rng)
        self.known = np.bincount(data.user[data.is_positive], minlength=data.n_users) > 0
        adam = Adam(self.parameters, 0.001)
        liked_user, liked_item = data.user[data.is_positive], data.item[data.is_positive]
        for n in range(self.epochs):
            drawn = rng.integers(0, data.n_items, len(liked_user) * self.negatives)
            users = np.concatenate([liked_user, np.repeat(liked_user, self.negatives)])
            items, labels = np.concatenate([liked_item, drawn]), np.arange(len(users)) < len(liked_user)
            order, losses = rng.permutation(len(users)), []
            for at in range(0, len(users), self.batch_size):
                batch = order[at : at + self.batch_size]
                loss, gradients = loss_and_gradients(self.parameters, users[batch], items[batch], labels[batch])
                adam.step(gradients)
                losses.append(loss)
            print(f"epoch {n + 1}: train loss {np.mean(losses):.4f}")
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the logits of items, (B, K), or of the whole catalogue, (B, N); -inf for users without positives."""
        given = np.arange(len(self.parameters["items"]))[None, :] if items is None else items
        users, rows = np.broadcast_arrays(queries.users[:, None], given)
        logits = forward(self.parameters, users.ravel(), rows.ravel())[-1].reshape(users.shape)
        known = (users >= 0) & self.known[users] & (rows >= 0)
        return np.where(known, logits, -np.inf).astype(np.float32)


if __name__ == "__main__":
    from measure import table

    from pasand.models.rankers.mlp import MLP as Library

    table(sys.argv[1] if len(sys.argv) > 1 else "bollywood", {"from scratch": NeuralCF(), "pasand": Library()})
