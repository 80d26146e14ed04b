"""What a service tells people of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from pasand.serving.service import Service


def about(service: Service) -> dict[str, Any]:
    """Return what is served, for people: variants, languages, users to try, latency."""
    first = service.engine.variants[0].bundle.data
    languages = next(
        (one.names for name, one in first.item_features.items() if name.lower() in ("language", "languages")), ()
    )
    active = first.user[-2000:] if len(first) else np.empty(0, np.int32)
    rows = list(dict.fromkeys(active[::-1].tolist()))[:12]
    examples = first.users.ids(rows)
    last = [first.item[first.by_user.event[first.by_user.start[row + 1] - 1]] for row in rows]
    return {
        "name": first.name,
        "variants": [
            {
                "name": one.name,
                "bundle": one.digest,
                "share": one.share,
                "events": len(one.bundle.data),
                "items": one.bundle.data.n_items,
                "users": one.bundle.data.n_users,
                "parts": list(one.bundle.assembly.components),
            }
            for one in service.engine.variants
        ],
        "languages": list(languages),
        "examples": examples,
        "last": [first.title(int(row)) or first.items.ids([row])[0] for row in last],
        "user_features": {
            name: {"kind": one.kind, "names": list(one.names[:200])} for name, one in first.user_features.items()
        },
        "item_features": {name: one.kind for name, one in first.item_features.items()},
        "latency": service.metrics.latency(),
        "now": service.engine.clock(),
        "report": service.settings.report is not None,
    }
