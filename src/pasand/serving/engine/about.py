"""Description of a running service for its page: variants, catalogue, example users and latency."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from pasand.serving.engine.variant import Variant
from pasand.serving.engine.viewer_names import is_simulated, names_of
from pasand.serving.service import Service


def about(service: Service) -> dict[str, Any]:
    """Return a description of the service, as JSON values: its variants, languages, users to try and latency."""
    data = service.engine.variants[0].bundle.data
    languages = next(
        (one.names for name, one in data.item_features.items() if name.lower() in ("language", "languages")), ()
    )
    recent = data.user[-2000:] if len(data) else np.empty(0, np.int32)
    service.engine.sync()
    latest = dict.fromkeys(recent[::-1].tolist())
    known = (row for row in latest if data.users.ids([row])[0] not in service.engine.forgotten)
    rows = list(islice(known, 12))
    last = [data.item[data.by_user.event[data.by_user.start[row + 1] - 1]] for row in rows]
    return {
        "name": data.name,
        "variants": [
            {
                "name": variant.name,
                "bundle": variant.digest,
                "recipe": variant.bundle.assembly.digest,
                "share": variant.share,
                "events": len(variant.bundle.data),
                "items": variant.bundle.data.n_items,
                "users": variant.bundle.data.n_users,
                "parts": list(variant.bundle.assembly.components),
            }
            for variant in service.engine.variants
        ],
        "ratings": _ratings(service.engine.variants[0]),
        "words": (service.engine.wording or service.engine.variants[0].wording).as_json(),
        "languages": list(languages),
        "examples": (examples := data.users.ids(rows)),
        "names": names_of(data, examples),
        "simulated": is_simulated(data),
        "last": [data.title(int(row)) or data.items.ids([row])[0] for row in last],
        "user_features": {
            name: {"kind": feature.kind, "names": list(feature.names[:200])}
            for name, feature in data.user_features.items()
        },
        "item_features": {name: feature.kind for name, feature in data.item_features.items()},
        "latency": service.metrics.latency(),
        "now": service.engine.clock(),
        "report": service.settings.report is not None,
        "audit": service.settings.audit is not None,
    }


def _ratings(variant: Variant) -> list[float]:
    """Return the ratings that the page offers, lowest first: those of the scale if it has few, else five; or none."""
    low, high = variant.scale
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0:
        return []
    steps = high - max(low, 1)
    return [high * n / 5 for n in range(1, 6)] if steps > 9 or steps < 1 else [n + 1.0 for n in range(int(high))]
