"""Rankers with side features: AUC of positives (rating >= 4) against other ratings, deep models, LightGBM, biased MF.

The data are MovieLens 100K and the 2,999 users of MovieLens 1M whose ratings have timestamps. The test is the last
fifth of the ratings in time, and the models are trained on the first four fifths. Each test rating is a query at its
timestamp, whose history holds the user's earlier ratings, those of the test part included. Biased MF predicts ratings
from ratings alone. All other models read ids, features of user and film, and the pair features of
`pasand.features.ranking_statistics`, among them the film's rating predicted from the ratings so far. The deep models
may also read the latest positives as vectors.

On MovieLens 100K, `DRAWN` settings of each model were tried: its defaults and others drawn from `SPACES`. On MovieLens
1M the best `KEPT` of these were tried again, for all models but FM (`python -m benchmarks.features` repeats all
trials). The best of four deep models is compared with LightGBM, which gets as many trials as these have together. The
setting with the best AUC on the last tenth of the training part in time was chosen, with the number of trees that was
best there, or the number of epochs that was best on a validation tenth of the model's own: `CHOSEN`. Then the model was
trained on the whole training part and tested once. AUC is over all test ratings. Intervals are from a bootstrap over
users, each drawn with all ratings.

Trials, by the AUC on the last tenth of MovieLens 100K: without the mean ratings so far of item, user and genre
LightGBM had .721, with them .785, and DCN .783. Disliked films as a second history and dropping all user ids left DCN
at that, and histories of 100 lowered it by .004. Without user ids, weight decay raised FM by .006. The rating predicted
from the ratings so far, which both now read, brought LightGBM to .798 and DCN to .794. DCN with a choice not to read
ids, as LightGBM has, reached .798. Predicting the rating instead of the positive changed neither (.798, .798).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import lightgbm
import numpy as np

from benchmarks.rows import Row, data_folder
from pasand.data.dataset import Dataset
from pasand.evaluation.intervals import PERCENTILES, bootstrap_weights
from pasand.features import ranking_statistics
from pasand.features.ranking_features import RankingFeatures
from pasand.models.rankers.contextual import ContextualRanker
from pasand.models.rankers.dcn import DCN
from pasand.models.rankers.deepfm import DeepFM
from pasand.models.rankers.fm import FM
from pasand.models.rankers.wide_deep import WideDeep
from pasand.models.ratings.biased_mf import BiasedMF
from pasand.sources import load
from pasand.training import ranking_examples
from pasand.types import Array, Queries, Rows

MEASURES = (
    "data/relevance.py",
    "features",
    "layers",
    "models/deep_model.py:DeepModel._train",
    "models/deep_model.py:DeepModel.fit",
    "models/rankers",
    "models/ratings/biased_mf.py",
    "models/ratings/rating_model.py",
    "models/ratings/sgd.py",
    "training",
)
Settings: TypeAlias = dict[str, Any]

DATA = ("ml-100k", "ml-1m-2999-users")
TEST = 0.2
"""Share of the ratings, the latest ones, in the test."""
LAST = 0.1
"""Share of the training part, the latest one, by which settings are chosen."""
DEEP: dict[str, type[ContextualRanker]] = {"dcn": DCN, "deepfm": DeepFM, "wide_deep": WideDeep, "fm": FM}
DRAWN, KEPT = 8, 1
"""Number of trials of a model on the first data set, and how many of the best are tried again on the second."""
LIGHTGBM = {"drawn": DRAWN * len(DEEP), "kept": KEPT * (len(DEEP) - 1)}
"""The same of LightGBM: as many as all deep models have, of which the best on the validation part is compared."""
EARLY_STOPPING: Settings = {"epochs": 40, "patience": 2}
COMMON: dict[str, tuple[Any, ...]] = {
    "dimensions": (8, 16, 32),
    "learning_rate": (1e-3, 3e-3),
    "l2": (0.1, 0.3, 1.0, 3.0, 6.0),
    "averaging": (0.0, 0.99),
    "id_dropout": (0.0, 0.3, 0.6),
    "use_ids": (True, False),
    "history_length": (0, 20),
}
LAYERED = {**COMMON, "dropout": (0.0, 0.2, 0.4), "layers": ((128, 64), (64, 32), (32,))}
SPACES: dict[str, dict[str, tuple[Any, ...]]] = {
    "dcn": {**LAYERED, "cross_layers": (1, 2, 3)},
    "deepfm": LAYERED,
    "wide_deep": LAYERED,
    "fm": COMMON,
    "lightgbm": {
        "num_leaves": (7, 15, 31, 63),
        "learning_rate": (0.03, 0.05, 0.1),
        "min_child_samples": (20, 50, 100, 200),
        "colsample_bytree": (0.5, 0.8, 1.0),
        "subsample": (0.7, 1.0),
        "reg_lambda": (0.0, 1.0, 10.0),
        "cat_smooth": (10.0, 50.0, 200.0),
        "ids": (True, False),
    },
    "biased_mf": {
        "dimensions": (4, 8, 16, 32, 64),
        "learning_rate": (0.01, 0.02),
        "l2": (0.02, 0.05, 0.08, 0.12),
        "l2_bias": (0.005, 0.02, 0.05),
    },
}
CHOSEN: dict[str, dict[str, tuple[float, Settings]]] = {
    "ml-100k": {
        "lightgbm": (
            0.7979,
            {
                "ids": False,
                "num_leaves": 15,
                "learning_rate": 0.05,
                "min_child_samples": 200,
                "colsample_bytree": 0.8,
                "subsample": 0.7,
                "reg_lambda": 10.0,
                "cat_smooth": 200.0,
                "n_estimators": 263,
            },
        ),
        "dcn": (
            0.798,
            {
                "dimensions": 32,
                "learning_rate": 0.001,
                "l2": 0.1,
                "averaging": 0.99,
                "id_dropout": 0.0,
                "use_ids": False,
                "history_length": 0,
                "dropout": 0.0,
                "layers": (64, 32),
                "cross_layers": 2,
                "epochs": 8,
            },
        ),
        "deepfm": (
            0.7984,
            {
                "dimensions": 8,
                "learning_rate": 0.001,
                "l2": 1.0,
                "averaging": 0.0,
                "id_dropout": 0.3,
                "use_ids": True,
                "history_length": 0,
                "dropout": 0.0,
                "layers": (128, 64),
                "epochs": 4,
            },
        ),
        "fm": (
            0.7971,
            {
                "dimensions": 32,
                "learning_rate": 0.003,
                "l2": 3.0,
                "averaging": 0.99,
                "id_dropout": 0.3,
                "use_ids": False,
                "history_length": 0,
                "epochs": 5,
            },
        ),
        "wide_deep": (
            0.7979,
            {
                "dimensions": 8,
                "learning_rate": 0.001,
                "l2": 1.0,
                "averaging": 0.0,
                "id_dropout": 0.3,
                "use_ids": True,
                "history_length": 0,
                "dropout": 0.0,
                "layers": (128, 64),
                "epochs": 4,
            },
        ),
        "biased_mf": (0.7968, {"dimensions": 32, "learning_rate": 0.02, "l2": 0.08, "l2_bias": 0.05}),
    },
    "ml-1m-2999-users": {
        "lightgbm": (
            0.817,
            {
                "ids": False,
                "num_leaves": 15,
                "learning_rate": 0.05,
                "min_child_samples": 200,
                "colsample_bytree": 0.8,
                "subsample": 0.7,
                "reg_lambda": 10.0,
                "cat_smooth": 200.0,
                "n_estimators": 209,
            },
        ),
        "dcn": (
            0.8164,
            {
                "dimensions": 32,
                "learning_rate": 0.001,
                "l2": 0.1,
                "averaging": 0.99,
                "id_dropout": 0.0,
                "use_ids": False,
                "history_length": 0,
                "dropout": 0.0,
                "layers": (64, 32),
                "cross_layers": 2,
                "epochs": 3,
            },
        ),
        "deepfm": (
            0.8135,
            {
                "dimensions": 8,
                "learning_rate": 0.001,
                "l2": 1.0,
                "averaging": 0.0,
                "id_dropout": 0.3,
                "use_ids": True,
                "history_length": 0,
                "dropout": 0.0,
                "layers": (128, 64),
                "epochs": 4,
            },
        ),
        "wide_deep": (
            0.8138,
            {
                "dimensions": 8,
                "learning_rate": 0.001,
                "l2": 1.0,
                "averaging": 0.0,
                "id_dropout": 0.3,
                "use_ids": True,
                "history_length": 0,
                "dropout": 0.0,
                "layers": (128, 64),
                "epochs": 4,
            },
        ),
        "biased_mf": (0.8134, {"dimensions": 32, "learning_rate": 0.02, "l2": 0.08, "l2_bias": 0.05}),
    },
}
"""Chosen settings of each model on each data set, with their AUC on the last tenth of the training part."""


def auc(score: Array, label: Array, weight: Array) -> float:
    """Return the probability that a positive scores above another rating, ties counting half; weights are (n,)."""
    _, group = np.unique(score, return_inverse=True)
    liked = np.bincount(group, weight * label)
    other = np.bincount(group, weight * (1 - label))
    below = np.cumsum(other) - other
    return float((liked * (below + other / 2)).sum() / (liked.sum() * other.sum()))


@dataclass(frozen=True)
class HeldOutRatings:
    """Ratings to be classified, each a query at its timestamp with one item."""

    examples: ranking_examples.Examples

    @classmethod
    def split(cls, data: Dataset, share: float) -> tuple[Dataset, HeldOutRatings]:
        """Return the events before the last `share` of the events in time, and the ratings after them."""
        ratings = ranking_examples.examples(data, "liked", 1, len(data), np.random.default_rng(0))
        cut = int(data.time[int((1 - share) * len(data))])
        late = ratings.time >= cut
        columns = {name: getattr(ratings, name)[late] for name in ("user", "time", "upto", "items", "label")}
        return data.before(cut), cls(replace(ratings, **columns))

    @property
    def label(self) -> Array:
        """(n,) 1 for a positive, 0 for another rating."""
        return self.examples.label[:, 0]

    def scores(self, score: Callable[[Queries, Rows], Array]) -> Array:
        """Return a model's score of each rating, (n,)."""
        return np.concatenate(
            [score(queries, self.examples.items[part])[:, 0] for part, queries in self.examples.batches()]
        )

    def auc(self, score: Array) -> float:
        """Return the AUC of scores."""
        return auc(score, self.label, np.ones(len(score)))


