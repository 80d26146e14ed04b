"""Check of a bundle before it is used: it recommends to users and to an anonymous one, where something is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pasand.data.packed_texts import PackedTexts
from pasand.errors import failure_cause
from pasand.serving.engine.catalogue_changes import apply_changes
from pasand.serving.engine.variant import NO_RECENT_EVENTS, Variant, ignore_step
from pasand.serving.schemas import RecommendRequest, RequestError
from pasand.serving.states.contract import State, StateUnavailable

N_USERS = 32
"""Users that a new bundle is tested with before it is used."""


def check_bundle(variant: Variant, state: State, now: int) -> None:
    """Smoke-test a bundle: apply the changes of the catalogue and recommend to some users and an anonymous one.

    This also compiles and loads all that recommending needs. Raises RequestError if all lists are empty though the
    filters leave something to recommend, if a list repeats an item, if recommending fails, and if the bundle was
    refreshed from another state.
    """
    data = variant.bundle.data
    try:
        changes, last = state.changes(variant.last_change), state.last()
    except StateUnavailable:
        changes, last = [], variant.state_upto
    if variant.state_upto > last:
        cause = f"it was trained on {variant.state_upto:,} events of its state, but this state has had {last:,}"
        raise RequestError(422, "bundle_rejected", f"{cause}: new events would be treated as known ones", "bundle")
    apply_changes(variant, changes)
    PackedTexts.of([""]).isin([""])  # compiles the filter by many texts
    users = data.users.ids(range(min(N_USERS, data.n_users)))
    for requests in (
        [RecommendRequest(user_id=user) for user in users],
        [RecommendRequest()],
        [RecommendRequest(user_id=user, explain=True) for user in users[:2]],
    ):
        if not requests or not data.n_items:
            continue
        try:
            results = variant.recommend(requests, [NO_RECENT_EVENTS] * len(requests), now, ignore_step)
        except Exception as error:  # whatever it is, a bundle that cannot recommend is not used
            cause = f"the bundle cannot recommend: {failure_cause(error)}"
            raise RequestError(422, "bundle_rejected", cause, "bundle") from error
        for _, items, _ in results:
            ids = [item.item_id for item in items]
            if len(set(ids)) < len(ids):
                raise RequestError(422, "bundle_rejected", "the bundle recommends an item twice", "bundle")
        if not any(items for _, items, _ in results) and _something_is_left(variant, requests, now):
            raise RequestError(422, "bundle_rejected", "the bundle recommends nothing", "bundle")
    variant.broken_rules.clear()


def _something_is_left(variant: Variant, requests: Sequence[RecommendRequest], now: int) -> bool:
    """Return whether the filters leave at least one item to recommend for at least one request of a `group_key`."""
    queries, _ = variant.queries(requests, [NO_RECENT_EVENTS] * len(requests), now)
    narrowed = variant.recommender.narrowed(queries)
    for row in range(len(narrowed)):
        left = np.ones(variant.bundle.data.n_items, np.bool_)
        if narrowed.allowed is not None:
            allowed = narrowed.allowed[min(row, len(narrowed.allowed) - 1)]
            left[len(allowed) :] = False
            left[: len(allowed)] &= allowed
        if narrowed.exclude is not None:
            excluded = narrowed.exclude[row]
            left[excluded[excluded >= 0]] = False
        if left.any():
            return True
    return False
