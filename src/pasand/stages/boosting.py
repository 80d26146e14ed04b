"""Stacking with gradient-boosted trees over the scores of base models: the meta-level hybrid (Burke, UMUAI 12, 2002).

LightGBM grows the trees (Ke et al., NIPS 2017), with LambdaMART's gradients (Burges, 2010) for lists. Scores are
computed from arrays, so that a bundle needs no LightGBM.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from scipy import sparse

from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.following import following
from pasand.layouts import Entry, check
from pasand.progress import step
from pasand.stages import decision_trees
from pasand.stages.holdout import Holdout, holdout
from pasand.types import Array, Arrays, Mask, Queries, Rows, Scores, within

logger = logging.getLogger(__name__)

ANCHORS = 256
"""Reference items: each model's score is standardised by the scores that the query gives these items."""
BATCH = 256
"""Queries whose candidates are scored at once."""
CHUNK = 4096
"""Items scored at once."""


@dataclass(kw_only=True)
class Boosted:
    """Scores items by decision trees over the scores of base models (stacking).

    The trees learn from the latest events, as scored by copies of the base models that are fitted to the earlier events
    only and, where they can, follow the log to each event (`pasand.following`). Afterwards they read the scores of the
    given models, fitted to all events. The features of an item are each
    model's score, and the number of standard deviations by which it exceeds the same query's scores of `ANCHORS` items
    drawn once, which makes the scores of different users comparable. A score that a model cannot give is a missing
    value.
    """

    uses_training_weights: ClassVar[bool] = True
    models: Sequence[Model]
    """Base models, fitted before, in earlier tables of the recipe."""
    objective: Literal["binary", "lambdarank", "regression"] = "binary"
    """What is learnt: the probability of a positive, the order of lists, or ratings."""
    holdout_share: float = 0.1
    """Share of the events, the latest ones, that the trees learn from."""
    examples: int = 8000
    """Events learnt from, at most."""
    per_user: int = 20
    """Events learnt from per user, at most."""
    n_candidates: int = 100
    """Items that each base model retrieves per query, as examples to rank."""
    negatives: int = 20
    """Items drawn at random per query, as further examples."""
    trees: int = 500
    """Number of trees, at most; growing stops early when the validation users' metric no longer improves."""
    leaves: int = 15
    """Leaves per tree, at most."""
    learning_rate: float = 0.05
    """Weight of each tree."""
    min_leaf_examples: int = 100
    """Examples in a leaf, at least."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models must not be empty")
        for name in ("examples", "per_user", "n_candidates", "trees", "leaves", "min_leaf_examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.holdout_share < 1:
            raise ValueError(f"holdout_share must be between 0 and 1, got {self.holdout_share}")
        if self.negatives < 0 or not self.learning_rate > 0:
            raise ValueError("negatives must be at least 0 and learning_rate positive")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Fit copies of the base models to the earlier events, and grow trees on their scores of the later events.

        Raises InputError if there are too few events, or, for "regression", no ratings.
        """
        rated = self.objective == "regression"
        if rated and (data.values != "rating" or data.value is None):
            raise InputError(data.name, cause="regression needs ratings", cure='choose objective = "lambdarank"')
        held_out = holdout(data, self.holdout_share, self.examples, self.per_user, rng, rated=rated)
        if held_out is None:
            cause = "too few events to hold out the latest for training a second stage"
            raise InputError(data.name, cause=cause, cure="use the models without boosting")
        seed = int(rng.integers(2**31))
        items = np.flatnonzero(data.known_items).astype(np.int32)
        anchors = np.sort(rng.choice(items, min(ANCHORS, len(items)), replace=False))
        self._learnt = {"anchors": anchors, "items": np.array([data.n_items])}
        copies = []
        for number, model in enumerate(self.models):
            logger.info("boosted: fitting %s to the earlier events", type(model).__name__)
            copies.append(copy.deepcopy(model).fit(held_out.train, rng=np.random.default_rng([seed, number])))
        with following(copies, data):
            features, label, sizes, users = self._examples(held_out, copies, rated, rng)
        if not len(features):
            raise InputError(data.name, cause="no model retrieves any of the held-out items", cure="use other models")
        if rated:
            self._learnt["scale"] = np.array([label.min(), label.max(), label.mean()], np.float64)
        self._learnt |= self._grow(features, label, sizes, users, seed)
        return self

    def _examples(
        self, held_out: Holdout, models: Sequence[Model], rated: bool, rng: Generator
    ) -> tuple[Array, Array, Array, Array]:
        """Return features (n, F) and labels (n,) of examples, and number of examples and user of each query (q,)."""
        features, labels, sizes, users = [], [], [], []
        data, done = held_out.data, 0
        positives, known = sparse.csr_matrix(data.matrix()), np.flatnonzero(data.known_items).astype(np.int32)
        for which, queries in held_out.batches(BATCH):
            target = held_out.item[which]
            if rated:
                assert data.value is not None
                items = target[:, None]
                label = data.value[held_out.event[which]][:, None]
            else:
                items = self._candidates(queries, models, known, rng)
                rows = np.maximum(items, 0)
                positive = np.asarray(positives[queries.users].toarray()[np.arange(len(rows))[:, None], rows] > 0)
                items = np.where(positive & (items != target[:, None]), np.int32(-1), items)  # positive at another time
                label = (items == target[:, None]).astype(np.float32)
                items[~label.any(axis=1)] = -1  # a target that no model retrieves would teach that low scores are good
            real = items >= 0
            features.append(self._features(queries, items, models)[real])
            labels.append(label[real])
            kept = real.any(axis=1)
            sizes.append(real.sum(axis=1)[kept])
            users.append(queries.users[kept])
            done += len(which)
            step("boosted: scoring with the base models", done, len(held_out))
        return np.concatenate(features), np.concatenate(labels), np.concatenate(sizes), np.concatenate(users)

    def _candidates(self, queries: Queries, models: Sequence[Model], known: Rows, rng: Generator) -> Rows:
        """Return unseen known items that models retrieve or that are random, each once, padded with -1; (B, K)."""
        n_items = int(self._learnt["items"][0])
        parts = [known[rng.integers(0, len(known), (len(queries), self.negatives))]]
        b, h = np.nonzero(queries.history >= 0)
        for model in models:
            scores = np.full((len(queries), n_items), -np.inf, np.float32)
            scores[:, known] = model.score(queries, None)[:, known]
            scores[b, queries.history[b, h]] = -np.inf
            k = min(self.n_candidates, scores.shape[1])
            top = np.argpartition(-scores, k - 1, axis=1)[:, :k].astype(np.int32)
            parts.append(np.where(np.isfinite(np.take_along_axis(scores, top, axis=1)), top, np.int32(-1)))
        items = np.sort(np.hstack(parts), axis=1)
        items[:, 1:][items[:, 1:] == items[:, :-1]] = -1
        seen = np.zeros((len(queries), n_items + 1), np.bool_)
        seen[b, queries.history[b, h]] = True
        items[np.take_along_axis(seen, items.astype(np.int64), axis=1)] = -1
        return items

    def _features(self, queries: Queries, items: Rows, models: Sequence[Model]) -> Array:
        """Return the features that the trees read, (B, K) -> (B, K, F) float32; nan: unknown."""
        anchors = np.broadcast_to(self._learnt["anchors"].astype(np.int32), (len(items), len(self._learnt["anchors"])))
        both = np.hstack([items, anchors])
        features = [np.broadcast_to(np.log1p((queries.history >= 0).sum(axis=1, keepdims=True)), items.shape)]
        for model in models:
            scores = model.score(queries, both)
            scores = np.where(np.isfinite(scores), scores, np.nan).astype(np.float32)
            own, of_anchors = scores[:, : items.shape[1]], scores[:, items.shape[1] :]
            features += [own, _standardised(own, of_anchors)]
        return np.stack([np.asarray(feature, np.float32) for feature in features], axis=-1)

    def _grow(self, rows: Array, label: Array, sizes: Array, users: Array, seed: int) -> dict[str, Array]:
        """Return trees grown on all examples; their number is the best one for a tenth of the users, held out first."""
        import lightgbm

        settings: dict[str, Any] = {
            "objective": self.objective,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_leaf_examples,
            "metric": {"binary": "auc", "lambdarank": "ndcg", "regression": "rmse"}[self.objective],
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": os.cpu_count() or 1,
            "verbosity": -1,
            "lambdarank_truncation_level": 20,
            "eval_at": [10],
        }
        ranked = self.objective == "lambdarank"
        every_user = np.unique(users)
        drawn = np.random.default_rng(seed).choice(every_user, len(every_user) // 10, replace=False)
        validation = np.isin(users, drawn)
        in_validation = np.repeat(validation, sizes)
        rounds = self.trees
        if validation.any() and not validation.all():
            train = lightgbm.Dataset(
                rows[~in_validation], label[~in_validation], group=sizes[~validation] if ranked else None
            )
            valid = lightgbm.Dataset(
                rows[in_validation], label[in_validation], group=sizes[validation] if ranked else None
            )
            stop = lightgbm.early_stopping(50, verbose=False)
            booster = lightgbm.train(settings, train, rounds, valid_sets=[valid], callbacks=[stop])
            rounds = max(booster.best_iteration, 1)
        logger.info("boosted: %d trees on %d examples of %d queries", rounds, len(rows), len(sizes))
        everything = lightgbm.Dataset(rows, label, group=sizes if ranked else None)
        return decision_trees.packed(lightgbm.train(settings, everything, rounds).dump_model())

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the sums of the trees, -inf where no base model has a score: (B, K) -> (B, K); None: the catalogue."""
        n_items = int(self._learnt["items"][0])
        if items is None:
            out = np.empty((len(queries), n_items), np.float32)
            catalogue = np.arange(n_items, dtype=np.int32)
            for at in range(0, n_items if len(queries) else 0, CHUNK):
                part = catalogue[at : at + CHUNK]
                out[:, at : at + CHUNK] = self.score(queries, np.broadcast_to(part, (len(queries), len(part))))
            return out
        items = within(items, n_items)
        features = self._features(queries, items, self.models)
        scored = _scored(items, features)
        scores = np.full(items.shape, -np.inf, np.float32)
        scores[scored] = decision_trees.predict(self._learnt, features[scored])
        return scores

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return predicted ratings; the mean training rating where no base model has a score.

        Raises InputError if the objective is not "regression".
        """
        if self.objective != "regression":
            cure = 'choose objective = "regression"'
            raise InputError("objective", value=self.objective, cause="its scores are not ratings", cure=cure)
        low, high, mean = self._learnt["scale"].tolist()
        scores = self.score(queries, items)
        return np.clip(np.where(np.isfinite(scores), scores, mean), low, high).astype(np.float32)

    def influences(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return the features' contributions to the score above `base`, strongest first; [] where no model has a score.

        Contributions are exact Shapley values (`decision_trees.contributions`): they and `base` sum to the score.
        """
        items = within(items, int(self._learnt["items"][0]))
        features, names = self._features(queries, items, self.models), self._feature_names()
        scored = _scored(items, features)
        found: list[list[list[tuple[str, float]]]] = [[[] for _ in row] for row in items]
        _, added = decision_trees.contributions(self._learnt, features[scored])
        for (b, k), values in zip(np.argwhere(scored).tolist(), added.tolist(), strict=True):
            pairs = [(name, value) for name, value in zip(names, values, strict=True) if value]
            found[b][k] = sorted(pairs, key=lambda pair: -abs(pair[1]))
        return found

    @property
    def base(self) -> float:
        """Mean score over the training examples."""
        return decision_trees.contributions(self._learnt, np.empty((0, 1 + 2 * len(self.models))))[0]

    def _feature_names(self) -> list[str]:
        """Return the names of the features in the order of `_features`, (F,)."""
        of_models = [(f"{name}: score", f"{name}: score above others") for name in distinct_names(self.models)]
        return ["length of the history", *(name for pair in of_models for name in pair)]

    def state(self) -> Arrays:
        """Return the trees (`decision_trees.packed`), "anchors" (A,), number of "items" and "scale" of ratings."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for trees that it cannot have returned."""
        check(arrays, {"items": Entry("int64", "1", lowest=0), "scale": Entry("float64", "3", optional=True)})
        check(arrays, {"anchors": Entry("int32", "A", lowest=0, below=int(arrays["items"][0]))})
        decision_trees.check(arrays, 1 + 2 * len(self.models))
        self._learnt = dict(arrays)


def distinct_names(models: Sequence[object]) -> list[str]:
    """Return a different name for each model: its class, and its non-default options where several are of one class.

    >>> from pasand.models.classical.popularity import Popularity
    >>> distinct_names([Popularity(half_life_days=30.0), Popularity(), Popularity()])
    ['Popularity (half_life_days 30)', 'Popularity', 'Popularity, 2nd']
    """
    names: list[str] = []
    for model in models:
        name = type(model).__name__
        if sum(type(other) is type(model) for other in models) > 1:
            options = ", ".join(f"{option} {value}" for option, value in _changed_options(model))
            name += f" ({options})" if options else ""
        earlier = sum(other.partition(",")[0] == name for other in names)
        names.append(f"{name}, {earlier + 1}{'nd' if earlier == 1 else 'th'}" if earlier else name)
    return names


def _changed_options(model: object) -> list[tuple[str, str]]:
    """Return the names and values of the options that differ from their defaults."""
    options = [f for f in fields(model) if f.init and f.default is not MISSING] if is_dataclass(model) else []
    changed = [(f.name, getattr(model, f.name)) for f in options if getattr(model, f.name) != f.default]
    return [(name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in changed]


def _scored(items: Rows, features: Array) -> Mask:
    """Return which items at least one base model scores, (B, K)."""
    scored: Mask = (items >= 0) & np.isfinite(features[..., 1:]).any(axis=-1)
    return scored


def _standardised(scores: Array, reference: Array) -> Array:
    """Return the distance of each score from the mean of the query's reference scores, in their standard deviations.

    (B, K), (B, A) -> (B, K). nan without reference scores; where these are all equal, the deviation counts as 1.
    """
    known = np.isfinite(reference)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, reference, 0).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt(np.where(known, (reference - mean) ** 2, 0).sum(axis=1, keepdims=True) / count)
    out: Array = (scores - mean) / np.where(deviation > 0, deviation, 1)
    return np.where(known.any(axis=1, keepdims=True), out, np.nan)
