"""Rankers that read everything known about user, item and moment: what they share. Needs no torch to answer."""

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
from pasand.errors import InputError
from pasand.features import ranking_statistics
from pasand.features.ranking_features import RankingFeatures
from pasand.growable import extended
from pasand.models.deep_model import CHUNK
from pasand.models.rankers.ranker import DeepRanker
from pasand.training.calibration import calibration, learn_map, mapped
from pasand.training.ranking_examples import Examples, Objective, examples
from pasand.training.validation import SHARE, ValidationSplit
from pasand.types import Array, Mask, Queries, Rows, Scores, within

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.layers.network_shape import Shape
    from pasand.training.loop import Task

logger = logging.getLogger(__name__)

DIMENSIONS = 16
ITEM_EMBEDDINGS = "said"
"""Name of the learnt array that holds what the network says of each item before the request is known, (N, T)."""
MANY = 16
"""Items of a query from which on what they share is read once."""


@dataclass(kw_only=True)
class ContextualRanker(DeepRanker, ABC):
    """Scores each item by a network over ids, histories, features and numbers of the pair (see `signals`).

    It learns from impressions where the data have any, else from likings and drawn items. Every query is answered.
    """

    epochs: int = 20
    batch_size: int = 2048
    patience: int = 2
    objective: Objective = "clicked"
    """What is foreseen: whether a shown item is "clicked" (without impressions: liked, against drawn items); whether a
    rated item is "liked"; "ratings"; or "minutes" watched of a shown item."""
    negatives: int = 4
    """Items drawn for each liking where there are no impressions."""
    examples: int = 1_000_000
    """Pairs of request and item learnt from at most, the latest."""
    use_ids: bool = True
    """Whether users and items have vectors of their own."""
    user_features: tuple[str, ...] | None = None
    """Features of users that are read; None: all that can be."""
    item_features: tuple[str, ...] | None = None
    """Features of items that are read; None: all that can be."""
    history_length: int = 20
    """Number of the latest likings whose vectors are averaged; 0: none."""
    positions: bool = True
    """Whether, in training, standing at a position adds to the logit; in answers no item stands anywhere yet."""
    id_dropout: float = 0.0
    """Share of the examples in training whose user is not told, and of those whose item is not, so that the network
    learns what newcomers are like (Volkovs et al., NIPS 2017)."""
    _whole: Any = field(default=None, init=False, repr=False, compare=False)
    _read: Any = field(default=None, init=False, repr=False, compare=False)
    _whole_items: Any = field(default=None, init=False, repr=False, compare=False)
    _after: Any = field(default=None, init=False, repr=False, compare=False)
    _later: Any = field(default=None, init=False, repr=False, compare=False)

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
        if self.objective == "ratings":  # so that a model of likings does not pass for one of ratings or minutes
            self.predict = self._predict
        elif self.objective == "minutes":
            self.minutes = self._minutes

    @abstractmethod
    def _shape(self, names: list[str]) -> Shape:
        """Return the parts of the network over fields of these names."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Train the network; as `DeepModel.fit`, and raises InputError where `ranked.examples` does."""
        self._whole = data
        try:
            return super().fit(data, rng=rng)
        finally:
            self._whole = self._after = self._later = None

    def _examples_of(self, data: Dataset) -> Examples:
        return examples(data, self.objective, self.negatives, self.examples, np.random.default_rng(0))

    def _validation_split(self, data: Dataset, rng: Generator) -> ValidationSplit | None:
        """Withhold likings where examples are drawn from them, else the last tenth of the time of the examples."""
        if self.objective == "clicked" and (data.impressions is None or not len(data.impressions)):
            return super()._validation_split(data, rng)
        if data.order != "time" or not len(data):
            return None
        shown = data.impressions.time if self.objective in ("clicked", "minutes") and data.impressions else data.time
        cut = int(shown[int((1 - SHARE) * len(shown))])
        if not (shown[0] < cut and data.time[0] < cut):
            return None
        self._after = cut
        nobody = np.empty(0, np.int32)
        queries = data.queries(nobody, k=1)
        return ValidationSplit(train=data.before(cut), queries=queries, query=nobody, item=nobody)

    def _validation(self, held: ValidationSplit) -> Callable[[], float]:
        """Return what computes NDCG@10 as `DeepRanker`, or less the loss of the examples behind the cut."""
        if len(held.item):
            return super()._validation(held)
        whole = self._examples_of(self._whole)
        later = self._later = whole.select(whole.time >= self._after)

        def better() -> float:
            total, count = 0.0, 0
            mean, spread = self._learnt["rated"][:2].tolist()
            for part, queries in later.batches():
                items = later.items[part]
                real, z = items >= 0, self.score(queries, items).astype(np.float64)
                real &= np.isfinite(z)
                z, label = z[real], later.label[part][real]
                if self.objective == "ratings":
                    losses = np.square(z - (label - mean) / spread)
                elif self.objective == "minutes" and later.minutes is not None:
                    losses = later.minutes[part][real] * np.logaddexp(0, -z) + np.logaddexp(0, z)
                else:
                    losses = np.logaddexp(0, np.where(label > 0, -z, z))
                total, count = total + float(losses.sum()), count + len(z)
            return -total / max(count, 1)

        return better

    def _finish(self) -> None:
        """Where the validated network is the one that answers, let it count by all data, and calibrate its minutes."""
        if self._reader().of_items(np.zeros(1, np.int32)):
            self._learnt[ITEM_EMBEDDINGS] = self._item_embeddings(np.arange(len(self._learnt["known"]), dtype=np.int32))
        if self.refit or self._later is None:
            return
        self.follow(self._whole)
        later: Examples = self._later
        if self.objective != "minutes" or later.minutes is None or not len(later):
            return
        real = later.items >= 0
        told = [self.score(queries, later.items[part])[real[part]] for part, queries in later.batches()]
        logit, watched = np.concatenate(told), later.minutes[real]
        fair = np.isfinite(logit)
        found = calibration(np.exp(logit[fair]), watched[fair], np.repeat(later.user, real.sum(axis=1))[fair])
        logger.info("%s: minutes of what was withheld, by tenth, before calibration: %s", self._label, found)
        self._learnt["minutes_map"] = learn_map(logit[fair], watched[fair])

    @property
    def _metric(self) -> str:
        return "validation ndcg@10" if self._after is None else "validation -loss"

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        reads = ranking_statistics.Reads(
            user_features=self.user_features,
            item_features=self.item_features,
            history_length=self.history_length,
            ids=self.use_ids,
            expected=self.objective in ("liked", "ratings"),
        )
        learnt = ranking_statistics.learn(data, reads)
        made = self._examples_of(data)
        some = np.sort(np.random.default_rng(0).choice(len(made), min(len(made), 20_000), replace=False))
        sample = made.select(some)
        reader = RankingFeatures(learnt)
        numbers = [
            reader.raw(queries, sample.items[part])[sample.items[part].reshape(-1) >= 0]
            for part, queries in sample.batches()
        ]
        if numbers:
            learnt["scale"] = ranking_statistics.scaled(learnt, np.concatenate(numbers))
        label = made.label[made.items >= 0]
        rated = [label.mean(), label.std() or 1.0, label.min(), label.max()] if len(label) else [0.0, 1.0, 0.0, 0.0]
        return learnt | {"rated": np.array(rated, np.float32)}

    def _inputs(self, queries: Queries, items: Rows) -> dict[str, Array]:
        reader, flat = self._reader(), items.reshape(-1)
        told = {k: np.repeat(values, items.shape[1], axis=0) for k, values in reader.of_queries(queries).items()}
        return told | self._reads(flat) | {"pair": reader.of_pairs(queries, items)}

    def _reader(self) -> RankingFeatures:
        if self._read is None or self._read.learnt is not self._learnt:
            self._read, self._whole_items = RankingFeatures(self._learnt), None
        found: RankingFeatures = self._read
        return found

    def _reads(self, rows: Rows, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Return what is read of items, (n, ...) each, out of what was read once for all; None: all of it."""
        reader = self._reader()
        if self._whole_items is None:
            everything = np.append(np.arange(reader.n_items, dtype=np.int32), np.int32(-1))
            self._whole_items = reader.of_items(everything)
        inside = within(rows, reader.n_items)
        return {name: self._whole_items[name][inside] for name in names or self._whole_items}

    def _examples(self, example: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        found, reader = super()._examples(example, rows), self._reader()
        own, (one, several) = reader.of_items(rows), (example.take(np.zeros(1, np.intp)), rows[None])
        crossed = {other: own[other] for _, other in self._shape(list(reader.parts)).crossed}
        told = {**reader.of_queries(one), **crossed, "pair": reader.of_pairs(one, several)}
        return found | {"item": own, "request": {**told, "items": self._item_embeddings(rows)}} if own else found

    def _item_embeddings(self, rows: Rows) -> Array:
        """Return what the network says of items before the request is known, (n, T)."""
        return self._run("item", self._reader().of_items(rows))

    def _logits(self, queries: Queries, items: Rows) -> Scores:
        """Return logits, (B, K) each; for many items a graph reads what all items of a query share once."""
        served = self._graphs is not None and self._network is None and ITEM_EMBEDDINGS in self._learnt
        if not served or "request" not in self._graphs or items.shape[1] < MANY:
            return super()._logits(queries, items)
        reader, wanted, said = self._reader(), self._graphs.inputs("request"), self._learnt[ITEM_EMBEDDINGS]
        shared = reader.of_queries(queries)
        pairs = reader.of_pairs(queries, items).reshape(*items.shape, -1)
        crossed = [name for name in wanted if name not in shared and name not in ("items", "pair")]
        out = np.empty(items.shape, np.float32)
        for b in range(len(items)):
            own = {name: values[b : b + 1] for name, values in shared.items()}
            for at in range(0, items.shape[1], CHUNK):
                some = slice(at, at + CHUNK)
                told = {**own, "items": said[items[b, some]], "pair": pairs[b, some]}
                if crossed:
                    told |= self._reads(items[b, some], crossed)
                out[b, some] = self._graphs.run("request", told)
        return out

    def _answerable(self, queries: Queries) -> Mask:
        return np.ones(len(queries), np.bool_)

    def _build(self) -> nn.Module:
        from pasand.layers.interactions import Fields

        fields = self._reader().parts
        return Fields(fields, self.dimensions or DIMENSIONS, self._shape(list(fields)))

    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        from pasand.training.tasks.ranking import Requests

        made = self._examples_of(data)
        reader = self._reader()
        nobody = reader.of_queries(data.queries(np.array([-1], np.int32), k=1))
        of_queries = [{name: values[:0] for name, values in nobody.items()}]  # where there are no examples at all
        pairs = [np.empty((0, len(reader.names)), np.float32)]
        for part, queries in made.batches():
            of_queries.append(reader.of_queries(queries))
            pairs.append(reader.of_pairs(queries, made.items[part]))
        return Requests(
            network,
            made,
            {name: np.concatenate([one[name] for one in of_queries]) for name in of_queries[0]},
            reader.of_items(np.arange(data.n_items, dtype=np.int32)),
            np.concatenate(pairs),
            objective=self.objective,
            scale=(float(self._learnt["rated"][0]), float(self._learnt["rated"][1])),
            positions=self.positions,
            id_dropout=self.id_dropout,
            batch_size=self.batch_size,
            where=where,
        )

    def add_items(self, features: Features) -> None:
        """Append items, which are scored from their features."""
        more = max((len(feature) for feature in features.values()), default=0)
        rows = np.arange(len(self._learnt["known"]), len(self._learnt["known"]) + more, dtype=np.int32)
        reader, self._learnt = (
            self._reader(),
            {**self._learnt, **ranking_statistics.grown(self._learnt, features, more)},
        )
        self._read, self._whole_items = reader.grown(self._learnt), None
        if ITEM_EMBEDDINGS in self._learnt and more:
            self._learnt[ITEM_EMBEDDINGS] = extended(self._learnt[ITEM_EMBEDDINGS], self._item_embeddings(rows))

    def follow(self, data: Dataset) -> None:
        """Read by how often items are liked in `data`, which go on from those learnt from; nothing is trained.

        How popular an item is, and was of late, then holds up to each query's day, and not only up to the last day that
        was learnt from. Raises InputError where the data have another number of items.
        """
        if data.n_items != len(self._learnt["known"]):
            cause = f"{data.n_items} items, but {len(self._learnt['known'])} are known"
            raise InputError(data.name, cause=cause, cure="add the new items first, or fit anew")
        self._learnt = {**self._learnt, **ranking_statistics.counts(data)}

    def _predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings within the scale, the mean rating of items that the model knows nothing of."""
        mean, deviation, low, high = self._learnt["rated"].tolist()
        scores = self.score(queries, items)
        rated: Scores = np.clip(mean + deviation * np.where(np.isfinite(scores), scores, 0), low, high)
        return rated.astype(np.float32)

    def _minutes(self, queries: Queries, items: Rows) -> Scores:
        """Return the expected minutes watched of each item once shown, 0 at row -1; (B, K) -> (B, K).

        That is exp(logit), the logit moved by the map that was learnt from what validation withheld, where it was. The
        map rises, so that the order is that of the scores, and knows no places: minutes are those of places as usual.
        """
        logit = self.score(queries, items)
        return np.exp(mapped(self._learnt["minutes_map"], logit) if "minutes_map" in self._learnt else logit)

    def features_read(self) -> list[str]:
        """Return the names of what the network reads of a pair."""
        reader = self._reader()
        return [name for name in reader.parts if name != "pair"] + reader.names

    def score_without(self, queries: Queries, items: Rows, feature: str) -> Scores:
        """Return the scores as if a feature of `features_read` were not known; (B, K) -> (B, K)."""
        told = self._inputs(queries.within(len(self._learnt["known"])), items)
        numbers = self._reader().names
        if feature in numbers:
            told["pair"] = told["pair"].copy()
            told["pair"][:, numbers.index(feature)] = 0
        else:
            told[feature] = np.zeros_like(told[feature])
        scores = self._run("rank", told).reshape(items.shape)
        return np.where(items >= 0, scores, np.float32(-np.inf))
