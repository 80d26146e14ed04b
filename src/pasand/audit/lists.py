"""The lists that a bundle recommends at the test queries of a split, and what the measures of an audit read of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from pasand.contracts import Retriever
from pasand.evaluation.split import Split
from pasand.following import counting, following
from pasand.metrics.names import metrics
from pasand.progress import step
from pasand.types import Array, Candidates, Mask, Offsets, Queries, Rows, Times


@dataclass(frozen=True)
class KnownUsers:
    """A recommender for which the users that it was not fitted to are unknown, as while serving."""

    recommender: Retriever
    n_users: int

    def __call__(self, queries: Queries) -> Candidates:
        users = np.where(queries.users < self.n_users, queries.users, np.int32(-1))
        return self.recommender(replace(queries, users=users))


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The recommended lists of Q test queries of n users, of K items each; figures by user are means over queries."""

    split: Split
    k: int
    users: Rows
    """(n,) test users, each once."""
    query_user: Offsets
    """(Q,) position among the users of the user of each query."""
    items: Rows
    """(Q, K) recommended items, padded with -1."""
    metrics: dict[str, Array]
    """(n,) each list metric by user; nan if undefined."""

    @property
    def time(self) -> Times:
        """(Q,) time of each query."""
        return self.split.test_queries.time

    @property
    def weights(self) -> Array:
        """(Q, K) exposure of each position, 1 / log2(rank + 1) as in DCG; 0 at padding."""
        weights = 1 / np.log2(np.arange(self.items.shape[1]) + 2.0)
        return np.where(self.items >= 0, weights[None, :], 0.0)

    def by_user(self, values: Array) -> Array:
        """Return each user's mean over queries with a defined value, (Q,) -> (n,); nan without any."""
        return mean_by(self.query_user, values, len(self.users))

    def exposure(self, inside: Mask | Array) -> Array:
        """Return the exposure of the items that are inside, or weighted by `inside`, (Q, K), by user; (n,)."""
        return self.by_user((self.weights * inside).sum(axis=1))

    def chosen(self) -> tuple[Offsets, Rows, Array]:
        """Return the query, the item and the share of its query's gain of each relevant item, (T,) each."""
        test = self.split.test_queries
        query = np.repeat(np.arange(len(test)), np.diff(test.start))
        total = np.bincount(query, test.value, len(test))
        return query, test.item, test.value / np.where(total > 0, total, 1)[query]

    def merit(self, inside: Array) -> Array:
        """Return the share of the relevant items' gains that is inside, or its weighted sum, (T,) -> (n,), by user."""
        query, _, share = self.chosen()
        return self.by_user(np.bincount(query, share * inside, len(self.items)))

    def item_exposure(self) -> sparse.csr_array:
        """Return the exposure of each item by user, (n, N); each user's mean over the user's queries."""
        query, column = np.nonzero(self.items >= 0)
        n_queries = np.bincount(self.query_user, minlength=len(self.users))
        user = self.query_user[query]
        values = self.weights[query, column] / n_queries[user]
        shape = (len(self.users), self.split.train.n_items)
        return sparse.csr_array((values, (user, self.items[query, column])), shape=shape)

    def histories(self) -> Iterator[tuple[Offsets, Rows, Times]]:
        """Yield queries, (B,), with the items of the positive events of their histories, (B, H), and the times.

        Items are -1 at padding and at events that are not positive.
        """
        test = self.split.test_queries
        for which in test.batches(1024):
            queries = test.queries(which, 1)
            liked = ~(queries.history_value < np.float32(test.log.positive_from))
            yield which, np.where(liked, queries.history, np.int32(-1)), queries.history_time

    def history_means(self, values: Array) -> Array:
        """Return each user's mean value of the history's items, (N, D) -> (n, D), averaged over queries.

        Values that are nan, and queries without an item in the history, do not count; nan without any.
        """
        out = np.full((len(self.items), values.shape[1]), np.nan)
        for which, history, _ in self.histories():
            real = history >= 0
            found = np.where(real[:, :, None], values[np.where(real, history, 0)], np.nan)
            count = (~np.isnan(found)).sum(axis=1)
            out[which] = np.where(count > 0, np.nansum(found, axis=1) / np.maximum(count, 1), np.nan)
        return np.column_stack([self.by_user(column) for column in out.T])


def mean_by(group: Offsets, values: Array, n: int) -> Array:
    """Return the mean of the defined values of each of n groups, (m,), (m,) -> (n,); nan without any."""
    defined = ~np.isnan(values)
    count = np.bincount(group[defined], minlength=n)
    total = np.bincount(group[defined], values[defined], n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def recommend(recommender: Retriever, split: Split, names: Sequence[str], k: int) -> Lists:
    """Return the lists of a fitted recommender at the test queries, as `evaluate` obtains them, and their metrics.

    Only list metrics of `names` are measured. Components that follow a log follow that of the split.
    """
    test, k = split.test_queries, max(1, min(k, split.train.n_items))
    chosen = metrics(names, split.train).lists
    users, query_user = np.unique(test.user, return_inverse=True)
    items, done = np.full((len(test), k), -1, np.int32), 0
    values = {name: np.full(len(test), np.nan) for name in chosen}
    with following([recommender], split.followed), counting(recommender):
        for batch in split.list_batches(k):
            candidates = recommender(batch.queries)
            for name, metric in chosen.items():
                values[name][batch.which] = metric(candidates, batch.relevant)
            items[batch.which, : candidates.items.shape[1]] = candidates.items[:, :k]
            done += len(batch.which)
            step("recommending", done, len(test))
    by_user = {name: mean_by(query_user, column, len(users)) for name, column in values.items()}
    return Lists(split=split, k=k, users=users, query_user=query_user, items=items, metrics=by_user)
