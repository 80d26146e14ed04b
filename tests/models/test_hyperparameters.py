"""Hyper-parameters have one spelling for one idea, over all models, stages and protocols."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

import pasand.evaluation.protocols
import pasand.models
import pasand.stages
from pasand.reranking.exploration.uncertainty import Uncertainty
from pasand.reranking.explore import Explore

KNOWN = {
    "alpha": "initial weight of NeuMF's product path",
    "averaging": "decay of the moving average of the weights",
    "batch_size": "examples in a step",
    "bf16": "whether products are computed in bfloat16",
    "bins": "quantile bins of a number feature",
    "blocks": "attention blocks",
    "burn_in": "sweeps of a Gibbs sampler that are discarded",
    "codes": "centres of a level of semantic ids",
    "cold": "retriever for queries with a short history",
    "columns": "item features whose values can be rated",
    "conjugate_steps": "steps of conjugate gradients",
    "cross_layers": "cross layers of DCN",
    "degrees_of_freedom": "of the prior of users' noise levels",
    "depth": "candidates that a stage ranks",
    "device": "device to train on",
    "dimensions": "width of vectors",
    "dropout": "dropout rate of units",
    "epochs": "passes over the data",
    "events_share": "share of the events of held-out items that are tested",
    "example_age": "whether the age of an example is read",
    "examples": "examples to learn from, at most",
    "features": "item features by which tastes generalise",
    "fine_tuning": "factor on the learning rate after pretraining",
    "fold_in_share": "share of a test user's events that the query holds",
    "folder": "folder with published splits",
    "gated": "whether attention blocks gate what they add",
    "groups": "one group of items, or several with rules",
    "half_life_days": "half-life of a weight in days",
    "heads": "attention heads",
    "histories": "which events the histories of test queries hold",
    "history_decay": "weight of a history item relative to the next later one",
    "history_decay_length": "history items over which a weight falls by the factor e",
    "history_length": "latest history items that are read",
    "history_shares": "item features over whose categories the history is spread",
    "history_weight": "weight of a history item beside its score",
    "holdout_share": "share of events or users that are held out",
    "horizon": "next items to predict",
    "horizon_decay": "weight of a next item relative to the one before",
    "horizon_decay_length": "next items over which a weight falls by the factor e",
    "id_dropout": "share of ids that training replaces by the unknown id",
    "ids": "external ids of items",
    "implicit": "whether sets of rated items are evidence",
    "index": "index to search",
    "inherits": "component that finds the similar items whose statistics an item inherits",
    "init_norm": "root mean square length of initial vectors",
    "init_std": "standard deviation of initial vectors",
    "item_features": "item features that are read",
    "l2": "penalty on squared weights",
    "l2_bias": "penalty on squared biases",
    "l2_exponent": "growth of the penalty with the number of positives",
    "layers": "widths of dense layers",
    "learning_rate": "step length",
    "learning_rate_decay": "factor on the step length after each epoch",
    "leaves": "leaves of a tree",
    "levels": "codes of a semantic id",
    "log_q": "source of item frequencies for logQ correction",
    "loss": "training loss",
    "mask_last_share": "share of histories of which only the last item is masked",
    "mask_share": "share of history items that are masked",
    "method": "distribution that random slots draw from",
    "min_events": "fewest events of a test user",
    "min_history": "fewest history items of a warm query",
    "min_leaf_examples": "fewest examples in a leaf",
    "min_texts": "fewest texts that contain a word",
    "model": "model of a component",
    "models": "models of a component",
    "n": "number of folds",
    "n_candidates": "candidates retrieved",
    "n_users": "users of the training data that a measurement uses, at most",
    "name": "name of the feature that a hybrid adds",
    "negative_sampling": "distribution of sampled negatives",
    "negatives": "sampled negatives",
    "neighbours": "nearest neighbours",
    "normalise": "whether vectors have length 1",
    "objective": "target of the prediction",
    "patience": "epochs without improvement before training stops",
    "per_user": "examples of one user",
    "pool": "items to draw from, at most",
    "position_bias": "whether training learns a bias of each position",
    "pretrain": "whether each path is first trained by itself",
    "pretrain_epochs": "passes of each path by itself",
    "queries_per_user": "test queries of one user, at most",
    "rank": "rank of a matrix",
    "rank_constant": "constant of reciprocal rank fusion",
    "refit": "whether to train again on all events",
    "retriever": "retriever of a component",
    "retrievers": "retrievers of a component",
    "rules": "rules that lists keep",
    "samples": "posterior draws that are kept",
    "second_holdout": "whether the event before the last one is the test event",
    "seed": "seed of a split, or of draws",
    "segment": "user feature that segments the users",
    "segments": "user features that segment the users",
    "shrinkage": "events at which an estimate has half of its weight",
    "similarity": "similarity of users or items",
    "slots": "positions that are drawn",
    "source": "model whose item vectors become a feature",
    "strength": "weight of what a score does not hold, in differences between the first and the median score",
    "temperature": "divisor of the logits",
    "train_share": "share of events before the cut",
    "trees": "trees, at most",
    "uncertainty": "what is little known of scores",
    "uniform": "share of equal probabilities in a mixture",
    "unobserved_weight": "weight of a pair without interaction",
    "use_history": "whether the history is read",
    "use_ids": "whether ids have embeddings",
    "use_other_events": "whether events that are not positives are read",
    "user_features": "user features that are read",
    "validation_share": "share of ratings in the validation split",
    "warm": "retriever for queries with a long history",
    "warm_share": "share of the events of other items that are test events as well",
    "weighting": "how the strength of an event becomes a weight",
    "weights": "weight of each model or retriever",
    "window_days": "days before the newest event that count",
}
"""Every hyper-parameter and what it is. A new spelling is added here only for a new idea."""

SPELLED = {
    "averaging": "ema ema_decay weight_averaging",
    "batch_size": "batch batches_of minibatch",
    "bins": "bands buckets n_bins quantiles",
    "blocks": "n_blocks transformer_layers",
    "burn_in": "burnin warmup_sweeps",
    "cold": "new",
    "cross_layers": "crosses n_cross_layers",
    "degrees_of_freedom": "noise df nu",
    "dimensions": "dim dims d width embedding_dim embedding_size factors n_factors hidden_units latent",
    "dropout": "dropout_rate drop",
    "epochs": "n_epochs iterations n_iter steps passes sweeps",
    "examples": "max_examples n_examples questions",
    "fold_in_share": "fold_in",
    "half_life_days": "half_life halflife",
    "heads": "n_heads attention_heads",
    "history_decay": "decay fading",
    "history_decay_length": "before history_half_life",
    "history_length": "max_length max_len n_history history max_history session_length",
    "holdout_share": "held_out share withheld test_share",
    "horizon": "ahead coming n_next",
    "horizon_decay_length": "horizon_half_life",
    "id_dropout": "strangers user_dropout item_dropout",
    "init_norm": "init_scale init",
    "init_std": "spread std init_stddev",
    "l2": "reg regularisation regularization lambda lambda_ weight_decay penalty",
    "layers": "hidden_layers mlp_layers dense",
    "learning_rate": "lr rate step_size eta",
    "learning_rate_decay": "lr_decay rate_decay",
    "mask_last_share": "last",
    "mask_share": "hidden mask_prob masked",
    "min_events": "at_least fewest",
    "min_history": "least",
    "min_leaf_examples": "smallest min_data_in_leaf",
    "n_candidates": "candidates n_retrieved width_of_candidates",
    "negative_sampling": "draw sampling sampler",
    "negatives": "n_negatives num_negatives drawn n_samples",
    "neighbours": "neighbors k_neighbours n_neighbours",
    "normalise": "normalize cosine",
    "patience": "early_stopping wait",
    "position_bias": "positions places",
    "queries_per_user": "questions_per_user",
    "rank_constant": "constant k rrf_k",
    "second_holdout": "second",
    "seed": "random_state random_seed",
    "shrinkage": "shrink smoothing prior",
    "trees": "n_trees n_estimators",
    "unobserved_weight": "unobserved alpha_0",
    "use_other_events": "others",
    "validation_share": "validation valid_share",
    "warm": "known",
}
"""Other spellings of an idea, which are not used, by the one that is."""

INSTEAD = {other: name for name, others in SPELLED.items() for other in others.split()}


def components() -> Iterator[type]:
    """Yield the classes of models, stages, exploration and protocols that recipes and commands configure."""
    yield from pasand.models.classes().values()
    yield from (Explore, Uncertainty)
    for package in (pasand.stages, pasand.evaluation.protocols):
        for module in pkgutil.iter_modules(package.__path__):
            loaded = importlib.import_module(f"{package.__name__}.{module.name}")
            for _, member in inspect.getmembers(loaded, inspect.isclass):
                acts = not {"__call__", "fit", "split"}.isdisjoint(dir(member))
                if member.__module__ == loaded.__name__ and is_dataclass(member) and acts:
                    yield member


COMPONENTS = list(components())


def hyperparameters(component: type) -> list[str]:
    return [field.name for field in fields(component) if field.init]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_one_idea_has_one_spelling(component: type) -> None:
    wrong = [f"{name}: say {INSTEAD[name]}" for name in hyperparameters(component) if name in INSTEAD]
    assert not wrong, f"{component.__name__} has other spellings of known ideas: {', '.join(wrong)}"


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_every_hyperparameter_is_known(component: type) -> None:
    unknown = [name for name in hyperparameters(component) if name not in KNOWN]
    assert not unknown, f"{component.__name__} has {', '.join(unknown)}: use a name of KNOWN, or add the new idea there"


@pytest.mark.parametrize("model", pasand.models.classes().values(), ids=lambda model: model.__name__)
def test_numbers_that_make_no_sense_are_refused(model: type) -> None:
    accepted = []
    for field in fields(model):
        kinds = str(field.type)
        wrong: list[float] = [-1] if "int" in kinds else []
        wrong += [math.nan, math.inf, -math.inf, -0.5] if "float" in kinds else []
        for number in wrong if field.init else []:
            try:
                model(**{field.name: (number,) if "tuple" in kinds else number})
            except ValueError as error:
                found = str(error)
            else:
                found = "accepted"
            if field.name not in found:
                accepted.append(f"{field.name} = {number}: {found}")
    assert not accepted


def test_the_tables_are_consistent() -> None:
    assert list(KNOWN) == sorted(KNOWN)
    assert SPELLED.keys() <= KNOWN.keys()
    assert not INSTEAD.keys() & KNOWN.keys()
    assert len(INSTEAD) == sum(len(others.split()) for others in SPELLED.values())


def test_no_known_name_is_out_of_use() -> None:
    used = {name for component in COMPONENTS for name in hyperparameters(component)}
    assert KNOWN.keys() <= used


def test_components_are_found() -> None:
    names = {component.__name__ for component in COMPONENTS}
    assert {"SASRec", "EASE", "BiasedMF", "DCN", "Boosted", "Merge", "Switch", "Temporal", "Folds"} <= names
    assert "Holdout" not in names


def test_histories_that_no_memory_holds_are_refused() -> None:
    models: list[Any] = [one for one in pasand.models.classes().values() if "history_length" in hyperparameters(one)]
    assert len(models) > 3
    for model in models:
        model(history_length=1 << 14)
        with pytest.raises(ValueError, match="history_length must be at most 16,384"):
            model(history_length=(1 << 14) + 1)
