"""Languages of a home page: those that a visitor chose, those of a user, and those of a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pasand.data.features import Feature, Features
from pasand.serving.engine.feature_values import feature_to_json
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest
from pasand.types import Queries

NAMES = ("language", "languages")
"""Names of features that hold languages, in order of preference."""


def chosen_languages(language: Feature, request: RecommendRequest) -> list[str]:
    """Return the languages of the catalogue that the features of a request name, in their order."""
    values = [one for value in request.features.values() for one in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(str(value) for value in values if str(value) in language.names))


def own_languages(variant: Variant, language: Feature, queries: Queries) -> list[str]:
    """Return the languages of the catalogue that the data know of the user of a single query; [] for a new user."""
    row = int(queries.users[0])
    features = named(variant.bundle.data.user_features, NAMES)
    if row < 0 or not features:
        return []
    value = feature_to_json(features[0][1], row)
    return [one for one in _listed(value) if one in language.names]


def languages_of(language: Feature, chosen: Iterable[str], queries: Queries) -> list[str]:
    """Return the chosen languages, then those of the query's history, or else the most frequent ones of the catalogue.

    Languages that were chosen leave out those of the history.
    """
    chosen = list(chosen)
    if chosen:
        return chosen

    def by_frequency(rows: Any) -> list[str]:
        codes = replace(language, values=language.values[rows]).members()[1]
        return [language.names[code] for code, _ in Counter(codes.tolist()).most_common()]

    history = queries.history[0]
    return by_frequency(history[(history >= 0) & (history < len(language))]) or by_frequency(slice(None))


def named(features: Features, names: Iterable[str]) -> list[tuple[str, Feature]]:
    """Return the categorical and bag features of these names, ignoring case, in the order of the names."""
    found = [(name, feature) for name, feature in features.items() if feature.kind in ("categorical", "bag")]
    return [(name, feature) for wanted in names for name, feature in found if name.lower() == wanted]


def _listed(value: Any) -> list[str]:
    return [] if value is None else [str(one) for one in (value if isinstance(value, list) else [value])]
