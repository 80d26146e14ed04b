"""Results compared with the best of the popularity baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pasand.evaluation.intervals import Interval
from pasand.evaluation.significance import PairedTest, paired_comparisons

if TYPE_CHECKING:
    from pasand.evaluation.compare import Result


def against_popularity(
    results: Sequence[Result],
    main_metric: str,
    *,
    baselines: Sequence[str],
    untested: Sequence[str],
    seed: int,
    known: dict[tuple[str, str], tuple[Interval, PairedTest]],
) -> dict[str, Any]:
    """Return the fields `baselines`, `best_baseline` and `results` of a `Comparison`, the best result first.

    Every result but `baselines` and `untested` is compared with the baseline of the highest main metric. `known` keeps
    the tests of pairs that were done before.
    """

    def mean(result: Result) -> float:
        return float(np.nan_to_num(result.evaluation.overall[main_metric].mean, nan=-np.inf))

    best = max((result for result in results if result.name in baselines), key=mean).name
    values = {result.name: result.evaluation.user_values[main_metric] for result in results}
    references = {name: best for name in values if name not in (*baselines, *untested)}
    compared = paired_comparisons(values, references, seed=seed, known=known)
    tested = [replace(result, against_popularity=compared.get(result.name)) for result in results]
    measured = tuple(name for name in baselines if name in values)
    return {"baselines": measured, "best_baseline": best, "results": sorted(tested, key=mean, reverse=True)}
