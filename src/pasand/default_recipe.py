"""Default recipes: the recipe for a log that comes without one, and the recipe of a single model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pasand import models
from pasand.data.dataset import Dataset
from pasand.errors import InputError

MIN_POSITIVES = 20_000
"""Positive interactions from which on `best` is the default recipe."""
SINGLE_MODEL = """\
# {name}, with popularity as fallback.

[model]
{fields}

[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_model]
class = "pasand.stages.retrieval:FromModel"
model = "@model"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_model", "@from_popular"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""


def for_data(data: Dataset) -> tuple[str, str]:
    """Return the name of the default recipe for a dataset, "best" or "classic", and the reason for the choice.

    "best" needs ordered events, at least `MIN_POSITIVES` positive interactions to train its second stage, and the
    packages that train it.
    """
    missing = [package for package in ("torch", "lightgbm") if importlib.util.find_spec(package) is None]
    positives = int(data.is_positive.sum())
    if missing:
        return "classic", f"{' and '.join(missing)} not installed (pip install 'pasand[train]')"
    if data.order == "none":
        return "classic", "the log has no order of events"
    if positives < MIN_POSITIVES:
        cause = f"{positives:,} positive interactions are too few to train a second stage"
        return "classic", f"{cause}, which needs {MIN_POSITIVES:,}"
    return "best", f"{positives:,} positive interactions in order"


def of_model(name: str, settings: Mapping[str, object]) -> str:
    """Return the recipe of one model with these hyper-parameters, and popularity as its fallback.

    Raises InputError if there is no such model, or if a value is None, which TOML cannot express.
    """
    return _text(name, models.find(name), settings)


def of_configured(name: str, model: object) -> str:
    """Return the recipe of a model as it is configured, and popularity as its fallback; "" if TOML cannot express it.

    Hyper-parameters with their default values are left out.
    """
    if not is_dataclass(model):
        return ""
    own: Any = type(model)
    try:
        default = own()
        settings = {
            one.name: getattr(model, one.name)
            for one in fields(model)
            if one.init and not one.name.startswith("_") and getattr(model, one.name) != getattr(default, one.name)
        }
        return _text(name, own, settings)
    except (TypeError, ValueError):  # a field without a default, None, or a value that is no plain one
        return ""


def _text(name: str, model: type, settings: Mapping[str, object]) -> str:
    lines = [f'class = "{model.__module__}:{model.__qualname__}"']
    for option, value in settings.items():
        if value is None:
            raise InputError(option, cause="a recipe cannot hold None", cure="leave it out if None is its default")
        lines.append(f"{option} = {json.dumps(value, allow_nan=False)}")
    return SINGLE_MODEL.format(name=name, fields="\n".join(lines))
