"""Two towers over ids, histories and features (Covington et al., RecSys 2016; Yi et al., RecSys 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args, get_type_hints

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.features import encoding, history_shares
from pasand.growable import extended
from pasand.models.dimensions import chosen_dimensions
from pasand.models.towers.feature_tower import FeatureTower
from pasand.types import Array, Queries, Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task


@dataclass(kw_only=True)
class TwoTower(FeatureTower):
    """Scores by the inner product of a user vector and an item vector.

    The user tower reads the id, the average of the latest liked items, and features; the item tower reads the id and
    features. Ids are dropped at random in training, so that an unknown user is embedded from history and features, and
    an item without positives from its features.
    """

    use_ids: bool = True
    """Whether users and items have embeddings of their ids."""
    use_history: bool = True
    """Whether the latest liked items are read."""
    item_features: tuple[str, ...] | None = None
    """Features of items that are read; None: all of a kind that can be read."""
    layers: tuple[int, ...] = ()
    """Widths of the dense ReLU layers of both towers; none: the sum of the embeddings."""
    learning_rate: float = 0.01
    normalise: bool = True
    """Whether vectors have length 1, so that scores are cosines."""
    temperature: float = 0.1
    """Divisor of the inner products in the loss; a smaller one gives hard negatives more weight."""
    id_dropout: float = 0.1
    """Probability that training replaces an id by that of an unknown row, if the tower has other inputs."""
    loss: Literal["binary", "bpr", "sampled_softmax", "in_batch", "mixed", "full_softmax"] = "sampled_softmax"
    """Training loss: cross-entropy ("binary") or BPR against `negatives` items sampled for each example; softmax
    against `negatives` items sampled for a batch ("sampled_softmax"), against the items of the batch ("in_batch"),
    against those and `negatives` uniform ones ("mixed"), or against all items ("full_softmax")."""
    negative_sampling: Literal["uniform", "popularity"] = "uniform"
    """Distribution of sampled negatives, for the losses that sample them independently of the batch."""
    log_q: Literal["streaming", "counts", "none"] = "counts"
    """Source of the item frequencies by which in-batch softmax is corrected: "streaming" estimates them from the
    batches, which follows changes in a long log; "counts" counts positives. "none": no correction, so that popular
    items are ranked too low."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("loss", "negative_sampling", "log_q"):
            allowed = get_args(get_type_hints(type(self))[name])
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if not 0 <= self.id_dropout < 1:
            raise ValueError(f"id_dropout must be in [0, 1), got {self.id_dropout}")
        if any(units < 1 for units in self.layers):
            raise ValueError(f"layers must be positive, got {list(self.layers)}")

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        learnt = self._learn_queries(data)
        codes = learnt["item_code"]
        known = codes > 0
        features = encoding.select_features(data.item_features, self.item_features, "item_features")
        learnt |= encoding.learn("item", features, np.flatnonzero(known).astype(np.int32), self.bins)
        read = [key.partition(".")[2] for key in encoding.input_sizes("item", learnt)]
        all_items = np.arange(data.n_items, dtype=np.int32)
        tables = {f"item.{name}": features[name].take(all_items) for name in read}
        if self.use_ids:
            users = np.zeros(data.n_users, np.bool_)
            users[data.positives().user] = True
            learnt["user_code"] = encoding.consecutive_codes(users)
        elif not read:
            cure = "set use_ids, or give features"
            raise InputError(data.name, cause="neither ids nor features of items are read", cure=cure)
        if not (self.use_ids or self.use_history or self.history_shares or encoding.input_sizes("user", learnt)):
            cure = "set use_ids or use_history, or give features"
            raise InputError(data.name, cause="neither ids nor histories nor features of users are read", cure=cure)
        return learnt | tables | {"known": known | self._has_features(learnt | tables, data.n_items)}

    def _inputs(self, queries: Queries) -> dict[str, Array]:
        inputs = self._user_feature_inputs(queries.features, len(queries))
        inputs |= history_shares.of_queries(self._learnt, queries)
        if self.use_ids:
            inputs["user"] = encoding.codes_of(queries.users, self._learnt["user_code"])
        if self.use_history:
            inputs["history"] = self._history(queries)
        return inputs

    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        tables = {k.removeprefix("item."): v for k, v in self._learnt.items() if k.startswith("item.")}
        features = {name: table[rows] for name, table in tables.items()}
        inputs = encoding.encode("item", self._learnt, features, len(rows))
        return inputs | ({"item": self._item_codes(rows)} if self.use_ids else {})

    def _grown(self, features: Features) -> dict[str, Array] | None:
        known, n_new = self._learnt["known"], max((len(feature) for feature in features.values()), default=0)
        grown: dict[str, Array] = {}
        for key, table in self._learnt.items():
            if key.startswith("item."):
                rows = encoding.rows_like(table, features.get(key.removeprefix("item.")), n_new)
                grown[key] = extended(table, rows)
        if not grown:
            return None
        new = {key: table[len(known) :] for key, table in grown.items()}
        grown |= history_shares.extended_with_items(self._learnt, features, n_new)
        return grown | {"known": extended(known, self._has_features(self._learnt | new, n_new))}

    def _build(self) -> nn.Module:
        from pasand.layers import embeddings, towers

        codes = int(self._learnt["item_code"].max(initial=0))
        dimensions = chosen_dimensions(self.dimensions, len(self._learnt["item_code"]))
        query: dict[str, nn.Module] = {}
        item: dict[str, nn.Module] = {}
        if self.use_ids:
            query["user"] = embeddings.CodeEmbedding(int(self._learnt["user_code"].max(initial=0)), dimensions)
            item["item"] = embeddings.CodeEmbedding(codes, dimensions)
        if self.use_history:
            query["history"] = embeddings.MeanEmbedding(codes, dimensions)
        sizes = encoding.input_sizes("item", self._learnt)
        for embedded, inputs in ((query, self._query_inputs_sizes()), (item, sizes)):
            for name, size in inputs.items():
                embedded[name] = embeddings.feature_embedding(size, dimensions)
        return towers.TwoTowers(
            towers.Tower(query, dimensions, self.layers),
            towers.Tower(item, dimensions, self.layers),
            normalise=self.normalise,
        )

    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        from pasand.training.tasks.retrieval import RetrievalObjective

        codes = self._learnt["item_code"]
        users = self._user_tables(data) | ({"user": self._learnt["user_code"]} if self.use_ids else {})
        items = self._item_inputs(np.flatnonzero(codes).astype(np.int32))
        objective = RetrievalObjective(
            loss=self.loss,
            negatives=self.negatives,
            negative_sampling=self.negative_sampling,
            log_q=self.log_q,
            temperature=self.temperature,
            id_dropout=self.id_dropout,
        )
        history_inputs = {"history"} if self.use_history else set()
        return self._retrieval_task(data, network, users, items, history_inputs, objective, device)
