"""5xx responses and hangs of the API, fuzzed by schemathesis from its OpenAPI document and by 100,000 random bodies."""

from __future__ import annotations

import json
import random
import subprocess
import time
from http.client import HTTPConnection

from benchmarks.rows import Row, peer_python
from benchmarks.served import RECIPE, Server, bundle_of, server

ITEMS, BODIES, SLOW = 20_000, 100_000, 5.0
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


def bodies(served: Server) -> tuple[int, int, dict[int, int]]:
    """Return how many bodies got a 5xx response, how many hung, and the count of each status."""
    rng, statuses, slow, bad = random.Random(0), dict[int, int](), 0, 0
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    for _ in range(BODIES):
        began = time.perf_counter()
        try:
            connection.request("POST", rng.choice(PATHS), mutated(rng), {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
        except OSError:
            slow += 1
            connection.close()
            continue
        statuses[response.status] = statuses.get(response.status, 0) + 1
        bad += response.status >= 500
        slow += time.perf_counter() - began > SLOW
    return bad, slow, statuses


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


def run() -> list[Row]:
    """Fuzz in both ways, then check that the server is still ready."""
    with server(bundle_of(ITEMS, RECIPE)) as served:
        bad, slow, statuses = bodies(served)
        found, summary = schemas(served)
        alive = HTTPConnection("127.0.0.1", served.port)
        alive.request("GET", "/readyz")
        ready = alive.getresponse().status == 200
    return [
        Row(
            target=f"{BODIES:,} random bodies: 5xx responses",
            value=float(bad),
            limit=0,
            better="lower",
            detail=f"statuses {json.dumps(dict(sorted(statuses.items())))}",
        ),
        Row(target=f"{BODIES:,} random bodies: hangs above {SLOW:g} s", value=float(slow), limit=0, better="lower"),
        Row(target="schemathesis: server errors", value=float(found), limit=0, better="lower", detail=summary),
        Row(target="server ready after fuzzing (1: yes)", value=float(ready), limit=1, better="higher"),
    ]
