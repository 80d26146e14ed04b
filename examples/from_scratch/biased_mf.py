"""Biased matrix factorisation in plain NumPy: a rating is the mean, two biases, and the product of two vectors.

Run: python examples/from_scratch/biased_mf.py [SOURCE], where SOURCE is a log that pasand reads (default: bollywood).
Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8), 2009.
"""

import sys

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.types import Arrays, Queries, Rows, Scores


def epoch(
    parameters: Arrays, visits: Arrays, mean: float, learning_rate: float, l2: float = 0.06, l2_bias: float = 0.03
) -> float:
    """Update the biases and vectors of each rating in turn, and return the RMSE before each update."""
    user_bias, item_bias = parameters["user_bias"], parameters["item_bias"]
    user_vectors, item_vectors = parameters["user_vectors"], parameters["item_vectors"]
    total = 0.0
    for user, item, rating in zip(visits["user"], visits["item"], visits["value"], strict=True):
        p, q = user_vectors[user].copy(), item_vectors[item].copy()
        error = rating - mean - user_bias[user] - item_bias[item] - p @ q
        # down the gradient of (error^2 + l2 (p^2 + q^2) + l2_bias (b_u^2 + b_i^2)) / 2
        user_bias[user] += learning_rate * (error - l2_bias * user_bias[user])
        item_bias[item] += learning_rate * (error - l2_bias * item_bias[item])
        user_vectors[user] += learning_rate * (error * q - l2 * p)
        item_vectors[item] += learning_rate * (error * p - l2 * q)
        total += error**2
    return float(np.sqrt(total / len(visits["user"])))


class BiasedMF:
    """Learns from every rating, for a fixed number of epochs."""

    def __init__(self, dimensions: int = 8, epochs: int = 20, learning_rate: float = 0.02) -> None:
        self.dimensions, self.epochs, self.learning_rate = dimensions, epochs, learning_rate

    def fit(self, data: Dataset, *, rng: Generator) -> "BiasedMF":
        """Learn by stochastic gradient descent, in another random order each epoch, and return itself."""
        if data.value is None or data.values != "rating":
            raise SystemExit(f"{data.name}: matrix factorisation of ratings needs ratings, and these data have none")
        self.mean = float(data.value.mean(dtype=np.float64))
        self.parameters = {
            "user_bias": np.zeros(data.n_users),
            "item_bias": np.zeros(data.n_items),
            "user_vectors": rng.normal(0, 0.02, (data.n_users, self.dimensions)),
            "item_vectors": rng.normal(0, 0.02, (data.n_items, self.dimensions)),
        }
        # users and items without ratings keep zeros, so their predictions are the mean and the other side's bias
        self.parameters["user_vectors"][np.bincount(data.user, minlength=data.n_users) == 0] = 0
        self.parameters["item_vectors"][np.bincount(data.item, minlength=data.n_items) == 0] = 0
        for n in range(self.epochs):
            order = rng.permutation(len(data))
            visits = {"user": data.user[order], "item": data.item[order], "value": data.value[order].astype(float)}
            rmse = epoch(self.parameters, visits, self.mean, self.learning_rate * 0.98**n)
            print(f"epoch {n + 1}: train RMSE {rmse:.4f}")
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the predicted ratings of items, (B, K), or of the catalogue, (B, N); an unknown row has bias 0."""
        given = np.arange(len(self.parameters["item_bias"]))[None, :] if items is None else items
        user = queries.users[:, None]
        biases = np.where(user < 0, 0, self.parameters["user_bias"][user])
        biases = self.mean + biases + np.where(given < 0, 0, self.parameters["item_bias"][given])
        products = np.sum(self.parameters["user_vectors"][user] * self.parameters["item_vectors"][given], axis=-1)
        return (biases + np.where((user < 0) | (given < 0), 0, products)).astype(np.float32)

    predict = score


if __name__ == "__main__":
    from measure import table

    from pasand.models.ratings.biased_mf import BiasedMF as Library

    table(sys.argv[1] if len(sys.argv) > 1 else "bollywood", {"from scratch": BiasedMF(), "pasand": Library()})
