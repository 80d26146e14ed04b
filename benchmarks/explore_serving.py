"""Exploration and rules in a served request: added latency, complete fields, and rules that hold in a soak.

Two bundles of one log of 20,000 items differ by a policy: two rules on counts, and two random slots of a list of 20.
The groups have enough members among the 200 candidates, so no second search for them is needed.
Requests of both alternate on one thread through the engine of the service, each for another user, so that what both
have in common cancels. The added 99th percentile is the difference of the two 99th percentiles. The soak sends requests
to a running service of the bundle with the policy and checks each response: every item has its propensities, the list
has the product, fixed slots have 1, and both rules hold. `SECONDS` and `PAIRS` in the environment shorten a trial.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter

import httpx
import msgspec
import numpy as np

from benchmarks import served
from benchmarks.rows import Row
from pasand import bundle
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states import open_state
from pasand.types import Array

MEASURES = ("reranking", "recommender.py", "serving/engine")
ITEMS, K, SLOTS = 20_000, 20, (7, 14)
SECONDS, PAIRS = int(os.environ.get("SECONDS", "60")), int(os.environ.get("PAIRS", "5000"))
PLAIN = """
[popular]
class = "pasand.models.classical.popularity:Popularity"

[retrieve]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[seen]
class = "pasand.stages.filtering:DropSeen"

[recommender]
class = "pasand.recommender:Recommender"
filters = ["@seen"]
retriever = "@retrieve"
n_candidates = 200
"""
POLICY = f"""
[[policy]]
name = "recent"
where = {{ year = {{ min = 1990 }} }}
min_count = 8

[[policy]]
name = "few of another"
where = {{ language = "language 5" }}
max_count = 2

[[policy]]
kind = "explore"
slots = {list(SLOTS)}
"""


def milliseconds(folders: list[Path]) -> Array:
    """Return the milliseconds of each request, (PAIRS, bundles), after a hundred that are not counted."""
    with TemporaryDirectory() as folder:
        state = open_state(str(Path(folder, "state.sqlite")))
        engines = [Engine([Variant.read("main", str(one))], state, lambda: 1_731_000_100) for one in folders]
        times = np.empty((PAIRS + 100, len(engines)))
        for n in range(len(times)):
            request = RecommendRequest(user_id=f"u{n % served.USERS:06}", k=K, request_id=f"r{n}")
            for at in range(len(engines)) if n % 2 else reversed(range(len(engines))):
                began = perf_counter()
                response = engines[at].responses([request])
                msgspec.json.encode(response[0])
                times[n, at] = 1000 * (perf_counter() - began)
        state.close()
    return times[100:]


def soak(folder: Path) -> tuple[int, int, int]:
    """Return the responses of a running service, those with complete fields, and those that keep both rules."""
    data = bundle.read(folder).data
    language, year = data.item_features["language"], data.item_features["year"]
    n = complete = kept = 0
    with served.server(folder) as running, httpx.Client(base_url=running.url, timeout=30) as client:
        end = monotonic() + SECONDS
        while monotonic() < end:
            body = {"requests": [{"user_id": f"u{(n + i) % served.USERS:06}", "k": K} for i in range(64)]}
            for response in client.post("/v1/recommend", json=body).raise_for_status().json()["responses"]:
                items = response["items"]
                n, complete = n + 1, complete + fields_are_complete(response)
                rows = data.items.rows([item["item_id"] for item in items])
                recent = int((year.values[rows] >= 1990).sum())
                names = [language.show(int(row)) for row in rows]
                kept += recent >= 8 and names.count("language 5") <= 2 and not response["notes"]
    return n, complete, kept


def fields_are_complete(response: dict) -> bool:  # type: ignore[type-arg]
    """Return whether a response has all propensities, and they fit together."""
    items = response["items"]
    return (
        len(items) == K
        and all(0 < item.get("propensity", 0) <= 1 and 0 < item.get("slot_propensity", 0) <= 1 for item in items)
        and all((item["propensity"] < 1) <= (item["rank"] in SLOTS) for item in items)
        and all(item["propensity"] < 1 for item in items if item["rank"] in SLOTS)
        and all(item["slot_propensity"] == 1 for item in items if item["rank"] not in SLOTS)
        and response["list_propensity"] == math.prod(item["propensity"] for item in items)
    )


def run() -> list[Row]:
    """Return the added latency and what the soak found."""
    folders = [served.bundle_of(ITEMS, PLAIN), served.bundle_of(ITEMS, PLAIN + POLICY)]
    times = milliseconds(folders)
    p99, median = np.percentile(times, 99, axis=0), np.median(times, axis=0)
    n, complete, kept = soak(folders[1])
    return [
        Row(
            target="exploration and rules: added 99th percentile of a request, ms",
            value=float(p99[1] - p99[0]),
            limit=0.3,
            better="lower",
            detail=f"{PAIRS:,} requests each: p99 {p99[0]:.2f} and {p99[1]:.2f}, median {median[0]:.2f} and "
            f"{median[1]:.2f} ms, median added {np.median(times[:, 1] - times[:, 0]):.3f} ms",
            reason="an absolute limit: no other service explores within rules",
            synthetic=True,
        ),
        Row(
            target="responses with complete propensities, share",
            value=complete / n,
            limit=1.0,
            better="higher",
            detail=f"{n:,} responses in {SECONDS} s",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target="responses that keep all rules, share",
            value=kept / n,
            limit=1.0,
            better="higher",
            detail=f"{n:,} responses",
            comparable=True,
            synthetic=True,
        ),
    ]
