"""Which items are released at a time, and for how long that stays so."""

from __future__ import annotations

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.features import AVAILABLE_FROM
from pasand.types import Mask


def released(data: Dataset, now: int) -> tuple[Mask | None, tuple[int, int]]:
    """Return the items that are released, (N,), None if all are, and the times from which and before which this holds.

    An item is released if its `available_from` is unknown, or not after now and one second after the last event: the
    times of the queries that the server makes. All items of a catalogue without that feature are released.
    """
    release = data.item_features.get(AVAILABLE_FROM)
    times = np.empty(0, np.int64) if release is None or release.kind != "time" else release.values
    first = int(data.time[-1]) + 1 if len(data) and data.order == "time" else 0
    later = times > max(now, first)
    past = times[~later & (times > first)]
    holds = int(past.max(initial=-1)), int(times[later].min(initial=np.iinfo(np.int64).max))
    return (~later if later.any() else None), holds
