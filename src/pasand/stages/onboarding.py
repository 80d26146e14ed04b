"""Onboarding: the items that a new user should rate first, by the gain in NDCG@10 expected of the responses."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.contracts import Retriever
from pasand.data.dataset import Dataset
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores

Values = NDArray[np.float64]
K = 10
"""Length of the lists whose NDCG is raised."""
MAX_CELLS = 1 << 22
"""Most cells, queries x items, of one call of the retriever."""
UNKNOWN, LIKED, DISLIKED = range(3)
"""Responses to an item, and the columns of "child": not consumed, positive, rated below the threshold of positives."""

LAYOUT = {
    "item": Entry("int32", "T", lowest=-1),
    "child": Entry("int32", "T 3", lowest=-1),
    "ranked": Entry("int32", "C", lowest=0),
    "positive_from": Entry("number", infinite=True),
}


@dataclass(kw_only=True)
class Onboarding:
    """Chooses the items that a new user should rate, one after the other, each by the responses so far.

    The choice is a tree: a node is an item, its branches are the three responses (Golbandi, Koren and Lempel, WSDM
    2011, Adaptive Bootstrapping of Recommender Systems Using Decision Trees). They choose by the error of predicted
    ratings; here an item is chosen by the mean gain in NDCG@10 of the retriever's lists, over the users of the training
    data with the same responses. The first half of such a user's events are what the user can respond with, and the
    positives of the second half are the targets. An item that few users know gains little, as does one whose response
    changes no list. The users of a node are few, so its gains are shrunk towards those of the users of the node above.
    """

    retriever: Retriever
    """Makes the lists; the models that it uses must be in earlier tables of the recipe."""
    depth: int = 5
    """Items that are chosen by the responses to the items before them; further ones follow by their gain alone."""
    n_users: int = 1000
    """Users of the training data on which gains are measured, at most."""
    n_candidates: int = 100
    """Items among which the choice is made: those that most of these users know."""
    shrinkage: float = 50.0
    """Number of users at which the gain among the users of a node weighs as much as that of the node above."""
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
        """Grow the tree; without a user who has positives after the first half of the events it is empty."""
        sample = _Sample.of(data, self.retriever, self.n_users, self.n_candidates, rng)
        n, items = len(sample), sample.candidates
        nodes, child = [-1], [[-1, -1, -1]]
        history, gains = np.empty((n, 0), np.int64), np.empty((n, 0))
        ranked = items
        level = [(0, np.arange(n), np.arange(n), frozenset[int]())]  # node, its users, those of its parent, path
        current = sample.ndcg(np.arange(n), np.full((n, 0), -1, np.int64))
        for depth in range(self.depth if n else 0):
            gains = self._gains(sample, history, current)
            if not depth:
                ranked = items[np.argsort(-gains.mean(axis=0), kind="stable")]
            history, following = np.column_stack([history, np.full(n, -1)]), []
            for node, users, above, path in level:
                prior = gains[above].mean(axis=0) if len(above) else gains.mean(axis=0)
                gain = (gains[users].sum(axis=0) + self.shrinkage * prior) / (len(users) + self.shrinkage)
                gain[list(path)] = -np.inf
                best = int(np.argmax(gain))
                if gain[best] == -np.inf:
                    continue
                nodes[node] = int(items[best])
                response = sample.response[users, best]
                known = users[response != UNKNOWN]
                current[known] += gains[known, best]
                history[known, -1] = best
                for kind in (UNKNOWN, LIKED, DISLIKED) if depth + 1 < self.depth else ():
                    child[node][kind] = len(nodes)
                    members = users[response == kind]
                    following.append((len(nodes), members, users if len(users) else above, path | {best}))
                    nodes.append(-1)
                    child.append([-1, -1, -1])
            level = following
        self._learnt = {
            "item": np.array(nodes, np.int32),
            "child": np.array(child, np.int32),
            "ranked": ranked.astype(np.int32),
            "positive_from": np.array(data.positive_from),
        }
        return self

    def _gains(self, sample: _Sample, history: Array, current: Values) -> Values:
        """Return the gain in NDCG of each user by the response to each candidate, 0 for those not known; (n, C)."""
        gains = np.zeros(sample.response.shape)
        user, candidate = np.nonzero(sample.response != UNKNOWN)
        new = ~(history[user] == candidate[:, None]).any(axis=1)
        user, candidate = user[new], candidate[new]
        gains[user, candidate] = sample.ndcg(user, np.column_stack([history[user], candidate])) - current[user]
        return gains

    def items(self, responses: Mapping[int, float], skipped: Container[int], k: int, allowed: Array | None) -> Rows:
        """Return the next k items to rate, (k,) or fewer if no more are known, in order.

        `responses` are the values of the rated items by row, nan for an event without a value; `skipped` the rows that
        the user does not know. Each item after the first is the one to rate if those before it are unknown. `allowed`
        (N,) are the items that may be returned; None: all.
        """
        found: list[int] = []
        item, child = self._learnt["item"], self._learnt["child"]
        node = 0
        while node >= 0 and item[node] >= 0 and len(found) < k:
            row = int(item[node])
            kind = UNKNOWN
            if row in responses:
                kind = DISLIKED if responses[row] < float(self._learnt["positive_from"]) else LIKED
            elif row not in skipped and (allowed is None or allowed[row]):
                found.append(row)
            node = int(child[node, kind])
        for row in self._learnt["ranked"].tolist():
            if len(found) == k:
                break
            if row not in responses and row not in skipped and row not in found and (allowed is None or allowed[row]):
                found.append(row)
        return np.array(found, np.int32)

    def state(self) -> Arrays:
        """Return "item" (T,) and "child" (T, 3) of the nodes, the "ranked" candidates, and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        sizes, child = check(arrays, LAYOUT), arrays["child"]
        above = np.arange(sizes["T"])[:, None]
        if not sizes["T"] or ((child >= 0) & ((child <= above) | (child >= sizes["T"]))).any():
            raise ValueError("each child must be a node after its parent")
        self._learnt = dict(arrays)


