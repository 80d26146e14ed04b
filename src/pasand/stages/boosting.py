"""Gradient-boosted trees over other models' opinions and features: the meta-level hybrid (Burke, UMUAI 12, 2002).

Trees are grown by LightGBM (Ke et al., NIPS 2017), with LambdaMART's gradients (Burges, 2010) for lists, and answered
from arrays, so that a bundle needs no LightGBM.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.random import Generator
from scipy import sparse

from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.progress import step
from pasand.stages import decision_trees
from pasand.stages.holdout import Holdout, holdout
from pasand.types import Array, Arrays, Queries, Rows, Scores, within

logger = logging.getLogger(__name__)

ANCHORS = 256
"""Items whose scores say what a model's score means to a query: how far it is above the others."""
BATCH = 256
"""Questions whose candidates are scored at once."""
CHUNK = 4096
"""Items scored at once."""


@dataclass(kw_only=True)
class Boosted:
    """Scores by decision trees that read other models' scores.

    What it learns from are the latest events, of which copies of the models, fitted to what came before, had not
    learnt; it then answers from the models as they were given, fitted to everything. Of each model the trees read the
    score, and how many standard deviations it lies above the query's scores of items drawn once, so that scores of
    different users compare. A model without an opinion is a missing feature.
    """

    models: Sequence[Model]
    """Fitted before, in earlier tables of the recipe."""
    objective: Literal["binary", "lambdarank", "regression"] = "binary"
    """What is learnt: the chance of a liking; lists in the right order; or ratings."""
    holdout_share: float = 0.1
    """Of the events, the latest, that are learnt from."""
    examples: int = 8000
    """Events learnt from at most."""
    per_user: int = 20
    """Events of one user learnt from at most."""
    candidates: int = 100
    """Items that each model finds for a question, to be told from the event's."""
    drawn: int = 20
    """Items drawn at random beside them."""
    trees: int = 500
    """Trees at most; fewer where the questions of withheld users are answered no better."""
    leaves: int = 15
    """Leaves of a tree at most."""
    learning_rate: float = 0.05
    """What each tree counts."""
    smallest: int = 100
    """Fewest examples in a leaf."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models must not be empty")
        for name in ("questions", "per_user", "candidates", "trees", "leaves", "smallest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.holdout_share < 1:
            raise ValueError(f"share must be between 0 and 1, got {self.holdout_share}")
        if self.drawn < 0 or not self.learning_rate > 0:
            raise ValueError("drawn must be at least 0 and learning_rate positive")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Fit copies of the models to the earlier part of the events, and grow trees on the questions of the later one.

        Raises InputError where there are too few events to ask about, or, for "regression", no ratings.
        """
        rated = self.objective == "regression"
        if rated and (data.values != "rating" or data.value is None):
            raise InputError(data.name, cause="regression needs ratings", cure='choose objective = "lambdarank"')
        asked = holdout(data, self.holdout_share, self.examples, self.per_user, rng, rated=rated)
        if asked is None:
            cause = "too few events to learn from the latest what the earlier ones foresee"
            raise InputError(data.name, cause=cause, cure="use the models by themselves")
        seed = int(rng.integers(2**31))
        items = np.arange(data.n_items, dtype=np.int32)
        anchors = np.sort(rng.choice(items, min(ANCHORS, data.n_items), replace=False))
        self._learnt = {"anchors": anchors, "items": np.array([data.n_items])}
        earlier = []
        for number, model in enumerate(self.models):
            logger.info("boosted: fitting %s to the earlier part", type(model).__name__)
            earlier.append(copy.deepcopy(model).fit(asked.train, rng=np.random.default_rng([seed, number])))
        rows, label, sizes, users = self._examples(asked, earlier, rated, rng)
        if not len(rows):
            raise InputError(data.name, cause="no model foresees any of the latest events", cure="use other models")
        if rated:
            self._learnt["scale"] = np.array([label.min(), label.max(), label.mean()], np.float64)
        self._learnt |= self._grow(rows, label, sizes, users, seed)
        return self

    def _examples(
        self, asked: Holdout, models: Sequence[Model], rated: bool, rng: Generator
    ) -> tuple[Array, Array, Array, Array]:
        """Return features (n, F), labels (n,), examples of each question (q,), and who asked it (q,)."""
        rows, labels, sizes, users = [], [], [], []
        data, done = asked.data, 0
        liked = sparse.csr_matrix(data.matrix())
        for which, queries in asked.batches(BATCH):
            item = asked.item[which]
            if rated:
                assert data.value is not None
                found = item[:, None]
                truth = data.value[asked.event[which]][:, None]
            else:
                found = self._found(queries, item, models, rng)
                inside = np.maximum(found, 0)
                again = np.asarray(liked[queries.users].toarray()[np.arange(len(inside))[:, None], inside] > 0)
                found = np.where(again & (found != item[:, None]), np.int32(-1), found)  # liked too, now or later
                truth = (found == item[:, None]).astype(np.float32)
                found[~truth.any(axis=1)] = -1  # what nobody found would teach that low scores are good
            told = self._told(queries, found, models)
            real = found >= 0
            rows.append(told[real])
            labels.append(truth[real])
            asks = real.any(axis=1)
            sizes.append(real.sum(axis=1)[asks])
            users.append(queries.users[asks])
            done += len(which)
            step("boosted: asking the models", done, len(asked))
        return np.concatenate(rows), np.concatenate(labels), np.concatenate(sizes), np.concatenate(users)

    def _found(self, queries: Queries, item: Rows, models: Sequence[Model], rng: Generator) -> Rows:
        """Return items found by each model and items drawn, each once, padded with -1; (B, K)."""
        n_items = int(self._learnt["items"][0])
        parts = [rng.integers(0, n_items, (len(item), self.drawn)).astype(np.int32)]
        b, place = np.nonzero(queries.history >= 0)
        for model in models:
            scores = model.score(queries, None).copy()
            scores[b, queries.history[b, place]] = -np.inf
            k = min(self.candidates, scores.shape[1])
            top = np.argpartition(-scores, k - 1, axis=1)[:, :k].astype(np.int32)
            parts.append(np.where(np.isfinite(np.take_along_axis(scores, top, axis=1)), top, np.int32(-1)))
        every = np.sort(np.hstack(parts), axis=1)
        every[:, 1:][every[:, 1:] == every[:, :-1]] = -1
        seen = np.zeros((len(item), n_items + 1), np.bool_)
        seen[b, queries.history[b, place]] = True
        every[np.take_along_axis(seen, every.astype(np.int64), axis=1)] = -1
        return every

    def _told(self, queries: Queries, items: Rows, models: Sequence[Model]) -> Array:
        """Return what the trees read of each query and item, (B, K) -> (B, K, F) float32; nan: nothing known."""
        anchors = np.broadcast_to(self._learnt["anchors"].astype(np.int32), (len(items), len(self._learnt["anchors"])))
        both = np.hstack([items, anchors])
        told = [np.broadcast_to(np.log1p((queries.history >= 0).sum(axis=1, keepdims=True)), items.shape)]
        for model in models:
            scores = model.score(queries, both)
            scores = np.where(np.isfinite(scores), scores, np.nan).astype(np.float32)
            own, others = scores[:, : items.shape[1]], scores[:, items.shape[1] :]
            told += [own, _above(own, others)]
        return np.stack([np.asarray(one, np.float32) for one in told], axis=-1)

    def _grow(self, rows: Array, label: Array, sizes: Array, users: Array, seed: int) -> dict[str, Array]:
        """Return the trees for the examples, as many as are best for a tenth of the users, grown on all of them."""
        import lightgbm

        settings: dict[str, Any] = {
            "objective": self.objective,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.smallest,
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
        everyone = np.unique(users)
        held = np.isin(users, np.random.default_rng(seed).choice(everyone, len(everyone) // 10, replace=False))
        example = np.repeat(held, sizes)
        rounds = self.trees
        if held.any() and not held.all():
            grown = lightgbm.Dataset(rows[~example], label[~example], group=sizes[~held] if ranked else None)
            judged = lightgbm.Dataset(rows[example], label[example], group=sizes[held] if ranked else None)
            stop = lightgbm.early_stopping(50, verbose=False)
            tried = lightgbm.train(settings, grown, rounds, valid_sets=[judged], callbacks=[stop])
            rounds = max(tried.best_iteration, 1)
        logger.info("boosted: %d trees on %d examples of %d questions", rounds, len(rows), len(sizes))
        whole = lightgbm.Dataset(rows, label, group=sizes if ranked else None)
        return decision_trees.packed(lightgbm.train(settings, whole, rounds).dump_model())

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return sums of trees, -inf where no model has an opinion: (B, K) -> (B, K); None: the whole catalogue."""
        n_items = int(self._learnt["items"][0])
        if items is None:
            out = np.empty((len(queries), n_items), np.float32)
            every = np.arange(n_items, dtype=np.int32)
            for at in range(0, n_items, CHUNK):
                part = every[at : at + CHUNK]
                out[:, at : at + CHUNK] = self.score(queries, np.broadcast_to(part, (len(queries), len(part))))
            return out
        items = within(items, n_items)
        told = self._told(queries, items, self.models)
        said = (items >= 0) & np.isfinite(told[..., 1:]).any(axis=-1)
        scores = np.full(items.shape, -np.inf, np.float32)
        scores[said] = decision_trees.answer(self._learnt, told[said])
        return scores

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings, the mean of those learnt from where no model has an opinion.

        Raises InputError where the objective is not "regression".
        """
        if self.objective != "regression":
            cure = 'choose objective = "regression"'
            raise InputError("objective", value=self.objective, cause="scores are no ratings", cure=cure)
        low, high, mean = self._learnt["scale"].tolist()
        scores = self.score(queries, items)
        return np.clip(np.where(np.isfinite(scores), scores, mean), low, high).astype(np.float32)

    def influences(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return what each feature adds to `base` in the score, exactly (`decision_trees.contributions`), strongest first.

        [] where no model has an opinion, and from a bundle that was written before trees kept their counts.
        """
        items = within(items, int(self._learnt["items"][0]))
        told, names = self._told(queries, items, self.models), self._names()
        said = (items >= 0) & np.isfinite(told[..., 1:]).any(axis=-1)
        found: list[list[list[tuple[str, float]]]] = [[[] for _ in row] for row in items]
        if "count" not in self._learnt:
            return found
        _, added = decision_trees.contributions(self._learnt, told[said])
        for (b, place), values in zip(np.argwhere(said).tolist(), added.tolist(), strict=True):
            pairs = [(name, value) for name, value in zip(names, values, strict=True) if value]
            found[b][place] = sorted(pairs, key=lambda pair: -abs(pair[1]))
        return found

    @property
    def base(self) -> float:
        """What the trees answer on the mean over the examples that they were grown on."""
        return decision_trees.contributions(self._learnt, np.empty((0, 1 + 2 * len(self.models))))[0]

    def _names(self) -> list[str]:
        """Return what the features are called, in the order of `_told`; (F,)."""
        opinions = [(f"{name}: score", f"{name}: score above others") for name in told_apart(self.models)]
        return ["length of the history", *(name for pair in opinions for name in pair)]

    def state(self) -> Arrays:
        """Return the trees (`decision_trees.packed`), the "anchors" (A,), the number of "items", the "scale" of ratings."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt = dict(arrays)


def told_apart(models: Sequence[object]) -> list[str]:
    """Return a different name for each model: its class, and where several are of one, what it was told otherwise.

    >>> from pasand.models.classical.popularity import Popularity
    >>> told_apart([Popularity(half_life_days=30.0), Popularity(), Popularity()])
    ['Popularity (half_life_days 30)', 'Popularity', 'Popularity, 2nd']
    """
    names: list[str] = []
    for model in models:
        name = type(model).__name__
        if sum(type(one) is type(model) for one in models) > 1:
            told = ", ".join(f"{option} {value}" for option, value in _told_otherwise(model))
            name += f" ({told})" if told else ""
        again = sum(old.partition(",")[0] == name for old in names)
        names.append(f"{name}, {again + 1}{'nd' if again == 1 else 'th'}" if again else name)
    return names


def _told_otherwise(model: object) -> list[tuple[str, str]]:
    """Return the plain options that differ from their defaults."""
    options = [f for f in fields(model) if f.init and f.default is not MISSING] if is_dataclass(model) else []
    told = [(f.name, getattr(model, f.name)) for f in options if getattr(model, f.name) != f.default]
    return [(name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in told]


def _above(scores: Array, others: Array) -> Array:
    """Return how many standard deviations of a query's other scores each score lies above their mean; (B, K), (B, A).

    nan where there is no other score; scores that all agree count as one deviation apart by one.
    """
    known = np.isfinite(others)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, others, 0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt(np.where(known, (others - mean) ** 2, 0).sum(axis=1, keepdims=True) / count)
    out: Array = (scores - mean) / np.where(spread > 0, spread, 1)
    return np.where(known.any(axis=1, keepdims=True), out, np.nan)
