"""Events stored durably per second, with 1 and with 100 events per request, and whether the next response uses them."""

from __future__ import annotations

import json
import re
import subprocess
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rows import Row
from benchmarks.served import LOAD_CORE, Server, bundle_of, server

MEASURES = ("serving",)
ITEMS, SECONDS, CONNECTIONS = 1_000_000, 10, 32
SCRIPT = """
local n = 0
request = function()
  local events = {{}}
  for i = 1, {size} do
    n = n + 1
    events[i] = string.format('{{"user_id":"u%06d","item_id":"i%08d"}}', n * 7919 % 20000, n * 104729 % {items})
  end
  local body = '{{"events":[' .. table.concat(events, ",") .. ']}}'
  return wrk.format("POST", "/v1/events", {{["content-type"]="application/json"}}, body)
end
"""


def rate(served: Server, size: int) -> tuple[float, int]:
    """Return the events acknowledged per second, with `size` events in a request, and the number of failed requests."""
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
        output = subprocess.run([*command, served.url], capture_output=True, text=True, check=True).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    found = re.search(r"Requests/sec:\s+(\S+)", output)
    return size * float(found[1] if found else 0), int(failed[1]) if failed else 0


def post(connection: HTTPConnection, path: str, body: object) -> dict[str, list[dict[str, str]]]:
    """Post a request and return the parsed response."""
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response: dict[str, list[dict[str, str]]] = json.loads(connection.getresponse().read())
    return response


def ignored_events(served: Server, n_users: int = 200) -> int:
    """Return for how many users the response after an event still recommends the item of that event."""
    connection, ignored = HTTPConnection("127.0.0.1", served.port), 0
    for number in range(n_users):
        user = f"visitor {number}"
        first = post(connection, "/v1/recommend", {"user_id": user, "k": 1})["items"][0]["item_id"]
        post(connection, "/v1/events", {"user_id": user, "item_id": first})
        after = post(connection, "/v1/recommend", {"user_id": user, "k": 50})["items"]
        ignored += first in [item["item_id"] for item in after]
    return ignored


def run() -> list[Row]:
    """Send events one by one and in hundreds, then check that responses use them."""
    with server(bundle_of(ITEMS)) as served:
        single, failed = rate(served, 1)
        batched, batches_failed = rate(served, 100)
        ignored = ignored_events(served)
    detail = f"{CONNECTIONS} connections; the state is SQLite, every group of events synchronised to the disk"
    failures = float(failed + batches_failed)
    return [
        Row(
            target="events per second, 100 per request",
            value=batched,
            limit=5000,
            better="higher",
            comparable=True,
            detail=detail,
        ),
        Row(target="events per second, one per request", value=single, limit=None, better="higher", detail=detail),
        Row(target="failed requests", value=failures, limit=0, better="lower", comparable=True),
        Row(
            target="events of 200 that the next response ignored",
            value=float(ignored),
            limit=0,
            better="lower",
            comparable=True,
        ),
    ]
