"""Side features: AUC of telling likings (rating >= 4) from other ratings, deep models against LightGBM and biased MF.

The last fifth of the ratings in time, of MovieLens 100K and of the 2,999 users of MovieLens 1M whose ratings carry
times, is the test; each is asked at its moment, with the user's earlier ratings as history, the test's own included,
by models that learnt from the first four fifths. All but biased MF, which predicts ratings out of ratings, read ids,
what is known of user and film, and the numbers of a pair (`pasand.features.ranking_statistics`), what the ratings so far foresee
of the film among them; the deep models may also read the latest likings as vectors.

On MovieLens 100K each contender was given `DRAWN` settings, its defaults and others drawn from `SPACES`, and on
MovieLens 1M, FM apart, the `KEPT` that had been best (`python -m benchmarks.features` tries them all again). The one
whose AUC was best on the last tenth of the training part in time was taken, after so many trees as were best there,
or so many epochs as were best on a tenth of its own: `CHOSEN`. Then it learnt from all of the training part and was
tested once. AUC is over all test ratings; intervals are a bootstrap over users, who are drawn with all their ratings.

What was tried, by the AUC on the last tenth of MovieLens 100K: without the ratings so far of item, user and genre
.721 for LightGBM, with them .785, and .783 for DCN. Disliked films as a second history and users never told left DCN
there, histories of 100 lowered it by .004; with users never told, decay of the weights lifted FM by .006. What the
ratings so far foresee of the film, which both now read, brought LightGBM to .798 and DCN to .794, and DCN that may do
without ids, as LightGBM might, to .798. To foresee the rating and not the liking changed nothing for either (.798,
.798).
"""

from __future__ import annotations

import os
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

Settings: TypeAlias = dict[str, Any]

DATA = ("ml-100k", "ml-1m-2999-users")
TEST = 0.2
"""Of the ratings, the latest, that are the test."""
LAST = 0.1
"""Of the training part, the latest, that settings are chosen by."""
DRAWN, KEPT = 8, 1
"""Trials of each contender on the first data set, and how many of them are tried again on the second."""
DEEP: dict[str, type[ContextualRanker]] = {"dcn": DCN, "deepfm": DeepFM, "wide_deep": WideDeep, "fm": FM}
MOST: Settings = {"epochs": 40, "patience": 2}
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
"""AUC on the last part of the training part, and the settings, by data set and contender, as `search` found them."""


def auc(score: Array, label: Array, weight: Array) -> float:
    """Return the chance that a liking, (n,) weighed, has a higher score than another rating, ties counting half."""
    _, group = np.unique(score, return_inverse=True)
    liked = np.bincount(group, weight * label)
    other = np.bincount(group, weight * (1 - label))
    below = np.cumsum(other) - other
    return float((liked * (below + other / 2)).sum() / (liked.sum() * other.sum()))


@dataclass(frozen=True)
class ListQueries:
    """Ratings that are asked for, each at its moment."""

    examples: ranking_examples.Examples

    @classmethod
    def since(cls, data: Dataset, share: float) -> tuple[Dataset, ListQueries]:
        """Return the events before the last `share` of all, and the ratings from there on."""
        every = ranking_examples.examples(data, "liked", 1, len(data), np.random.default_rng(0))
        cut = int(data.time[int((1 - share) * len(data))])
        late = every.time >= cut
        kept = {name: getattr(every, name)[late] for name in ("user", "time", "upto", "items", "label")}
        return data.before(cut), cls(replace(every, **kept))

    @property
    def label(self) -> Array:
        """(n,) 1 for a liking."""
        return self.examples.label[:, 0]

    def scores(self, score: Callable[[Queries, Rows], Array]) -> Array:
        """Return what a model says of each rating, (n,)."""
        return np.concatenate(
            [score(asked, self.examples.items[part])[:, 0] for part, asked in self.examples.batches()]
        )

    def auc(self, score: Array) -> float:
        """Return the AUC of scores."""
        return auc(score, self.label, np.ones(len(score)))


def lightgbm_rows(learnt: Mapping[str, Array], examples: ranking_examples.Examples) -> tuple[Array, list[int]]:
    """Return what LightGBM reads of examples, (n, F), nan where not known, and which columns are categories."""
    parts, categories = [], list[int]()
    for part, asked in examples.batches():
        items = examples.items[part]
        reader = RankingFeatures(learnt)
        told = {**reader.of_queries(asked), **reader.of_items(items[:, 0])}
        columns, categories = [reader.raw_of_pairs(asked, items)], []
        for name, values in told.items():
            if name == "history":
                continue
            if values.dtype != np.int64:
                columns.append(values)
            elif values.shape[1] == 1:
                categories.append(sum(column.shape[1] for column in columns))
                columns.append(values)
            else:
                columns.append((values[:, :, None] == np.arange(1, reader.input_sizes[name] + 1)).any(axis=1))
        parts.append(np.hstack([column.astype(np.float32) for column in columns]))
    return np.concatenate(parts), categories


