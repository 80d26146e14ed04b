"""pasand, a recommender system library: from interaction logs to evaluated, explained and served recommendations.

`pasand.load`, `compare`, `fit` and `open` are those of `pasand.api`, which is imported when one is used; the package
`pasand.metrics` can be called as its function of that name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pasand.api import Fitted, Leaderboard, compare, fit, load, open

__version__ = "0.1.0"
__all__ = ["Fitted", "Leaderboard", "compare", "fit", "load", "open"]


def __getattr__(name: str) -> Any:
    """Return a name of `pasand.api`."""
    if name in __all__:
        from pasand import api

        return getattr(api, name)
    if name == "metrics":
        import importlib

        return importlib.import_module("pasand.metrics")
    raise AttributeError(f"module 'pasand' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
