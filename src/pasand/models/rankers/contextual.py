"""Base class of the rankers that read ids, histories, features, statistics and time. Importing it needs no torch."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.encoders.inheritance import Inheritance
from pasand.errors import InputError
from pasand.features import history_shares, inherited, ranking_statistics
from pasand.features.encoding import check_history_length
from pasand.features.ranking_features import RankingFeatures
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.models.deep_model import CHUNK
from pasand.models.rankers.ranker import DeepRanker
from pasand.training.calibration import calibrated, calibration, fit_calibration
from pasand.training.ranking_examples import Examples, Objective, examples
from pasand.training.validation import VALIDATION_SHARE, ValidationSplit
from pasand.types import Array, Arrays, Mask, Queries, Rows, Scores, within

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.layers.network_shape import Shape
    from pasand.training.loop import Task

logger = logging.getLogger(__name__)

DIMENSIONS = 16
ITEM_EMBEDDINGS = "item_embeddings"
"""Name of the learnt array with the cached item embeddings, (N, T): the part of the network that reads items alone."""
MIN_SHARED_ITEMS = 16
"""Fewest items of a query for which the inputs of the query are read once and shared between the items."""
SCALE_SAMPLE = 20_000
"""Training examples from which the scales of the pair features are learnt, at most."""


@dataclass(kw_only=True)
class ContextualRanker(DeepRanker, ABC):
    """Scores each item by a network over ids, histories, features and statistics of the pair (see `RankingFeatures`).

    It learns from impressions if the data have any, else from positives and sampled items. Every query gets scores.
    """

    epochs: int = 20
    batch_size: int = 2048
    patience: int = 2
    objective: Objective = "clicked"
    """Target of the prediction: whether a shown item is "clicked" (without impressions: whether it is a positive, among
    sampled items); whether a rated item is "liked"; "ratings"; or "minutes" watched of a shown item."""
    negatives: int = 4
    """Items sampled for each positive, if there are no impressions."""
    examples: int = 1_000_000
    """Pairs of request and item to learn from, at most; the latest ones are used."""
    use_ids: bool = True
    """Whether users and items have embeddings of their ids."""
    user_features: tuple[str, ...] | None = None
    """Features of users that are read; None: all of a kind that can be read."""
    item_features: tuple[str, ...] | None = None
    """Features of items that are read; None: all of a kind that can be read."""
    history_length: int = 20
    """Number of latest liked items whose vectors are averaged; 0: none."""
    history_shares: tuple[str, ...] = ()
    """Features of items, of kind categorical or bag, such as "language": the network reads how the history before the
    query is spread over their categories (`pasand.features.history_shares`)."""
    half_life_days: float | None = None
    """Half-life of an event's weight in `history_shares`, in days before the query; None: no decay."""
    position_bias: bool = True
    """Whether training learns a bias of the logit for each position that items were shown at; scoring leaves it out."""
    id_dropout: float = 0.0
    """Share of the training examples whose user id is dropped, and of those whose item id is dropped, so that the
    network learns to score new users and items (Volkovs et al., NIPS 2017)."""
    inherits: Inheritance | None = None
    """Component that finds the similar items whose positives and ratings an item inherits; None: none are inherited."""
    _data: Any = field(default=None, init=False, repr=False, compare=False)
    _reader: Any = field(default=None, init=False, repr=False, compare=False)
    _cached_item_inputs: Any = field(default=None, init=False, repr=False, compare=False)
    _cut: Any = field(default=None, init=False, repr=False, compare=False)
    _held_out: Any = field(default=None, init=False, repr=False, compare=False)
    _fitted_counts: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The counts of the training data while others are followed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in get_args(Objective):
            raise ValueError(f"objective must be one of {', '.join(get_args(Objective))}, got {self.objective}")
        for name in ("negatives", "examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.id_dropout < 1:
            raise ValueError(f"id_dropout must be at least 0 and below 1, got {self.id_dropout}")
        if self.history_length < 0:
            raise ValueError(f"history_length must not be negative, got {self.history_length}")
        check_history_length(self.history_length)
        history_shares.check_options(self.history_shares, self.half_life_days)
        if self.objective == "ratings":  # an attribute, so that only this objective satisfies `PredictsRatings`
            self.predict = self._predict
        elif self.objective == "minutes":
            self.minutes = self._minutes

    @abstractmethod
    def _shape(self, names: list[str]) -> Shape:
        """Return the parts of the network over fields of these names."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Train the network as `DeepModel.fit` does; raises InputError also where `ranking_examples.examples` does."""
        self._data, self._fitted_counts = data, {}
        try:
            return super().fit(data, rng=rng)
        finally:
            self._data = self._cut = self._held_out = None

    def _training_examples(self, data: Dataset) -> Examples:
        return examples(data, self.objective, self.negatives, self.examples, np.random.default_rng(0))

    def _validation_split(self, data: Dataset, rng: Generator) -> ValidationSplit | None:
        """Hold out positives if examples are sampled from them, else the last tenth of the examples in time."""
        if self.objective == "clicked" and (data.impressions is None or not len(data.impressions)):
            return super()._validation_split(data, rng)
        if data.order != "time" or not len(data):
            return None
        shown = data.impressions.time if self.objective in ("clicked", "minutes") and data.impressions else data.time
        cut = int(shown[int((1 - VALIDATION_SHARE) * len(shown))])
        if not (shown[0] < cut and data.time[0] < cut):
            return None
        self._cut = cut
        empty = np.empty(0, np.int32)
        queries = data.queries(empty, k=1)
        return ValidationSplit(train=data.before(cut), queries=queries, query=empty, item=empty)

    def _validation(self, split: ValidationSplit) -> Callable[[], float]:
        """Return a function that computes NDCG@10 as in `DeepRanker`, or minus the loss of the held-out examples."""
        if len(split.item):
            return super()._validation(split)
        examples = self._training_examples(self._data)
        held_out = self._held_out = examples.select(examples.time >= self._cut)

        def negative_loss() -> float:
            total, count = 0.0, 0
            mean, deviation = self._learnt["label_scale"][:2].tolist()
            for part, queries in held_out.batches():
                items = held_out.items[part]
                real, z = items >= 0, self.score(queries, items).astype(np.float64)
                real &= np.isfinite(z)
                z, label = z[real], held_out.label[part][real]
                if self.objective == "ratings":
                    losses = np.square(z - (label - mean) / deviation)
                elif self.objective == "minutes" and held_out.minutes is not None:
                    losses = held_out.minutes[part][real] * np.logaddexp(0, -z) + np.logaddexp(0, z)
                else:
                    losses = np.logaddexp(0, np.where(label > 0, -z, z))
                total, count = total + float(losses.sum()), count + len(z)
            return -total / max(count, 1)

        return negative_loss

    def _finish(self) -> None:
        """Cache the item embeddings; if the validated network is kept, update its counts and calibrate its minutes."""
        if self._features().of_items(np.zeros(1, np.int32)):
            self._learnt[ITEM_EMBEDDINGS] = self._item_embeddings(np.arange(len(self._learnt["known"]), dtype=np.int32))
        if self.refit or self._held_out is None:
            return
        self._learnt = {**self._learnt, **ranking_statistics.learn_counts(self._data)}
        held_out: Examples = self._held_out
        if self.objective != "minutes" or held_out.minutes is None or not len(held_out):
            return
        real = held_out.items >= 0
        logits = [self.score(queries, held_out.items[part])[real[part]] for part, queries in held_out.batches()]
        logit, minutes = np.concatenate(logits), held_out.minutes[real]
        finite = np.isfinite(logit)
        users = np.repeat(held_out.user, real.sum(axis=1))
        errors = calibration(np.exp(logit[finite]), minutes[finite], users[finite])
        logger.info("%s: minutes of the validation split, by tenth, before calibration: %s", self._label, errors)
        self._learnt["minutes_calibration"] = fit_calibration(logit[finite], minutes[finite])

    @property
    def _metric(self) -> str:
        return "validation ndcg@10" if self._cut is None else "validation -loss"

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        selection = ranking_statistics.FeatureSelection(
            user_features=self.user_features,
            item_features=self.item_features,
            history_length=self.history_length,
            ids=self.use_ids,
            history_shares=self.history_shares,
            half_life_days=self.half_life_days,
            predicted_rating=self.objective in ("liked", "ratings"),
        )
        learnt = ranking_statistics.learn(data, selection)
        if self.inherits is not None:
            learnt |= inherited.arrays(*self.inherits.similar(0, data.n_items), data.seen_from, self.inherits.numbers())
        examples = self._training_examples(data)
        n_sampled = min(len(examples), SCALE_SAMPLE)
        sample = examples.select(np.sort(np.random.default_rng(0).choice(len(examples), n_sampled, replace=False)))
        features = RankingFeatures(learnt)
        numbers = [
            features.raw_of_pairs(queries, sample.items[part])[sample.items[part].reshape(-1) >= 0]
            for part, queries in sample.batches()
        ]
        if numbers:
            learnt["scale"] = ranking_statistics.learn_scale(np.concatenate(numbers))
        label = examples.label[examples.items >= 0]
        scale = [label.mean(), label.std() or 1.0, label.min(), label.max()] if len(label) else [0.0, 1.0, 0.0, 0.0]
        return learnt | {"label_scale": np.array(scale, np.float32)}

    def _inputs(self, queries: Queries, items: Rows) -> dict[str, Array]:
        features, k = self._features(), items.shape[1]
        query_inputs = {name: np.repeat(values, k, axis=0) for name, values in features.of_queries(queries).items()}
        return query_inputs | self._item_inputs(items.reshape(-1)) | {"pair": features.of_pairs(queries, items)}

    def _features(self) -> RankingFeatures:
        """Return the reader of ranking features for `_learnt`."""
        if self._reader is None or self._reader.learnt is not self._learnt:
            self._reader, self._cached_item_inputs = RankingFeatures(self._learnt), None
        reader: RankingFeatures = self._reader
        return reader

    def _item_inputs(self, rows: Rows, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Return the inputs of these names for items, (n, ...) each, from a cache of all items; None: all inputs."""
        features = self._features()
        if self._cached_item_inputs is None:
            all_items = np.append(np.arange(features.n_items, dtype=np.int32), np.int32(-1))
            self._cached_item_inputs = features.of_items(all_items)
        inside = within(rows, features.n_items)
        return {name: self._cached_item_inputs[name][inside] for name in names or self._cached_item_inputs}

    def _trace_inputs(self, queries: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        methods, features = super()._trace_inputs(queries, rows), self._features()
        item_inputs = features.of_items(rows)
        if not item_inputs:
            return methods
        query, items = queries.take(np.zeros(1, np.intp)), rows[None]
        crossed = {name: item_inputs[name] for _, name in self._shape(list(features.input_sizes)).crossed}
        inputs = {**features.of_queries(query), **crossed, "pair": features.of_pairs(query, items)}
        return methods | {"item": item_inputs, "rank_items": {**inputs, "items": self._item_embeddings(rows)}}

    def _item_embeddings(self, rows: Rows) -> Array:
        """Return the outputs of the part of the network that reads items alone, (n, T)."""
        return self._run("item", self._features().of_items(rows))

    def _logits(self, queries: Queries, items: Rows) -> Scores:
        """Return logits, (B, K); with many items a graph reads the inputs of a query once for all its items."""
        served = self._graphs is not None and self._network is None and ITEM_EMBEDDINGS in self._learnt
        if not served or "rank_items" not in self._graphs or items.shape[1] < MIN_SHARED_ITEMS:
            return super()._logits(queries, items)
        features, graph_inputs = self._features(), self._graphs.inputs("rank_items")
        item_embeddings = self._learnt[ITEM_EMBEDDINGS]
        query_inputs = features.of_queries(queries)
        pairs = features.of_pairs(queries, items).reshape(*items.shape, -1)
        crossed = [name for name in graph_inputs if name not in query_inputs and name not in ("items", "pair")]
        out = np.empty(items.shape, np.float32)
        for b in range(len(items)):
            own = {name: values[b : b + 1] for name, values in query_inputs.items()}
            for at in range(0, items.shape[1], CHUNK):
                part = slice(at, at + CHUNK)
                inputs = {**own, "items": item_embeddings[items[b, part]], "pair": pairs[b, part]}
                if crossed:
                    inputs |= self._item_inputs(items[b, part], crossed)
                out[b, part] = self._graphs.run("rank_items", inputs)
        return out

    def _can_score(self, queries: Queries) -> Mask:
        return np.ones(len(queries), np.bool_)

    def _build(self) -> nn.Module:
        from pasand.layers.interactions import FieldInteractions

        fields = self._features().input_sizes
        return FieldInteractions(fields, self.dimensions or DIMENSIONS, self._shape(list(fields)))

    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        from pasand.training.tasks.ranking import RankingTask

        examples = self._training_examples(data)
        features = self._features()
        unknown_user = features.of_queries(data.queries(np.array([-1], np.int32), k=1))
        of_queries = [{name: values[:0] for name, values in unknown_user.items()}]  # in case there are no examples
        pairs = [np.empty((0, len(features.pair_features)), np.float32)]
        for part, queries in examples.batches():
            of_queries.append(features.of_queries(queries))
            pairs.append(features.of_pairs(queries, examples.items[part]))
        return RankingTask(
            network,
            examples,
            {name: np.concatenate([inputs[name] for inputs in of_queries]) for name in of_queries[0]},
            features.of_items(np.arange(data.n_items, dtype=np.int32)),
            np.concatenate(pairs),
            objective=self.objective,
            scale=(float(self._learnt["label_scale"][0]), float(self._learnt["label_scale"][1])),
            positions=self.position_bias,
            id_dropout=self.id_dropout,
            batch_size=self.batch_size,
            device=device,
        )

    def add_items(self, features: Features) -> None:
        """Append items, which are scored from their features."""
        n_new = max((len(feature) for feature in features.values()), default=0)
        n_items = len(self._learnt["known"])
        rows = np.arange(n_items, n_items + n_new, dtype=np.int32)
        reader = self._features()
        if self._fitted_counts:
            of_training = ranking_statistics.extended_with_items(
                {**self._learnt, **self._fitted_counts}, features, n_new
            )
            self._fitted_counts |= {name: of_training[name] for name in of_training.keys() & self._fitted_counts.keys()}
        self._learnt = {
            **self._learnt,
            **ranking_statistics.extended_with_items(self._learnt, features, n_new),
        }
        if self.inherits is not None:
            self._learnt |= inherited.extended(self._learnt, *self.inherits.similar(n_items, n_new))
        self._reader, self._cached_item_inputs = reader.extended_with_items(self._learnt), None
        if ITEM_EMBEDDINGS in self._learnt and n_new:
            self._learnt[ITEM_EMBEDDINGS] = extended(self._learnt[ITEM_EMBEDDINGS], self._item_embeddings(rows))

    def follow(self, data: Dataset | None) -> None:
        """Count the positives of `data`, a continuation of the training data, from now on; None: those of training.

        The popularity of items, overall and recent, is then known up to the day of each query, and not only up to the
        last day of training. Nothing is trained. Raises InputError if the data have another number of items.
        """
        if data is None:
            self._learnt, self._fitted_counts = {**self._learnt, **self._fitted_counts}, {}
            return
        if data.n_items != len(self._learnt["known"]):
            cause = f"{data.n_items} items, but {len(self._learnt['known'])} are known"
            raise InputError(data.name, cause=cause, cure="add the new items first, or retrain")
        counts = ranking_statistics.learn_counts(data)
        if not self._fitted_counts:
            self._fitted_counts = {name: self._learnt[name] for name in counts}
        self._learnt = {**self._learnt, **counts}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        sizes = ranking_statistics.check(arrays)
        if self.inherits is not None and not inherited.LAYOUT.keys() <= arrays.keys():
            raise KeyError(min(inherited.LAYOUT.keys() - arrays.keys()))
        cached, knots = Entry("float32", "N T", optional=True), Entry("float32", "2 K", optional=True)
        check(arrays, {ITEM_EMBEDDINGS: cached, "minutes_calibration": knots}, N=sizes["N"])
        if arrays["history_length"][0] != self.history_length:
            raise ValueError(f"history_length must be {self.history_length}, and is {arrays['history_length'][0]}")
        super().load_state(arrays)

    def _minutes(self, queries: Queries, items: Rows) -> Scores:
        """Return the expected minutes watched of each item once shown, 0 at row -1; (B, K) -> (B, K).

        They are exp(logit), with the logit calibrated on the validation split if there was one. The calibration is
        increasing, so that the order is that of the scores. It ignores positions: minutes are averages over the
        positions at which items are usually shown.
        """
        logit = self.score(queries, items)
        knots = self._learnt.get("minutes_calibration")
        return np.exp(logit if knots is None else calibrated(knots, logit))

    def features_read(self) -> list[str]:
        """Return the names of the features that the network reads of a pair."""
        features = self._features()
        return [name for name in features.input_sizes if name != "pair"] + features.pair_features

    def score_without(self, queries: Queries, items: Rows, feature: str) -> Scores:
        """Return the scores as if a feature of `features_read` were unknown; (B, K) -> (B, K)."""
        inputs = self._inputs(queries.within(len(self._learnt["known"])), items)
        numbers = self._features().pair_features
        if feature in numbers:
            inputs["pair"] = inputs["pair"].copy()
            inputs["pair"][:, numbers.index(feature)] = 0
        else:
            inputs[feature] = np.zeros_like(inputs[feature])
        scores = self._run("rank", inputs).reshape(items.shape)
        return np.where(items >= 0, scores, np.float32(-np.inf))
