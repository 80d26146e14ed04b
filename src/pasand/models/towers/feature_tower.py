"""Base class of the towers that read user features and an unordered history. Importing it needs no torch."""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.features import encoding, history_shares
from pasand.features.encoding import any_known
from pasand.models.towers.tower import DeepTower
from pasand.types import Array, Arrays, Mask, Queries, Rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pasand.training.tasks.retrieval import RetrievalObjective, RetrievalTask


@dataclass(kw_only=True)
class FeatureTower(DeepTower, ABC):
    """Reads the latest liked items of the history and features of the user.

    Categories, bags of them, numbers and vectors are read; texts and times are not. A value that is missing or was not
    seen in training counts as unknown, and a feature that was not in the training data is ignored.
    """

    history_length: int = 50
    """Number of latest liked items whose vectors are averaged, at least 1."""
    user_features: tuple[str, ...] | None = None
    """Features of users that are read; None: all of a kind that can be read."""
    history_shares: tuple[str, ...] = ()
    """Features of items, of kind categorical or bag, such as "language": the query tower reads how the history before
    the query is spread over their categories (`pasand.features.history_shares`)."""
    half_life_days: float | None = None
    """Half-life of an event's weight in `history_shares`, in days before the query; None: no decay."""
    bins: int = 0
    """Number of quantile bins of each number feature; 0: standardised numbers instead of bins."""
    negatives: int = 1024
    """Number of negatives, per example or per batch depending on the loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("history_length", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        encoding.check_history_length(self.history_length)
        history_shares.check_options(self.history_shares, self.half_life_days)
        if self.bins < 0 or self.bins == 1:
            raise ValueError(f"bins must be 0 or at least 2, got {self.bins}")

    def _learn_queries(self, data: Dataset) -> dict[str, Array]:
        """Return the arrays that encode queries: codes of items with positives, `positive_from`, user features."""
        positives = data.positives()
        rows = np.unique(positives.user)
        used = np.zeros(data.n_items, np.bool_)
        used[positives.item] = True
        features = encoding.select_features(data.user_features, self.user_features, "user_features")
        return {
            "item_code": encoding.consecutive_codes(used),
            "positive_from": np.array([data.positive_from], np.float32),
            **encoding.learn("user", features, rows, self.bins),
            **history_shares.learn(data, self.history_shares, self.half_life_days),
        }

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        super().load_state(arrays)
        history_shares.check_learnt(arrays, len(arrays["known"]))

    def _history(self, queries: Queries) -> Array:
        """Return the codes of the latest liked items, (B, `history_length`), padded with 0 on the left."""
        liked = queries.liked(float(self._learnt["positive_from"][0]))
        return encoding.recent_codes(liked, self._learnt["item_code"], self.history_length)

    def _user_feature_inputs(self, features: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Return the inputs from the features of n users, (n, ...) each."""
        return encoding.encode("user", self._learnt, features, n)

    def _can_embed(self, inputs: Arrays) -> Mask:
        known = any_known({k: v for k, v in inputs.items() if k.startswith("user.")}, len(next(iter(inputs.values()))))
        for name in ("history", "others"):
            if name in inputs:
                known |= (inputs[name] > 0).any(axis=1)
        if "user" in inputs:
            known |= inputs["user"] > 0
        return known | history_shares.known(inputs, len(known))

    def _user_tables(self, data: Dataset) -> dict[str, Array]:
        """Return the inputs from the features of all users of the data, (U, ...) each."""
        all_users = np.arange(data.n_users, dtype=np.int32)
        features = {name: feature.take(all_users) for name, feature in data.user_features.items()}
        return self._user_feature_inputs(features, data.n_users)

    def _query_inputs_sizes(self) -> dict[str, int]:
        """Return the sizes of the inputs from user features and shares, as `encoding.input_sizes`."""
        return encoding.input_sizes("user", self._learnt) | history_shares.input_sizes(self._learnt)

    def _retrieval_task(
        self,
        data: Dataset,
        network: nn.Module,
        users: Mapping[str, Array],
        items: Mapping[str, Array],
        history_inputs: Collection[str],
        objective: RetrievalObjective,
        device: torch.device,
    ) -> RetrievalTask:
        """Return the training task, whose queries also read the shares of the history before each example."""
        import torch

        from pasand.training.tasks.retrieval import RetrievalExamples, RetrievalTask

        shares = {
            name: torch.from_numpy(table).to(device)
            for name, table in history_shares.of_examples(self._learnt, data).items()
        }

        class WithShares(RetrievalTask):
            """The task with inputs of each example, by its number."""

            def _before(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
                return super()._before(batch, generator) | {name: table[batch] for name, table in shares.items()}

        examples = RetrievalExamples(data, self._learnt["item_code"], self.history_length, device)
        task = WithShares if shares else RetrievalTask
        return task(examples, network, users, items, history_inputs, objective, self.batch_size, device)

    def _item_codes(self, rows: Rows) -> Array:
        """Return the code of each item row; 0 for an item without positives in training or added since."""
        return encoding.codes_of(rows, self._learnt["item_code"])

    def _has_features(self, learnt: Arrays, n: int) -> Mask:
        """Return which of the first n items have a known feature that the item tower reads; (n,)."""
        tables = {k.removeprefix("item."): v[:n] for k, v in learnt.items() if k.startswith("item.")}
        return encoding.any_known(encoding.encode("item", learnt, tables, n), n)
