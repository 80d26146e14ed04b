"""Applies the changes of the catalogue that any process has stored to a variant, also after the state was replaced."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pasand.serving.engine.variant import Variant
from pasand.serving.states.contract import Change, Counters, State

logger = logging.getLogger(__name__)


def follow_changes(variant: Variant, state: State, counters: Counters, *, replaced: bool) -> None:
    """Apply the changes since the last that the variant has; all of them if the state was `replaced`.

    A counter of changes that has fallen shows that, too: an older state was put back, or the store was emptied. Raises
    StateUnavailable as the state does.
    """
    if replaced or counters.change < variant.last_change:
        logger.warning("the state was replaced: variant %s applies its changes from the first one", variant.name)
        variant.reset_changes()
    if counters.change != variant.last_change:
        apply_changes(variant, state.changes(variant.last_change))


def apply_changes(variant: Variant, changes: Sequence[Change]) -> None:
    """Apply changes of the catalogue to a variant; one that fails is logged and does not affect the others."""
    if not changes:
        return
    try:
        variant.apply_changes(changes)
    except Exception:
        for change in changes:
            try:
                variant.apply_changes([change])
            except Exception:
                logger.exception("variant %s cannot apply the change of item %s", variant.name, change.item_id)
                variant.last_change = change.number
