"""NeuMF, pretrained, under the NCF protocol: HR@10 and NDCG@10 on ML-1M, the last item against 99 fixed negatives.

Settings and the number of epochs were chosen on the second hold-out of `benchmarks.ncf`, which never reads the test
files, among those of `TRIED` (`python -m benchmarks.neumf` repeats the search): .7400 and .4463 there, .7299 and .4426
for the other. Then all training events are fitted and the test is scored once. On the hold-out GMF alone, the product
path of these settings, had .7478 and .4511; the layers beside it did not help.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.ncf import dataset, events, measure, second_hold_out, test_lists
from benchmarks.rows import Row
from pasand.data.dataset import Dataset
from pasand.models.neumf import NeuMF

SETTINGS: dict[str, Any] = {
    "dimensions": 64,
    "layers": (64, 32, 16),
    "learning_rate": 0.002,
    "l2": 0.2,
    "averaging": 0.999,
    "pretrain_epochs": 20,
    "epochs": 4,
}
TRIED = (
    {**SETTINGS, "l2": 0.1, "pretrain_epochs": 10, "epochs": 10, "fine_tuning": 1.0},
    SETTINGS,
)
LIMITS = {"HR@10": 0.7200, "NDCG@10": 0.4400}


def fit(data: Dataset, settings: dict[str, Any]) -> NeuMF:
    """Return NeuMF trained with the settings for just so many epochs, each path by itself before."""
    return NeuMF(patience=0, **settings).fit(data, rng=np.random.default_rng(0))


def search() -> None:
    """Print the second hold-out's figures of each trial."""
    data, users, lists = second_hold_out(np.random.default_rng(0))
    for settings in TRIED:
        print(measure(fit(data, settings).score(data.queries(users, k=10), lists)), settings, flush=True)


def run() -> list[Row]:
    """Fit all training events and score the test once."""
    data = dataset(events())
    users, lists = test_lists()
    began = perf_counter()
    model = fit(data, SETTINGS)
    seconds = perf_counter() - began
    found = measure(model.score(data.queries(users, k=10), lists))
    return [
        Row(
            target=f"{name}, NCF split of ML-1M, NeuMF pretrained",
            value=found[name],
            limit=limit,
            better="higher",
            detail=f"{SETTINGS}, fitted in {seconds:.0f} s; chosen on the second hold-out",
        )
        for name, limit in LIMITS.items()
    ]


if __name__ == "__main__":
    search()
