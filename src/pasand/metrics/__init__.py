"""Evaluation metrics, one file for each family. Called as a function it is `of_tables.means_of_tables`."""

import sys
from types import ModuleType
from typing import Any


class _Metrics(ModuleType):
    """This package, which is also the function `pasand.metrics`."""

    def __call__(self, *arguments: Any, **options: Any) -> dict[str, float]:
        from pasand.metrics.of_tables import means_of_tables

        return means_of_tables(*arguments, **options)


sys.modules[__name__].__class__ = _Metrics
