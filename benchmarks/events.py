"""Events: acknowledged durably a second, one an HTTP request and a hundred a request; and known to the next answer."""

from __future__ import annotations

import json
import re
import subprocess
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rows import Row
from benchmarks.served import LOAD_CORE, Server, bundle_of, server

ITEMS, SECONDS, CONNECTIONS = 1_000_000, 10, 32
SCRIPT = """
local n = 0
request = function()
  local told = {{}}
  for i = 1, {size} do
    n = n + 1
    told[i] = string.format('{{"user":"u%06d","item":"i%08d"}}', n * 7919 % 20000, n * 104729 % {items})
  end
  local body = '{{"events":[' .. table.concat(told, ",") .. ']}}'
  return wrk.format("POST", "/v1/events", {{["content-type"]="application/json"}}, body)
end
"""


def rate(served: Server, size: int) -> tuple[float, int]:
    """Return events acknowledged a second, `size` in a request, and how many requests failed."""
    with TemporaryDirectory() as folder:
        script = Path(folder, "events.lua")
        script.write_text(SCRIPT.format(size=size, items=ITEMS))
        command = [
            "taskset",
            "-c",
            str(LOAD_CORE),
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{SECONDS}s",
            "-s",
            str(script),
        ]
        told = subprocess.run([*command, served.url], capture_output=True, text=True, check=True).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    found = re.search(r"Requests/sec:\s+(\S+)", told)
    return size * float(found[1] if found else 0), int(failed[1]) if failed else 0


def told(connection: HTTPConnection, path: str, body: object) -> dict[str, list[dict[str, str]]]:
    """Return what a call answers."""
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer: dict[str, list[dict[str, str]]] = json.loads(connection.getresponse().read())
    return answer


def unseen(served: Server, times: int = 200) -> int:
    """Return how often an event was not known to the next answer: what was taken must not be recommended any more."""
    connection, missed = HTTPConnection("127.0.0.1", served.port), 0
    for number in range(times):
        user = f"visitor {number}"
        first = told(connection, "/v1/recommend", {"user": user, "k": 1})["items"][0]["item"]
        told(connection, "/v1/events", {"user": user, "item": first})
        after = told(connection, "/v1/recommend", {"user": user, "k": 50})["items"]
        missed += first in [one["item"] for one in after]
    return missed


def run() -> list[Row]:
    """Send events in both ways, then look whether answers know them."""
    with server(bundle_of(ITEMS)) as served:
        one, failed = rate(served, 1)
        many, more = rate(served, 100)
        missed = unseen(served)
    detail = f"{CONNECTIONS} connections; the state is SQLite, every group of events synchronised to the disk"
    return [
        Row(target="events a second, a hundred a request", value=many, limit=5000, better="higher", detail=detail),
        Row(target="events a second, one a request", value=one, limit=None, better="higher", detail=detail),
        Row(target="requests that failed", value=float(failed + more), limit=0, better="lower"),
        Row(target="events of 200 that the next answer did not know", value=float(missed), limit=0, better="lower"),
    ]
