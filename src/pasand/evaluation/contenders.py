"""The models and recipes of a comparison, by name and with changed hyper-parameters, or those that suit the data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pasand import models
from pasand import recipe as recipes
from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import free_bytes
from pasand.errors import InputError, did_you_mean
from pasand.evaluation.compare import ALL_TIME, Entry, baselines, model_entry
from pasand.evaluation.recipe_entries import ComponentCache, recipe_entry, with_parts
from pasand.evaluation.search_space import TunableRecipe, single_values, with_hyperparameters
from pasand.models.classical.ease import EASE

MODELS = ("item_knn", "user_knn", "ease", "ials", "biased_mf")
"""Models compared by default."""
MANY_ITEMS = 10_000
"""Number of items above which EASE, whose training time is cubic in it, is not compared by default."""


def contenders(
    data: Dataset,
    names: Sequence[str] | None,
    changes: Mapping[str, str] | None = None,
    seed: int = 0,
    *,
    parts: bool = False,
) -> list[Entry]:
    """Return the models and recipes of these names with changed hyper-parameters; None: models that suit the data."""
    changes = dict(changes or {})
    if names is None:
        names = [name for name in MODELS if name != "biased_mf" or data.values == "rating"]
        needed, free = EASE().memory_needed(data), free_bytes()
        n_items = len(np.unique(data.item))
        if n_items > MANY_ITEMS or (free is not None and needed > free // 2):
            size = f"{needed / 1e9:.1f} GB"
            message = f"ease is left out: {n_items:,} items need minutes and {size}; name it among the models"
            logging.getLogger(__name__).warning("%s", message)
            names = [name for name in names if name != "ease"]
    chosen: list[Entry] = []
    shared, texts = ComponentCache(seed), {}
    included = {baseline.name for baseline in baselines()} - {ALL_TIME}
    for name in dict.fromkeys(name.strip() for name in names if name.strip() not in included):
        if name.endswith(".toml") or (name in recipes.packaged() and name not in models.classes()):
            file = Path(name)
            label = file.name if file.stem in models.classes() else file.stem
            text = recipes.read(name).text
            if own := _own(changes, label):
                searched = TunableRecipe(label, text, seed)
                values = {option: searched.parse_value(option, value) for option, value in own.items()}
                text = recipes.with_options(text, values)
            texts[label] = text
            chosen.append(recipe_entry(label, text, shared))
            continue
        try:
            model: Any = models.find(name)()
        except InputError:
            known = [*models.classes(), *recipes.packaged()]
            cure = f"{did_you_mean(name, known)}`pasand models` lists them: {', '.join(known)}"
            raise InputError("models", value=name, cause="no such model or recipe", cure=cure) from None
        chosen.append(model_entry(name, with_hyperparameters(model, single_values(model, _own(changes, name)))))
    if changes:
        cause = "no model of that name is compared"
        raise InputError("--set", value=next(iter(changes)), cause=cause, cure="add the model to --models")
    return with_parts(chosen, texts, shared) if parts else chosen


def _own(changes: dict[str, str], name: str) -> dict[str, str]:
    """Remove the changes of one model or recipe and return them, without its name."""
    own = [key for key in changes if key.startswith(f"{name}.")]
    return {key.removeprefix(f"{name}."): changes.pop(key) for key in own}
