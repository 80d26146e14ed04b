"""How wide factors and embeddings may be before they learn the noise of a small log."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


def carried(n: int) -> int:
    """Return the width that n items can carry: min(50, 8 n^(1/4)), rounded up to a multiple of 8.

    >>> [carried(n) for n in (1, 100, 1700, 1_000_000)]
    [8, 32, 56, 56]
    """
    return int(-(-min(50.0, 8 * max(n, 1) ** 0.25) // 8) * 8)


def width(asked: int | None, n: int) -> int:
    """Return the width asked for, or the one that n items can carry where none was; warns of over four times that.

    Wider factors are no mistake under strong regularisation, hence the allowance.
    """
    if asked is None:
        return carried(n)
    if asked > 4 * carried(n):
        logger.warning("%d dimensions are wide for %d items, which carry about %d", asked, n, carried(n))
    return asked
