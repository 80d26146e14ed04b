"""Default width of factors and embeddings by the size of the catalogue; wider ones overfit a small log."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


def default_dimensions(n_items: int) -> int:
    """Return the default width for n items: min(50, 8 n^(1/4)), rounded up to a multiple of 8.

    >>> [default_dimensions(n) for n in (1, 100, 1700, 1_000_000)]
    [8, 32, 56, 56]
    """
    return int(-(-min(50.0, 8 * max(n_items, 1) ** 0.25) // 8) * 8)


def chosen_dimensions(dimensions: int | None, n_items: int) -> int:
    """Return the configured width, or the default for n items if it is None; warns of one over four times the default.

    Wider factors can be right under strong regularisation, hence the allowance.
    """
    if dimensions is None:
        return default_dimensions(n_items)
    if dimensions > 4 * default_dimensions(n_items):
        recommended = default_dimensions(n_items)
        logger.warning("%d dimensions are many for %d items; %d are recommended", dimensions, n_items, recommended)
    return dimensions
