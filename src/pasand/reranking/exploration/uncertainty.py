"""`Uncertainty`: how little is known of each item, and of a user's taste for it, in a Bayesian linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.contracts import EmbedsItems
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.layouts import Entry, check
from pasand.reranking.counted_search import Values
from pasand.reranking.diversity.similarity import ItemSimilarity
from pasand.reranking.exploration.known_responses import KnownResponses
from pasand.types import Array, Arrays, Mask, Queries, Rows

LAYOUT = {
    "positives": Entry("int64", "N", lowest=0),
    "refused": Entry("int64", "N", lowest=0),
    "excess": Entry("float64", "N"),
}


@dataclass
class Uncertainty:
    """Mean and standard deviation of what a ranker's score for a user and an item may lack.

    In the model, the reward of item i for user u is the ranker's score + e_i + x_i'd_u + noise. The item's own effect
    e_i, and the deviation d_u of the user's taste, have variance 1 a priori, and so has the noise of a user's response
    to a feature; x_i are the item's features as a vector of length 1. Both posteriors have a closed form:

    - The variance of e_i is s / (s + n_i), where s is `shrinkage` and n_i the number of known responses to the item:
      its positives, which the ranker has learnt from, and its impressions in random slots without a click. These
      impressions also give e_i a mean: the item's standardised clicks beyond the mean click rate of random slots in
      that position, sum((click - rate) / sqrt(rate (1 - rate))) sqrt(s) / (s + n_i); 0 for a log without them.
    - The variance of x_i'd_u is x_i' A_u^-1 x_i, with A_u = I + the sum of x x' over the items of the user's history:
      it is large for items unlike all of these, and 0 without `features` and `model`. It is computed in the dual
      form, K_ii - K_iH (K_HH + I)^-1 K_Hi, where K are the cosines of `ItemSimilarity`.

    After `follow`, n_i counts the events strictly before the query, and histories are those of the query; means, and
    impressions, are those of the fit. An item that was added after the fit has no known response.
    """

    features: Sequence[str] = ()
    """Item features, of any kind, by which tastes generalise; none: only the items' own effects are uncertain."""
    model: EmbedsItems | None = None
    """Model of the recipe, as "@NAME", whose item vectors are features."""
    shrinkage: float = 30.0
    """Known responses to an item at which half of the variance of its own effect is left."""
    history_length: int = 50
    """Latest items of the history that are read."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _known: KnownResponses = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage < np.inf:
            raise ValueError(f"shrinkage must be positive and finite, got {self.shrinkage}")
        if self.history_length < 1:
            raise ValueError(f"history_length must be positive, got {self.history_length}")
        compares = bool(self.features) or self.model is not None
        self.similarity = ItemSimilarity(self.features, self.model) if compares else None
        self._known = KnownResponses(np.zeros(0, np.int64))

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Count responses, and clicks in random slots; raises InputError as `ItemSimilarity.fit` does."""
        if self.similarity is not None:
            self.similarity.fit(data, "uncertainty")
        n, none = data.n_items, np.zeros(0, np.int32)
        positives = np.bincount(data.positives().item, minlength=n)
        self._learnt = {"positives": positives, "refused": np.zeros(n, np.int64), "excess": np.zeros(n)}
        shown = data.impressions
        if shown is None or shown.propensity is None:
            self.learn_shown(none, none, none.astype(np.bool_))
        else:
            shown = shown.select(shown.propensity < 1)
            self.learn_shown(shown.item, shown.position, shown.clicked)
        return self

    def learn_shown(self, item: Rows, position: Rows, clicked: Mask) -> None:
        """Learn from items of random slots, (n,) each, in place of those of `fit`.

        Positions, from 0, in which all or none were clicked show nothing of the mean.
        """
        n = len(self._learnt["positives"])
        count = np.maximum(np.bincount(position), 1)
        rate = (np.bincount(position, clicked) / count)[position]
        variance = rate * (1 - rate)
        standardised = (clicked - rate) / np.sqrt(np.where(variance > 0, variance, 1))
        self._learnt["refused"] = np.bincount(item[~clicked], minlength=n)
        self._learnt["excess"] = np.bincount(item, standardised, n).astype(np.float64)  # empty: int64
        self.follow(None)

    def follow(self, data: Dataset | None) -> None:
        """Count the positives of `data` strictly before each query from now on; None: those of the fit, at any time.

        Data without times change nothing.
        """
        learnt = self._learnt
        if data is None or data.order != "time":
            self._known = KnownResponses(learnt["refused"] + learnt["positives"])
            return
        self._known = KnownResponses(learnt["refused"])
        self.add_events(data)

    def add_events(self, data: Dataset) -> None:
        """Count the positives of `data` as well."""
        new = data.positives()
        self._known.add(new.item, new.time)

    def compact(self) -> None:
        """Forget the times of events that were added; an earlier query is scored as if it came after them."""
        self._known.compact()

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features; a feature that is not given is missing."""
        if self.similarity is not None:
            self.similarity.add_items(features)

    def state(self) -> Arrays:
        """Return the responses to each item, standardised clicks beyond the average, and the encoded features."""
        return {**self._learnt, **(self.similarity.state() if self.similarity is not None else {})}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt = {name: arrays[name] for name in LAYOUT}
        if self.similarity is not None:
            self.similarity.load_state(arrays)
        self.follow(None)

    def posterior(self, queries: Queries, b: int, items: Rows) -> tuple[Values, Values]:
        """Return means and standard deviations of what the scores of items lack for query b, (n,) -> (n,), (n,).

        They are in units of the standard deviation of each of the two effects a priori.
        """
        excess, s = self._learnt["excess"], self.shrinkage
        known = self._known.before(items, int(queries.time[b]))
        mean, inside = np.zeros(len(items)), (items >= 0) & (items < len(excess))
        mean[inside] = excess[items[inside]] * np.sqrt(s)
        variance = s / (s + known)
        if self.similarity is not None:
            history = queries.history[b]
            variance += _of_taste(self.similarity, items, history[history >= 0][-self.history_length :])
        return mean / (s + known), np.sqrt(variance)


def _of_taste(similarity: ItemSimilarity, items: Rows, history: Rows) -> Values:
    """Return x' A^-1 x of each item, (n,), with A = I + the sum of x x' over the history, (H,)."""
    n = len(items)
    cosine = similarity.matrix(np.concatenate([items, history]))
    between, within = cosine[:n, n:], cosine[n:, n:] + np.eye(len(history))
    explained: Values = np.einsum("nh,hn->n", between, np.linalg.solve(within, between.T))
    return np.clip(1 - explained, 0, 1)
