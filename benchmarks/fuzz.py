"""5xx responses and hangs of the API under random, extreme and schemathesis' requests, and failures of other clients.

`PASAND_FUZZ` in the environment sets the number of random bodies, and of extreme requests; 100,000 is the default.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks.extremes import Request, data, extreme
from benchmarks.rows import Row, peer_python
from benchmarks.served import CACHE, RECIPE, USERS, Server, server
from pasand import bundle, recipe

MEASURES = ("serving",)
ITEMS, SLOW = 20_000, 5.0
BODIES = int(os.environ.get("PASAND_FUZZ", "100000"))
ATTACKERS, INNOCENT, PAUSE = 4, 16, 0.05
"""Clients that send extreme requests, clients beside them, and the seconds between two requests of one of these."""
PATHS = ("/v1/recommend", "/v1/home", "/v1/events")
SEEDS: tuple[bytes, ...] = (
    b'{"user_id":"u000001","k":5,"explain":true}',
    b'{"requests":[{"user_id":"u000002"},{"history":["i00000001",{"item_id":"i00000002","time":1}]}]}',
    b'{"features":{"language":"language 3"},"filters":{"year":{"min":1990},"genre":["genre 1","genre 2"]},"k":20}',
    b'{"allow":["i00000001","i00000003"],"deny":["i00000001"],"exclude_seen":false}',
    b'{"user_id":"u","item_id":"i00000001","time":1700000000,"value":4.5,"watched_seconds":60}',
    b'{"events":[{"user_id":"u","item_id":"i00000001","id":"x"},{"user_id":"v","item_id":"i00000002"}]}',
)
PIECES: tuple[bytes, ...] = (
    b"null",
    b"-1",
    b"1e308",
    b"0.1",
    b"true",
    b'""',
    b"[]",
    b"{}",
    b'"\\u0000"',
    b'"\\ud83d\\ude00"',
    b'"\xe0\xa4\xaa"',
    b"\xff\xfe",
    b'"k":0,',
    b'"k":999999999999999999999,',
    b"[" * 50,
    b'"' + b"x" * 300 + b'"',
)


def mutated(rng: random.Random) -> bytes:
    """Return a nearly valid body: a valid one with parts removed, repeated or replaced."""
    body = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(body) + 1)
        end = min(len(body), at + rng.randrange(12))
        kind = rng.randrange(4)
        if kind == 0:
            body[at:end] = b""
        elif kind == 1:
            body[at:end] = rng.choice(PIECES)
        elif kind == 2:
            body[at:at] = body[at:end]
        elif at < len(body):
            body[at] = rng.randrange(256)
    return bytes(body)


@dataclass
class Seen:
    """What a client has seen."""

    statuses: Counter[int] = field(default_factory=Counter)
    slow: int = 0
    """Requests without a response within `SLOW` seconds."""
    worst: float = 0.0
    """Longest time of a response, in seconds."""
    failed: list[Request] = field(default_factory=list)
    """Requests with a 5xx response, or none."""


def send(connection: HTTPConnection, seen: Seen, request: Request) -> bytes:
    """Send a request, record what comes of it and return the body of its response, b"" for none."""
    method, path, body = request
    began = time.perf_counter()
    try:
        connection.request(method, path, body.encode("utf-8", "surrogateescape"), {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException):
        connection.close()
        seen.slow += 1
        seen.failed.append(request)
        return b""
    seconds = time.perf_counter() - began
    seen.worst = max(seen.worst, seconds)
    seen.statuses[response.status] += 1
    seen.slow += seconds > SLOW
    if response.status >= 500:
        seen.failed.append(request)
    return content


def bodies(served: Server) -> Seen:
    """Return what random bodies led to."""
    rng, seen = random.Random(0), Seen()
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    for _ in range(BODIES):
        send(connection, seen, ("POST", rng.choice(PATHS), mutated(rng).decode("utf-8", "surrogateescape")))
    return seen


def extremes(served: Server) -> tuple[Seen, Seen]:
    """Return what extreme requests led to, and what clients beside them have seen; a list cut short is a failure."""
    ended = threading.Event()

    def attack(number: int) -> Seen:
        rng, seen = random.Random(number), Seen()
        connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
        for _ in range(BODIES // ATTACKERS):
            send(connection, seen, extreme(rng))
        return seen

    def live(number: int) -> Seen:
        rng, seen = random.Random(1000 + number), Seen()
        connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
        while not ended.wait(PAUSE):
            request = "POST", "/v1/recommend", f'{{"user_id":"u{rng.randrange(USERS):06}","k":20}}'
            content = send(connection, seen, request)
            if content.count(b'"rank"') != 20 and request not in seen.failed[-1:]:
                seen.failed.append(request)
        return seen

    with ThreadPoolExecutor(ATTACKERS + INNOCENT) as threads:
        innocent = [threads.submit(live, number) for number in range(INNOCENT)]
        attackers = [threads.submit(attack, number) for number in range(ATTACKERS)]
        try:
            attacked = together([one.result() for one in attackers])
        finally:
            ended.set()
        return attacked, together([one.result() for one in innocent])


def together(parts: list[Seen]) -> Seen:
    """Return what several clients have seen."""
    return Seen(
        sum((part.statuses for part in parts), Counter()),
        sum(part.slow for part in parts),
        max(part.worst for part in parts),
        [request for part in parts for request in part.failed],
    )


def schemas(served: Server) -> tuple[int, str]:
    """Return how many of schemathesis' checks found a 5xx response, and the last line of its summary."""
    python = peer_python("schemathesis", "schemathesis>=4,<5")
    command = [
        str(python.parent / "schemathesis"),
        "run",
        f"{served.url}/openapi.json",
        "--checks",
        "not_a_server_error",
    ]
    options = ["--exclude-path-regex", "/v1/admin", "--max-examples", "200", "--seed", "1", "--request-timeout", "20"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    found = sum("Server error" in line for line in lines)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return found if done.returncode else 0, lines[-1] if lines else ""


def fitted() -> Path:
    """Return the folder of a bundle with item features of every kind, which the first call creates under `.cache`."""
    folder = CACHE / f"fuzz-{ITEMS}-{recipe.build(RECIPE).digest[:8]}"
    if not (folder / "manifest.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = data(ITEMS)
        bundle.write(folder, recipe.build(RECIPE).fit(log, seed=0), log, seed=0)
    return folder


def figures(what: str, seen: Seen) -> list[Row]:
    """Return the 5xx responses and the hangs that requests of a kind led to."""
    examples = "; ".join(f"{method} {path[:80]} {body[:120]}" for method, path, body in seen.failed[:3])
    detail = f"statuses {json.dumps(dict(sorted(seen.statuses.items())))}; longest {seen.worst:.2f} s; {examples}"
    bad = sum(count for status, count in seen.statuses.items() if status >= 500)
    return [
        Row(target=f"{what}: 5xx responses", value=float(bad), limit=0, better="lower", comparable=True, detail=detail),
        Row(target=f"{what}: hangs above {SLOW:g} s", value=float(seen.slow), limit=0, better="lower", comparable=True),
    ]


def run() -> list[Row]:
    """Fuzz in three ways, then check that the server is still ready."""
    with server(fitted()) as served:
        random_rows = figures(f"{BODIES:,} random bodies", bodies(served))
        attacked, innocent = extremes(served)
        found, summary = schemas(served)
        alive = HTTPConnection("127.0.0.1", served.port)
        alive.request("GET", "/readyz")
        ready = alive.getresponse().status == 200
    requests = sum(innocent.statuses.values())
    return [
        *random_rows,
        *figures(f"{BODIES:,} extreme requests", attacked),
        Row(
            target=f"{INNOCENT} other clients meanwhile: failures",
            value=float(len(innocent.failed)),
            limit=0,
            better="lower",
            comparable=True,
            detail=f"{requests:,} requests, longest {innocent.worst:.2f} s, {innocent.slow} above {SLOW:g} s",
        ),
        Row(
            target="schemathesis: server errors",
            value=float(found),
            limit=0,
            better="lower",
            comparable=True,
            detail=summary,
        ),
        Row(
            target="server ready after fuzzing (1: yes)", value=float(ready), limit=1, better="higher", comparable=True
        ),
    ]