def lightgbm_rows(learnt: Mapping[str, Array], examples: ranking_examples.Examples) -> tuple[Array, list[int]]:
    """Return the features of examples, (n, F), nan where unknown, and the indices of the categorical columns."""
    parts, categories = [], list[int]()
    for part, queries in examples.batches():
        items = examples.items[part]
        features = RankingFeatures(learnt)
        inputs = {**features.of_queries(queries), **features.of_items(items[:, 0])}
        columns, categories = [features.raw_of_pairs(queries, items)], []
        for name, values in inputs.items():
            if name == "history":
                continue
            if values.dtype != np.int64:
                columns.append(values)
            elif values.shape[1] == 1:
                categories.append(sum(column.shape[1] for column in columns))
                columns.append(values)
            else:
                columns.append((values[:, :, None] == np.arange(1, features.input_sizes[name] + 1)).any(axis=1))
        parts.append(np.hstack([column.astype(np.float32) for column in columns]))
    return np.concatenate(parts), categories


@dataclass(kw_only=True)
class Trees:
    """LightGBM on the features of `lightgbm_rows`."""

    settings: Settings

    def fit(self, train: Dataset, validation: HeldOutRatings | None) -> int:
        """Train with the best number of trees by `validation`, or with the number in the settings, and return it."""
        self.learnt = ranking_statistics.learn(train, ranking_statistics.FeatureSelection(predicted_rating=True))
        examples = ranking_examples.examples(train, "liked", 1, len(train), np.random.default_rng(0))
        self.ids = bool(self.settings.get("ids", True))
        rows, categories = self.rows(examples)
        options = {"n_estimators": 3000, "subsample_freq": 1, "n_jobs": threads(), "verbosity": -1, **self.settings}
        del options["ids"]
        self.model = lightgbm.LGBMClassifier(random_state=0, **options)
        stopping: dict[str, Any] = {}
        if validation is not None:
            stopping = {
                "eval_X": (self.rows(validation.examples)[0],),
                "eval_y": (validation.label,),
                "eval_metric": "auc",
                "callbacks": [lightgbm.early_stopping(50, first_metric_only=True, verbose=False)],
            }
        self.model.fit(rows, examples.label[:, 0], categorical_feature=categories, **stopping)
        return int(self.model.best_iteration_ or self.model.n_estimators)

    def rows(self, examples: ranking_examples.Examples) -> tuple[Array, list[int]]:
        """Return features and categorical columns as `lightgbm_rows`, but drop the latter if ids are not to be read."""
        rows, categories = lightgbm_rows(self.learnt, examples)
        return (rows, categories) if self.ids else (np.delete(rows, categories, axis=1), [])

    def scores(self, ratings: HeldOutRatings) -> Array:
        """Return the predicted probability that each rating is a positive, (n,)."""
        probability: Array = self.model.predict_proba(self.rows(ratings.examples)[0])[:, 1]
        return probability