@dataclass(kw_only=True)
class Trees:
    """LightGBM on rows of `lightgbm_rows`."""

    settings: Settings

    def fit(self, train: Dataset, last: ListQueries | None) -> int:
        """Learn, with as many trees as are best for `last`, or as the settings say; return how many."""
        self.learnt = ranking_statistics.learn(train, ranking_statistics.FeatureSelection(predicted_rating=True))
        examples = ranking_examples.examples(train, "liked", 1, len(train), np.random.default_rng(0))
        self.ids = bool(self.settings.get("ids", True))
        rows, categories = self.rows(examples)
        options = {"n_estimators": 3000, "subsample_freq": 1, "n_jobs": threads(), "verbosity": -1, **self.settings}
        del options["ids"]
        self.model = lightgbm.LGBMClassifier(random_state=0, **options)
        more: dict[str, Any] = {}
        if last is not None:
            more = {
                "eval_X": (self.rows(last.examples)[0],),
                "eval_y": (last.label,),
                "eval_metric": "auc",
                "callbacks": [lightgbm.early_stopping(50, first_metric_only=True, verbose=False)],
            }
        self.model.fit(rows, examples.label[:, 0], categorical_feature=categories, **more)
        return int(self.model.best_iteration_ or self.model.n_estimators)

    def rows(self, examples: ranking_examples.Examples) -> tuple[Array, list[int]]:
        """Return what is read of examples, without the categories where ids are not to be read."""
        rows, categories = lightgbm_rows(self.learnt, examples)
        return (rows, categories) if self.ids else (np.delete(rows, categories, axis=1), [])

    def scores(self, asked: ListQueries) -> Array:
        """Return the chance of each liking, (n,)."""
        chance: Array = self.model.predict_proba(self.rows(asked.examples)[0])[:, 1]
        return chance


def threads() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def answers(name: str, settings: Settings, train: Dataset, asked: ListQueries, *, stop: bool) -> tuple[Array, Settings]:
    """Return a contender's scores, and its settings with the number of epochs or trees; stop: chosen by `asked`."""
    if name == "lightgbm":
        trees = Trees(settings={"ids": True, **settings})
        found = trees.fit(train, asked if stop else None)
        return trees.scores(asked), {**trees.settings, "n_estimators": found}
    if name == "biased_mf":
        model = BiasedMF(**settings).fit(train, rng=np.random.default_rng(0))
        return asked.scores(model.predict), settings
    more = MOST if stop else {"patience": 0}
    ranker = DEEP[name](objective="liked", **settings, **more).fit(train, rng=np.random.default_rng(0))
    scores = asked.scores(ranker.score)
    return scores, {**settings, "epochs": 1 + int(np.argmax(ranker.curves()["validation -loss"]))} if stop else settings


def drawn(name: str) -> list[Settings]:
    """Return the defaults and settings drawn from the contender's space."""
    rng = np.random.default_rng(0)
    space = SPACES[name]
    return [{}] + [{key: values[rng.integers(len(values))] for key, values in space.items()} for _ in range(DRAWN - 1)]


def search(data_names: tuple[str, ...] = DATA, contenders: tuple[str, ...] = tuple(SPACES)) -> None:
    """Print every trial, and the best of each contender on each data set."""
    for name in contenders:
        tried = drawn(name)
        for place, data_name in enumerate(data_names):
            part, last = ListQueries.since(read(data_name)[0], LAST)
            found = []
            for settings in tried:
                scores, used = answers(name, settings, part, last, stop=True)
                found.append((round(last.auc(scores), 4), used, settings))
                print(data_name, name, found[-1][:2], flush=True)
            found.sort(key=lambda one: -one[0])
            print("best:", data_name, name, found[0][:2], flush=True)
            tried = [settings for _, _, settings in found[:KEPT]] if place == 0 else tried


def read(name: str) -> tuple[Dataset, ListQueries]:
    """Return the training part of a data set, and the test."""
    return ListQueries.since(load(str(data_folder(name)), positive_from=4.0), TEST)


def spread(asked: ListQueries, scores: Mapping[str, Array]) -> dict[str, Array]:
    """Return the AUC of each contender's scores with users drawn anew, (replicates,), all by the same draws."""
    users, who = np.unique(asked.examples.user, return_inverse=True)
    draws = [draw[who] for part in bootstrap_weights(len(users), np.random.default_rng(0), 500) for draw in part]
    return {name: np.array([auc(own, asked.label, draw) for draw in draws]) for name, own in scores.items()}


def run() -> list[Row]:
    """Fit every contender with its settings to the training parts, and test it once."""
    rows = []
    for data_name, chosen in CHOSEN.items():
        train, test = read(data_name)
        scores = {name: answers(name, own, train, test, stop=False)[0] for name, (_, own) in chosen.items()}
        found = {name: test.auc(own) for name, own in scores.items()}
        draws = spread(test, scores)
        best = max((name for name in chosen if name in DEEP), key=lambda name: chosen[name][0])
        low, high = np.percentile(draws[best] - draws["lightgbm"], PERCENTILES)
        rows.append(
            Row(
                target=f"{data_name}: AUC of the best deep model, {best}, against LightGBM's",
                value=found[best],
                limit=found["lightgbm"],
                better="higher",
                peer=f"LightGBM {lightgbm.__version__}",
                peer_value=found["lightgbm"],
                detail=f"difference {found[best] - found['lightgbm']:.4f} ({low:.4f} to {high:.4f}); the deep model "
                f"that was best on the last part of the training part; {len(test.label):,} ratings",
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
                    detail=f"{low:.4f} to {high:.4f}; {chosen[name][0]:.4f} on the last part; {chosen[name][1]}",
                )
            )
    return rows


if __name__ == "__main__":
    search()
