"""Onboarding: the items, languages or genres that a new user should rate first, by the gain expected in NDCG@10."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.contracts import Retriever
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.stages.onboarding_sample import DISLIKED, LIKED, UNKNOWN, Sample, Values
from pasand.types import Array, Arrays, Rows

NO_NODE = -1, -1, -1
NO_VALUES: Mapping[tuple[str, int], bool | None] = {}
LAYOUT = {
    "item": Entry("int32", "T", lowest=-1),
    "value": Entry("int32", "T 2", lowest=-1, optional=True),
    "child": Entry("int32", "T 3", lowest=-1),
    "ranked": Entry("int32", "C", lowest=0),
    "positive_from": Entry("number", infinite=True),
}


@dataclass(kw_only=True)
class Onboarding:
    """Chooses what a new user should rate, one after the other, each by the responses so far.

    The choice is a tree: a node is an item or a value of a column, its branches are the three responses (Golbandi,
    Koren and Lempel, WSDM 2011, Adaptive Bootstrapping of Recommender Systems Using Decision Trees). They choose by the
    error of predicted ratings; here an item is chosen by the mean gain in NDCG@10 of the retriever's lists, over the
    users of the training data with the same responses. The first half of such a user's events are what the user can
    respond with, and the positives of the second half are the targets. An item that few users know gains little, as
    does one whose response changes no list. The users of a node are few, so its gains are shrunk towards those of the
    users of the node above.

    The values of `columns` compete with the items. The lists of users who like Tamil are those of the Tamil items, as a
    filter of a request makes them: how much a response gains includes what such lists leave out.
    """

    retriever: Retriever
    """Makes the lists; the models that it uses must be in earlier tables of the recipe."""
    depth: int = 5
    """Items that are chosen by the responses to the items before them; further ones follow by their gain alone."""
    n_users: int = 4000
    """Users of the training data on which gains are measured, at most."""
    n_candidates: int = 100
    """Items among which the choice is made: those that most of these users know."""
    shrinkage: float = 50.0
    """Number of users at which the gain among the users of a node weighs as much as that of the node above."""
    columns: Sequence[str] = ()
    """Item features whose values can be rated as well, such as language and genres: categories or bags of them."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("depth", "n_users", "n_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.depth > 8:
            raise ValueError(f"depth must be at most 8, as the tree triples with each level, got {self.depth}")
        if not self.shrinkage > 0:
            raise ValueError(f"shrinkage must be positive, got {self.shrinkage}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Grow the tree; without a user who has positives after the first half of the events it is empty.

        Raises InputError for a column that is no categorical or bag feature of the items.
        """
        features = [_column(data, name) for name in self.columns]
        sample = Sample.of(data, self.retriever, self.n_users, self.n_candidates, features, rng)
        n, items = len(sample), sample.candidates
        nodes, child = [NO_NODE], [[-1, -1, -1]]
        history, gains = np.empty((n, 0), np.int64), np.empty((n, 0))
        ranked = items
        level = [(0, np.arange(n), np.arange(n), frozenset[int]())]  # node, its users, those of its parent, path
        current = sample.ndcg(np.arange(n), np.full((n, 0), -1, np.int64))
        for depth in range(self.depth if n else 0):
            gains = self._gains(sample, history, current)
            if not depth:
                ranked = items[np.argsort(-gains.mean(axis=0)[: len(items)], kind="stable")]
            history, following = np.column_stack([history, np.full(n, -1)]), []
            for node, users, above, path in level:
                prior = gains[above].mean(axis=0) if len(above) else gains.mean(axis=0)
                gain = (gains[users].sum(axis=0) + self.shrinkage * prior) / (len(users) + self.shrinkage)
                gain[list(path)] = -np.inf
                best = int(np.argmax(gain))
                if gain[best] == -np.inf:
                    continue
                nodes[node] = sample.node(best)
                response = sample.response[users, best]
                known = users[response != UNKNOWN]
                current[known] += gains[known, best]
                history[known, -1] = best
                for kind in (UNKNOWN, LIKED, DISLIKED) if depth + 1 < self.depth else ():
                    child[node][kind] = len(nodes)
                    members = users[response == kind]
                    following.append((len(nodes), members, users if len(users) else above, path | {best}))
                    nodes.append(NO_NODE)
                    child.append([-1, -1, -1])
            level = following
        self._learnt = {
            "item": np.array(nodes, np.int32)[:, 0],
            "value": np.array(nodes, np.int32)[:, 1:],
            "child": np.array(child, np.int32),
            "ranked": ranked.astype(np.int32),
            "positive_from": np.array(data.positive_from),
        }
        return self

    def _gains(self, sample: Sample, history: Array, current: Values) -> Values:
        """Return the gain in NDCG of each user by the response to each candidate, 0 for those not known; (n, C)."""
        gains = np.zeros(sample.response.shape)
        user, candidate = np.nonzero(sample.changes_lists)
        new = ~(history[user] == candidate[:, None]).any(axis=1)
        user, candidate = user[new], candidate[new]
        gains[user, candidate] = sample.ndcg(user, np.column_stack([history[user], candidate])) - current[user]
        return gains

    def items(
        self,
        responses: Mapping[int, float],
        skipped: Container[int],
        k: int,
        allowed: Array | None,
        values: Mapping[tuple[str, int], bool | None] = NO_VALUES,
    ) -> Rows:
        """Return the next k items to rate, (k,) or fewer if no more are known, in order.

        `responses` are the values of the rated items by row, nan for an event without a value; `skipped` the rows that
        the user does not know. Each item after the first is the one to rate if those before it are unknown. `allowed`
        (N,) are the items that may be returned; None: all. `values` are the responses to values by column and code:
        liked, disliked, or None for no preference.
        """
        found: list[int] = []
        for row, _ in self._open(responses, skipped, allowed, values):
            if len(found) < k and row >= 0:
                found.append(row)
        for row in self._learnt["ranked"].tolist():
            if len(found) == k:
                break
            if row not in responses and row not in skipped and row not in found and (allowed is None or allowed[row]):
                found.append(row)
        return np.array(found, np.int32)

    def value(
        self,
        responses: Mapping[int, float],
        skipped: Container[int],
        allowed: Array | None,
        values: Mapping[tuple[str, int], bool | None] = NO_VALUES,
    ) -> tuple[str, int] | None:
        """Return the column and the code of the value to rate before the items of `items`; None: an item is first."""
        row, value = next(iter(self._open(responses, skipped, allowed, values)), (0, None))
        return value if row < 0 else None

    def _open(
        self,
        responses: Mapping[int, float],
        skipped: Container[int],
        allowed: Array | None,
        values: Mapping[tuple[str, int], bool | None],
    ) -> Iterator[tuple[int, tuple[str, int] | None]]:
        """Yield the nodes that are not rated yet, each if those before it are unknown: the row, or -1 and the value."""
        item, child = self._learnt["item"], self._learnt["child"]
        pairs = self._learnt.get("value", np.full((len(item), 2), -1))
        node = 0
        while node >= 0:
            row, (column, code), kind = int(item[node]), pairs[node].tolist(), UNKNOWN
            if row >= 0:
                if row in responses:
                    kind = DISLIKED if responses[row] < float(self._learnt["positive_from"]) else LIKED
                elif row not in skipped and (allowed is None or allowed[row]):
                    yield row, None
            elif 0 <= column < len(self.columns):
                value = self.columns[column], code
                if value not in values:
                    yield -1, value
                kind = {True: LIKED, False: DISLIKED}.get(values.get(value), UNKNOWN)  # type: ignore[arg-type]
            else:
                return
            node = int(child[node, kind])

    def state(self) -> Arrays:
        """Return "item" (T,), "value" (T, 2) and "child" (T, 3) of the nodes, the "ranked" items, "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        sizes, child = check(arrays, LAYOUT), arrays["child"]
        above = np.arange(sizes["T"])[:, None]
        if not sizes["T"] or ((child >= 0) & ((child <= above) | (child >= sizes["T"]))).any():
            raise ValueError("each child must be a node after its parent")
        self._learnt = dict(arrays)


def _column(data: Dataset, name: str) -> Feature:
    """Return the item feature of this name; raises InputError if there is none with categories."""
    feature = data.item_features.get(name)
    if feature is None or feature.kind not in ("categorical", "bag"):
        valid = [other for other, one in data.item_features.items() if one.kind in ("categorical", "bag")]
        raise InputError(
            data.name,
            column=name,
            cause="items have no such feature with categories, which new users could rate",
            cure=f"name one of {', '.join(valid)} in columns" if valid else "leave columns out",
        )
    return feature