def threads() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def fit_and_score(
    name: str, settings: Settings, train: Dataset, ratings: HeldOutRatings, *, stop: bool
) -> tuple[Array, Settings]:
    """Return a model's scores of the ratings, (n,), and its settings with the number of epochs or trees.

    With `stop` that number is chosen by early stopping: trees by the AUC on `ratings`, epochs by the model itself.
    """
    if name == "lightgbm":
        trees = Trees(settings={"ids": True, **settings})
        n_trees = trees.fit(train, ratings if stop else None)
        return trees.scores(ratings), {**trees.settings, "n_estimators": n_trees}
    if name == "biased_mf":
        model = BiasedMF(**settings).fit(train, rng=np.random.default_rng(0))
        return ratings.scores(model.predict), settings
    stopping = EARLY_STOPPING if stop else {"patience": 0}
    ranker = DEEP[name](objective="liked", **settings, **stopping).fit(train, rng=np.random.default_rng(0))
    scores = ratings.scores(ranker.score)
    return scores, {**settings, "epochs": 1 + int(np.argmax(ranker.curves()["validation -loss"]))} if stop else settings


def drawn(name: str) -> list[Settings]:
    """Return the settings of a model to try: its defaults, and others drawn from its space."""
    rng = np.random.default_rng(0)
    space, n = SPACES[name], LIGHTGBM["drawn"] if name == "lightgbm" else DRAWN
    return [{}] + [{key: values[rng.integers(len(values))] for key, values in space.items()} for _ in range(n - 1)]


