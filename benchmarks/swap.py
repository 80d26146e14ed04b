"""A hundred swaps of bundles under load: failed requests, and batch responses that mix two bundles."""

from __future__ import annotations

import json
import threading
import time
from http.client import HTTPConnection

from benchmarks.rows import Row
from benchmarks.served import RECIPE, Server, bundle_of, server

MEASURES = ("bundle.py", "bundle_files.py", "serving")
ITEMS, SWAPS, CALLERS = 20_000, 100, 4
JSON = {"content-type": "application/json"}
OTHER = RECIPE.replace("half_life_days = 30", "half_life_days = 10")


def call(served: Server, ended: threading.Event, digests: set[str], faults: list[str], times: list[float]) -> None:
    """Request recommendations for three users in one call until the end; record bundles, faults and milliseconds."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    body = json.dumps({"requests": [{"user_id": f"u{number:06}"} for number in range(3)]})
    while not ended.is_set():
        began = time.perf_counter()
        try:
            connection.request("POST", "/v1/recommend", body, JSON)
            response = connection.getresponse()
            body_read = json.loads(response.read())
        except (OSError, ValueError) as error:
            faults.append(repr(error))
            return
        times.append(1000 * (time.perf_counter() - began))
        if response.status != 200:
            faults.append(str(body_read))
            continue
        bundles = {part["bundle"] for part in body_read["responses"]}
        if len(bundles) > 1:
            faults.append("mixed")
        digests |= bundles


def run() -> list[Row]:
    """Swap between two bundles while callers send requests."""
    bundles = [bundle_of(ITEMS), bundle_of(ITEMS, OTHER)]
    digests: set[str] = set()
    faults: list[str] = []
    times: list[float] = []
    ended = threading.Event()
    with server(bundles[0]) as served:
        calling = [threading.Thread(target=call, args=(served, ended, digests, faults, times)) for _ in range(CALLERS)]
        for thread in calling:
            thread.start()
        admin = HTTPConnection("127.0.0.1", served.port, timeout=120)
        headers = JSON | {"x-api-key": served.admin_key}
        began = time.perf_counter()
        for number in range(SWAPS):
            body = json.dumps({"bundle": str(bundles[1 - number % 2])})
            admin.request("POST", "/v1/admin/reload", body, headers)
            response = admin.getresponse()
            if response.status != 200:
                faults.append(response.read().decode())
            response.read()
        seconds = (time.perf_counter() - began) / SWAPS
        ended.set()
        for thread in calling:
            thread.join()
    mixed = sum(fault == "mixed" for fault in faults)
    detail = f"{len(times):,} requests, the slowest {max(times):.0f} ms, during {SWAPS} swaps of {seconds:.2f} s each"
    return [
        Row(
            target="failed requests",
            value=float(len(faults) - mixed),
            limit=0,
            better="lower",
            comparable=True,
            detail=detail,
        ),
        Row(target="responses that mix two bundles", value=float(mixed), limit=0, better="lower", comparable=True),
        Row(
            target="bundles that served responses", value=float(len(digests)), limit=2, better="higher", comparable=True
        ),
    ]
