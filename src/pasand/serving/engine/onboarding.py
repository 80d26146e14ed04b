"""What a new user should rate next, by the bundle's `Onboarding`, or popular items where its recipe has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.serving.engine.engine import Engine
from pasand.serving.engine.languages import NAMES, named
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import (
    CatalogueItem,
    OnboardingItems,
    OnboardingRequest,
    RecommendRequest,
    RequestError,
    ValueToRate,
)
from pasand.stages.onboarding import Onboarding
from pasand.types import Rows


def items_to_rate(engine: Engine, visitor: OnboardingRequest) -> OnboardingItems:
    """Return what to rate next, given the user's events, the rated values and the skipped items.

    Raises RequestError as `Variant.queries` does, and for languages or values of features that items do not have.
    """
    engine.sync()
    variant = engine.variant_of(visitor.user_id)
    data = variant.bundle.data
    responses = _Responses.of(variant, visitor)
    request = RecommendRequest(
        user_id=visitor.user_id,
        history=visitor.history,
        deny=visitor.skipped,
        filters={name: list(liked) for name, liked in responses.liked.items()},
        k=visitor.k,
    )
    chosen = [part for part in variant.bundle.assembly.components.values() if isinstance(part, Onboarding)]
    rows: Rows = np.empty(0, np.int32)
    value = None
    if chosen:
        recent_events, _ = engine.recent_events(variant, [visitor.user_id])
        queries, _ = variant.queries([request], recent_events, engine.clock())
        known = queries.history[0] >= 0
        pairs = zip(queries.history[0, known].tolist(), queries.history_value[0, known].tolist(), strict=True)
        skipped = set(data.items.rows(visitor.skipped).tolist())
        given = dict(pairs), skipped
        allowed = None if queries.allowed is None else queries.allowed[0]
        rows = chosen[0].items(*given, visitor.k, allowed, responses.by_code)
        value = _named(variant, chosen[0].value(*given, allowed, responses.by_code))
    ids = denied = data.items.ids(rows)
    if len(ids) < visitor.k:  # the retriever of a user without events: popular items
        more = RecommendRequest(
            k=visitor.k, filters=request.filters, deny=[*visitor.skipped, *denied, *_given(request)]
        )
        ids = ids + [item.item_id for item in engine.responses([more])[0].items][: visitor.k - len(ids)]
    found = [CatalogueItem(name, data.title(variant.row(name)), variant.features(variant.row(name))) for name in ids]
    return OnboardingItems(found, len(denied), value)


@dataclass
class _Responses:
    """The responses to values: the liked ones by feature, and all by feature and code."""

    liked: dict[str, list[str]]
    by_code: dict[tuple[str, int], bool | None]

    @classmethod
    def of(cls, variant: Variant, visitor: OnboardingRequest) -> _Responses:
        features = variant.bundle.data.item_features
        rated = [(one.feature, one.value, one.liked) for one in visitor.values]
        if visitor.languages:
            language = next((name for name, _ in named(features, NAMES)), "language")
            every = features[language].names if language in features else ()
            rated += [(language, one, False) for one in every if one not in visitor.languages]
            rated += [(language, one, True) for one in visitor.languages]
        responses = cls({}, {})
        for name, value, liked in rated:
            if liked:
                responses.liked.setdefault(name, []).append(value)
            feature = features.get(name)
            if feature is None or feature.kind not in ("categorical", "bag"):
                if not liked:
                    raise RequestError(422, "unknown_feature", f"items have no feature {name!r} with names", "values")
            elif value in feature.names:
                responses.by_code[name, feature.names.index(value)] = liked
        return responses


def _named(variant: Variant, value: tuple[str, int] | None) -> ValueToRate | None:
    """Return a value by its name; None for one that the catalogue no longer has."""
    feature = None if value is None else variant.bundle.data.item_features.get(value[0])
    if value is None or feature is None or value[1] >= len(feature.names):
        return None
    return ValueToRate(value[0], feature.names[value[1]])


def _given(request: RecommendRequest) -> list[str]:
    return [item if isinstance(item, str) else item.item_id for item in request.history]
