"""Users of the training data on which choices of onboarding are measured, and NDCG@10 of lists by their responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse import csr_array

from pasand.contracts import Retriever
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.types import Array, Mask, Offsets, Queries, Rows, Scores

Values = NDArray[np.float64]
K = 10
"""Length of the lists whose NDCG is raised."""
MAX_CELLS = 1 << 22
"""Most cells, queries x items, of one call of the retriever."""
UNKNOWN, LIKED, DISLIKED = range(3)
"""Responses to an item: not consumed, positive, rated below the threshold of positives; to a value: no preference,
liked, disliked. They are the columns of "child" of a tree."""
LIKED_SHARE, MIN_LIKED = 0.2, 2
"""Share and number of a user's positives from which on the user likes a value that they have."""
MAX_VALUES = 20
"""Values of a column among which the choice is made, at most: those that most users like."""


@dataclass(frozen=True)
class Sample:
    """Users, n of them, with what they can respond with and the targets of their lists.

    Candidates are C items and V values of item features, such as languages. A user likes a value that at least a fifth
    of the own positives have, two or more, and dislikes one that none of them has.
    """

    queries: Queries
    """Queries of the users, as new ones, with all of their first events."""
    retriever: Retriever
    candidates: Rows
    """(C,) most known first."""
    values: Array
    """(V, 2) column of each value, and its code there; by column, most liked first."""
    members: Scores
    """(V, N) 1 where an item has the value, else 0."""
    response: Array
    """(n, C + V) response of each user to each candidate."""
    value: Scores
    """(n, C) rating or strength of the event, nan where there is none."""
    time: Array
    """(n, C) time of the event."""
    targets: Offsets
    """Pairs of user and item as numbers, user * n_items + item, sorted."""
    n_targets: Array
    """(n,) targets of each user, at least 1."""
    n_items: int

    def __len__(self) -> int:
        return len(self.n_targets)

    @property
    def changes_lists(self) -> Mask:
        """Whether each response changes the user's lists, (n, C + V): to a known item, or to a liked value."""
        changes: Mask = self.response == LIKED
        changes[:, : len(self.candidates)] |= self.response[:, : len(self.candidates)] == DISLIKED
        return changes

    def node(self, candidate: int) -> tuple[int, int, int]:
        """Return the item of a candidate, or -1, and the column and code of its value, or -1 and -1."""
        n = len(self.candidates)
        if candidate < n:
            return int(self.candidates[candidate]), -1, -1
        column, code = self.values[candidate - n].tolist()
        return -1, column, code

    @classmethod
    def of(
        cls,
        data: Dataset,
        retriever: Retriever,
        n_users: int,
        n_candidates: int,
        columns: Sequence[Feature],
        rng: Generator,
    ) -> Self:
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
        liked_items = queries.liked(data.positive_from)
        named = [_likes(feature, code, liked_items) for code, feature in enumerate(columns)]
        values = np.concatenate([np.empty((0, 2), np.int64), *(one for one, _ in named)])
        likes = np.concatenate([np.empty((len(users), 0), np.int8), *(one for _, one in named)], axis=1)
        members = np.zeros((len(values), data.n_items), np.float32)
        for at, (column, code) in enumerate(values.tolist()):
            rows, codes = columns[column].members()
            members[at, rows[codes == code]] = 1
        new_users = np.full(len(users), -1, np.int32)
        unknown = {name: feature.take(new_users) for name, feature in data.user_features.items()}
        return cls(
            queries=replace(queries, users=new_users, features=unknown),
            retriever=retriever,
            candidates=candidates.astype(np.int32),
            values=values,
            members=members,
            response=np.concatenate([response, likes], axis=1),
            value=value,
            time=time,
            targets=np.sort(own),
            n_targets=n_targets,
            n_items=data.n_items,
        )

    def ndcg(self, users: Array, history: Array) -> Values:
        """Return NDCG@10 of users, (B,), who responded to these candidates, (B, H) padded with -1.

        Items are the history. Liked values narrow the lists to items that have one of those of each column, as filters
        of a request do; other responses to values leave the lists as they are.
        """
        found = np.zeros(len(users))
        batch = max(1, MAX_CELLS // max(self.n_items, 1))
        for begin in range(0, len(users), batch):
            part = slice(begin, begin + batch)
            of, own = users[part][:, None], history[part]
            value = own >= len(self.candidates)
            chosen = np.where(value & (self.response[of, own] == LIKED), own - len(self.candidates), -1)
            items = np.where(value, -1, own)
            order = np.argsort(np.where(items < 0, -1, self.time[of, items]), axis=1, kind="stable")  # oldest first
            found[part] = self._ndcg(users[part], np.take_along_axis(items, order, axis=1), chosen)
        return found

    def _ndcg(self, users: Array, history: Array, chosen: Array) -> Values:
        gaps, rows = history < 0, users[:, None]
        items = np.where(gaps, -1, self.candidates[history]).astype(np.int32)
        queries = replace(
            self.queries.take(users),
            history=items,
            history_time=np.where(gaps, 0, self.time[rows, history]),
            history_value=np.where(gaps, np.nan, self.value[rows, history]).astype(np.float32),
            exclude=items,
            allowed=self._allowed(chosen),
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

    def _allowed(self, chosen: Array) -> Mask | None:
        """Return the items with one of the chosen values of each column that has any, (B, N); None: all."""
        if not (chosen >= 0).any():
            return None
        likes = np.zeros((len(chosen), len(self.values)), np.float32)
        row, at = np.nonzero(chosen >= 0)
        likes[row, chosen[row, at]] = 1
        allowed = np.ones((len(chosen), self.n_items), np.bool_)
        for column in np.unique(self.values[:, 0]):
            own = self.values[:, 0] == column
            none: Mask = np.asarray(~likes[:, own].any(axis=1))
            allowed &= (likes[:, own] @ self.members[own] > 0) | none[:, None]
        return allowed


def _likes(feature: Feature, column: int, liked: Rows) -> tuple[Array, Array]:
    """Return the values of a feature that most users like, (V, 2), and the response of each user to them, (n, V)."""
    row, at = np.nonzero(liked >= 0)
    positives = _pairs(row, liked[row, at], (len(liked), len(feature)))
    n_positives = np.asarray(positives.sum(axis=1)).ravel()
    count = (positives @ _pairs(*feature.members(), (len(feature), len(feature.names)))).tocoo()
    likes = (count.data >= MIN_LIKED) & (count.data >= LIKED_SHARE * n_positives[count.row])
    n_likes = np.bincount(count.col[likes], minlength=len(feature.names))
    order = np.argsort(-n_likes, kind="stable")[:MAX_VALUES]
    order = order[n_likes[order] > 0]
    position = np.full(len(feature.names), -1)
    position[order] = np.arange(len(order))
    response = np.where((n_positives >= MIN_LIKED)[:, None], DISLIKED, UNKNOWN).repeat(len(order), axis=1)
    kept = position[count.col] >= 0
    response[count.row[kept], position[count.col[kept]]] = np.where(likes[kept], LIKED, UNKNOWN)
    return np.column_stack([np.full(len(order), column), order]), response.astype(np.int8)


def _pairs(rows: Array, columns: Array, shape: tuple[int, int]) -> Any:
    """Return a sparse matrix with 1 at each different pair."""
    matrix = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
