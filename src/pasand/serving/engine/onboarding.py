"""Items that a new user should rate next, by the bundle's `Onboarding`, or popular ones where its recipe has none."""

from __future__ import annotations

import numpy as np

from pasand.serving.engine.engine import Engine
from pasand.serving.schemas import CatalogueItem, OnboardingItems, OnboardingRequest, RecommendRequest
from pasand.stages.onboarding import Onboarding


def items_to_rate(engine: Engine, visitor: OnboardingRequest) -> OnboardingItems:
    """Return the next items to rate, given the user's events and the skipped items.

    Raises RequestError as `Variant.queries` does, and for languages where items have no such feature.
    """
    engine.sync()
    variant = engine.variant_of(visitor.user_id)
    data = variant.bundle.data
    named = [name for name in data.item_features if name.lower() in ("language", "languages")]
    request = RecommendRequest(
        user_id=visitor.user_id,
        history=visitor.history,
        deny=visitor.skipped,
        filters={(named or ["language"])[0]: list(visitor.languages)} if visitor.languages else {},
        k=visitor.k,
    )
    chosen = [part for part in variant.bundle.assembly.components.values() if isinstance(part, Onboarding)]
    rows = np.empty(0, np.int32)
    denied: list[str] = []
    if chosen:
        recent_events, _ = engine.recent_events(variant, [visitor.user_id])
        queries, _ = variant.queries([request], recent_events, engine.clock())
        known = queries.history[0] >= 0
        pairs = zip(queries.history[0, known].tolist(), queries.history_value[0, known].tolist(), strict=True)
        skipped = set(data.items.rows(visitor.skipped).tolist())
        allowed = None if queries.allowed is None else queries.allowed[0]
        rows = chosen[0].items(dict(pairs), skipped, visitor.k, allowed)
        denied = data.items.ids(rows)
    ids = list(denied)
    if len(ids) < visitor.k:  # the retriever of a user without events: popular items
        more = RecommendRequest(
            k=visitor.k, filters=request.filters, deny=[*visitor.skipped, *denied, *_given(request)]
        )
        ids += [item.item_id for item in engine.responses([more])[0].items][: visitor.k - len(ids)]
    found = [CatalogueItem(name, data.title(variant.row(name)), variant.features(variant.row(name))) for name in ids]
    return OnboardingItems(found, len(denied))


def _given(request: RecommendRequest) -> list[str]:
    return [item if isinstance(item, str) else item.item_id for item in request.history]