def search(data_names: tuple[str, ...] = DATA, models: tuple[str, ...] = tuple(SPACES)) -> None:
    """Print every trial, and the best one of each model on each data set."""
    for name in models:
        tried = drawn(name)
        for index, data_name in enumerate(data_names):
            train, validation = HeldOutRatings.split(read(data_name)[0], LAST)
            trials = []
            for settings in tried:
                scores, used = fit_and_score(name, settings, train, validation, stop=True)
                trials.append((round(validation.auc(scores), 4), used, settings))
                print(data_name, name, trials[-1][:2], flush=True)
            trials.sort(key=lambda trial: -trial[0])
            print("best:", data_name, name, trials[0][:2], flush=True)
            kept = LIGHTGBM["kept"] if name == "lightgbm" else KEPT
            tried = [settings for _, _, settings in trials[:kept]] if index == 0 else tried


def read(name: str) -> tuple[Dataset, HeldOutRatings]:
    """Return the training part of a data set, and the test ratings."""
    return HeldOutRatings.split(load(str(data_folder(name)), positive_from=4.0), TEST)


def bootstrap_aucs(ratings: HeldOutRatings, scores: Mapping[str, Array]) -> dict[str, Array]:
    """Return the AUC of each model in each bootstrap sample of users, (replicates,), from the same samples for all."""
    users, user_index = np.unique(ratings.examples.user, return_inverse=True)
    draws = [draw[user_index] for part in bootstrap_weights(len(users), np.random.default_rng(0), 500) for draw in part]
    return {name: np.array([auc(own, ratings.label, draw) for draw in draws]) for name, own in scores.items()}


def run() -> list[Row]:
    """Fit every model with its chosen settings to the training parts, and test it once."""
    rows = []
    for data_name, chosen in CHOSEN.items():
        train, test = read(data_name)
        scores = {name: fit_and_score(name, own, train, test, stop=False)[0] for name, (_, own) in chosen.items()}
        found = {name: test.auc(own) for name, own in scores.items()}
        draws = bootstrap_aucs(test, scores)
        best = max((name for name in chosen if name in DEEP), key=lambda name: chosen[name][0])
        low, high = np.percentile(draws[best] - draws["lightgbm"], PERCENTILES)
        rows.append(
            Row(
                target=f"{data_name}: AUC of the best deep model, {best}, against LightGBM's",
                value=found[best],
                limit=found["lightgbm"],
                better="higher",
                comparable=True,
                peer=f"LightGBM {lightgbm.__version__}, as many trials as all deep models",
                peer_value=found["lightgbm"],
                detail=f"difference {found[best] - found['lightgbm']:.4f} ({low:.4f} to {high:.4f}); the deep model "
                f"that was best on the last tenth of the training part; {len(test.label):,} ratings",
            )
        )
        for name, value in found.items():
            low, high = np.percentile(draws[name], PERCENTILES)
            rows.append(
                Row(
                    target=f"{data_name}: AUC of {name}",
                    value=value,
                    limit=None,
                    better="higher",
                    detail=f"{low:.4f} to {high:.4f}; {chosen[name][0]:.4f} on the last tenth; {chosen[name][1]}",
                )
            )
    return rows


if __name__ == "__main__":
    search(models=tuple(sys.argv[1:]) or tuple(SPACES))