@dataclass(frozen=True)
class _Sample:
    """Users, n of them, with what they can respond with and the targets of their lists; C candidates."""

    queries: Queries
    """Queries of the users, with all of their first events."""
    retriever: Retriever
    candidates: Rows
    """(C,) most known first."""
    response: Array
    """(n, C) response of each user to each candidate."""
    value: Scores
    """(n, C) value of the event, nan where there is none."""
    time: Array
    """(n, C) time of the event."""
    targets: Offsets
    """Pairs of user and item as numbers, user * n_items + item, sorted."""
    n_targets: Array
    """(n,) targets of each user, at least 1."""
    n_items: int

    def __len__(self) -> int:
        return len(self.n_targets)

    @classmethod
    def of(cls, data: Dataset, retriever: Retriever, n_users: int, n_candidates: int, rng: Generator) -> Self:
        """Draw at most `n_users` users with targets and find the candidates."""
        grouped = data.by_user
        count = np.diff(grouped.start)
        user = data.user[grouped.event]
        early = np.arange(len(data)) - grouped.start[user] < (count // 2)[user]
        pair = user.astype(np.int64) * max(data.n_items, 1) + grouped.item
        liked = data.is_positive[grouped.event]
        targets = np.setdiff1d(pair[~early & liked], pair[early])
        users = np.unique(targets // max(data.n_items, 1))
        users = users[count[users] >= 2]
        users = np.sort(rng.choice(users, n_users, replace=False)) if len(users) > n_users else users
        queries = data.queries(users.astype(np.int32), k=K, upto=count[users] // 2)
        known = queries.history >= 0
        row, column = np.nonzero(known)
        item = queries.history[row, column]
        n_known = np.bincount(
            np.unique(row * max(data.n_items, 1) + item) % max(data.n_items, 1), minlength=data.n_items
        )
        candidates = np.argsort(-n_known, kind="stable")[:n_candidates]
        candidates = candidates[n_known[candidates] > 0].astype(np.int32)
        code = np.full(data.n_items, -1)
        code[candidates] = np.arange(len(candidates))
        kept = code[item] >= 0
        row, column, item = row[kept], column[kept], item[kept]
        shape = len(users), len(candidates)
        response, value = np.zeros(shape, np.int8), np.full(shape, np.nan, np.float32)
        time = np.zeros(shape, np.int64)
        given = queries.history_value[row, column]
        response[row, code[item]] = np.where(given < np.float32(data.positive_from), DISLIKED, LIKED)
        value[row, code[item]], time[row, code[item]] = given, queries.history_time[row, column]
        width, last = max(data.n_items, 1), max(len(users) - 1, 0)
        position = np.searchsorted(users, targets // width)
        mine = (users[np.minimum(position, last)] == targets // width) if len(users) else np.zeros(0, np.bool_)
        own, n_targets = (
            position[mine] * width + targets[mine] % width,
            np.bincount(position[mine], minlength=len(users)),
        )
        return cls(queries, retriever, candidates, response, value, time, np.sort(own), n_targets, data.n_items)  # type: ignore[arg-type]  # they are int32

    def ndcg(self, users: Array, history: Array) -> Values:
        """Return NDCG@10 of users, (B,), whose history is these candidates, (B, H) padded with -1."""
        found = np.zeros(len(users))
        batch = max(1, MAX_CELLS // max(self.n_items, 1))
        for begin in range(0, len(users), batch):
            part = slice(begin, begin + batch)
            of, own = users[part][:, None], history[part]
            order = np.argsort(np.where(own < 0, -1, self.time[of, own]), axis=1, kind="stable")  # oldest first
            found[part] = self._ndcg(users[part], np.take_along_axis(own, order, axis=1))
        return found

    def _ndcg(self, users: Array, history: Array) -> Values:
        gaps, rows = history < 0, users[:, None]
        items = np.where(gaps, -1, self.candidates[history]).astype(np.int32)
        queries = replace(
            self.queries.take(users),
            history=items,
            history_time=np.where(gaps, 0, self.time[rows, history]),
            history_value=np.where(gaps, np.nan, self.value[rows, history]).astype(np.float32),
            exclude=items,
            k=K,
        )
        lists = self.retriever(queries).items
        pairs = np.where(lists >= 0, rows * self.n_items + lists, -1)
        at = np.minimum(np.searchsorted(self.targets, pairs), len(self.targets) - 1)
        discount = 1 / np.log2(np.arange(2, K + 2))
        gained = ((self.targets[at] == pairs) * discount[: lists.shape[1]]).sum(axis=1)
        ideal = np.cumsum(discount)[np.minimum(self.n_targets[users], K) - 1]
        result: Values = gained / ideal
        return result
