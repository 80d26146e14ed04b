"""A hundred swaps of bundles under load: requests that failed, and answers of mixed bundles."""

from __future__ import annotations

import json
import threading
import time
from http.client import HTTPConnection

from benchmarks.rows import Row
from benchmarks.served import RECIPE, Server, bundle_of, server

ITEMS, SWAPS, CALLERS = 20_000, 100, 4
OTHER = RECIPE.replace("half_life_days = 30", "half_life_days = 10")


def call(served: Server, ended: threading.Event, digests: set[str], faults: list[str], times: list[float]) -> None:
    """Ask for three users in one call until the end; note bundles that answered, and what went wrong."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    body = json.dumps({"requests": [{"user_id": f"u{number:06}"} for number in range(3)]})
    while not ended.is_set():
        began = time.perf_counter()
        try:
            connection.request("POST", "/v1/recommend", body)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, ValueError) as error:
            faults.append(repr(error))
            return
        times.append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            faults.append(str(told))
            continue
        several = {one["bundle"] for one in told["responses"]}
        if len(several) > 1:
            faults.append("mixed")
        digests |= several


def run() -> list[Row]:
    """Swap between two bundles while callers ask."""
    event_positions = [bundle_of(ITEMS), bundle_of(ITEMS, OTHER)]
    digests: set[str] = set()
    faults: list[str] = []
    times: list[float] = []
    ended = threading.Event()
    with server(event_positions[0]) as served:
        calling = [threading.Thread(target=call, args=(served, ended, digests, faults, times)) for _ in range(CALLERS)]
        for thread in calling:
            thread.start()
        admin = HTTPConnection("127.0.0.1", served.port, timeout=120)
        began = time.perf_counter()
        for number in range(SWAPS):
            admin.request("POST", "/v1/admin/reload", json.dumps({"bundle": str(event_positions[1 - number % 2])}))
            answer = admin.getresponse()
            if answer.status != 200:
                faults.append(answer.read().decode())
            answer.read()
        seconds = (time.perf_counter() - began) / SWAPS
        ended.set()
        for thread in calling:
            thread.join()
    mixed = sum(fault == "mixed" for fault in faults)
    detail = f"{len(times):,} calls during {SWAPS} swaps of {seconds:.2f} s each; slowest call {max(times):.0f} ms"
    return [
        Row(target="calls that failed", value=float(len(faults) - mixed), limit=0, better="lower", detail=detail),
        Row(target="answers of mixed bundles", value=float(mixed), limit=0, better="lower"),
        Row(target="bundles that answered", value=float(len(digests)), limit=2, better="higher"),
    ]
