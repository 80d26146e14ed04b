"""The server as a process: killed, ended, overrun, shared, and kept waiting."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.resources import missing
from tests.serving.conftest import Served, free_port, serving

ENDED = (0, -signal.SIGTERM)
"""How a process ends that was asked to: by itself, or, once it is through, by the signal."""


def at(served: Served) -> tuple[str, int]:
    url = httpx.URL(served.url)
    assert url.port is not None
    return url.host, url.port


def hammer(served: Served, seconds: float, one: Callable[[httpx.Client, int], None], until: Event) -> list[str]:
    """Call in three threads for some seconds, or until an event; return what went wrong."""
    faults: list[str] = []
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        with httpx.Client(base_url=served.url, timeout=30) as client:
            while time.monotonic() < end and not until.is_set():
                try:
                    one(client, number)
                except (httpx.HTTPError, AssertionError) as error:
                    faults.append(repr(error))
                    return

    working = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    return faults


def test_acknowledged_events_survive_kill_9(bundle_folder: Path, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    with serving(bundle_folder, tmp_path) as served:

        def send(client: httpx.Client, number: int) -> None:
            name = f"{number}-{len(acknowledged)}"
            client.post("/v1/events", json={"id": name, "user": "u", "item": "PK"}).raise_for_status()
            acknowledged.append(name)

        killer = threading.Timer(1.0, served.process.kill)
        killer.start()
        assert hammer(served, 10, send, Event())  # they end when the server is gone
        killer.join()
    assert len(acknowledged) > 20
    with serving(bundle_folder, tmp_path) as served:
        lines = [{"id": name, "user": "u", "item": "PK"} for name in dict.fromkeys(acknowledged)]
        again = served.ask("POST", "/v1/events", json={"events": lines})
        assert again["duplicates"] == len(lines)
        assert again["accepted"] == 0


def test_sigterm_answers_what_is_under_way(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as served:
        statuses: list[int] = []

        def ask(client: httpx.Client, number: int) -> None:
            statuses.append(client.post("/v1/recommend", json={"user": f"u{number}"}).status_code)

        ending = threading.Timer(1.0, served.process.terminate)
        ending.start()
        faults = hammer(served, 10, ask, Event())
        ending.join()
        assert served.process.wait(timeout=20) in ENDED
        assert set(statuses) == {200}
        # a connection that was idle may be closed before the next request, but none in the middle of an answer
        refused = ("ConnectError", "RemoteProtocolError('Server disconnected without", "ReadError", "CloseError")
        assert all(fault.startswith(refused) for fault in faults), faults
        assert "Traceback" not in served.output.read_text()


def test_swaps_under_load_fail_nobody(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path) as served:
        digests: set[str] = set()

        def ask(client: httpx.Client, number: int) -> None:
            answer = client.post("/v1/recommend", json={"requests": [{"user": f"u{number}"}] * 3})
            answer.raise_for_status()
            told = {one["bundle"] for one in answer.json()["answers"]}
            assert len(told) == 1
            digests.update(told)

        def swap() -> None:
            try:
                for number in range(4):
                    served.ask("POST", "/v1/admin/reload", json={"bundle": str(bundles(1 - number % 2))})
                    time.sleep(0.3)
            finally:
                swapped.set()

        swapped = Event()
        swapping = threading.Thread(target=swap)
        swapping.start()
        assert hammer(served, 60, ask, swapped) == []
        swapping.join()
        assert len(digests) == 2


def test_workers_share_state_catalogue_and_bundles(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path, "--workers", "2") as served:

        def everywhere(check: Callable[[httpx.Client], bool]) -> bool:
            answers = []
            for _ in range(12):  # a new connection each, so that both workers are met
                with httpx.Client(base_url=served.url, timeout=30) as client:
                    answers.append(check(client))
            return all(answers)

        served.ask("POST", "/v1/events", json={"user": "new", "item": "Sholay"})
        assert everywhere(lambda client: len(client.get("/v1/users/new/view").json()["history"]) == 1)
        served.ask("DELETE", "/v1/items/PK")
        assert everywhere(lambda client: client.get("/v1/items/PK").status_code == 404)
        swapped = served.ask("POST", "/v1/admin/reload", json={"bundle": str(bundles(1))})["bundle"]
        end = time.monotonic() + 20
        while not everywhere(lambda client: client.get("/readyz").json()["bundles"]["main"] == swapped):
            assert time.monotonic() < end
        assert everywhere(lambda client: client.get("/v1/items/PK").status_code == 404)
        served.ask("POST", "/v1/recommend", json={"filters": {"language": "Tamil"}})
        time.sleep(2)  # by now every worker has told its figures, whichever is asked for them
        assert served.figure('pasand_catalogue_items{variant="main"}') == 99  # not the sum of the workers
        assert served.figure('pasand_filter_masks{variant="main"}') == 1


def test_workers_count_calls_together(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, "--workers", "2", "--rate", "0.0001") as served:
        statuses = []
        for _ in range(12):  # a new connection each, so that both workers are met
            with httpx.Client(base_url=served.url, timeout=30) as client:
                statuses.append(client.post("/v1/recommend", json={}).status_code)
        assert statuses == [200] + [429] * 11


def test_two_servers_share_one_file(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as one, serving(bundle_folder, tmp_path) as other:
        for number in range(20):
            server = (one, other)[number % 2]
            server.ask("POST", "/v1/events", json={"id": f"{number // 2}", "user": "new", "item": "Sholay"})
        for server in (one, other):
            assert len(server.ask("GET", "/v1/users/new/view")["history"]) == 10


def test_slow_and_half_open_callers_hold_up_nobody(server: Served) -> None:
    with ExitStack() as opened:
        slow = [opened.enter_context(socket.create_connection(at(server))) for _ in range(50)]
        for number, one in enumerate(slow):
            head = b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n"
            one.sendall(head if number % 2 else head + b"\r\n{")
        began = time.monotonic()
        server.ask("POST", "/v1/recommend", json={})
        assert time.monotonic() - began < 5
        slow[0].settimeout(25)
        slow[1].settimeout(25)
        assert b"408" in slow[0].recv(1000)  # the body did not come
        assert slow[1].recv(1000) == b""  # nor did the head


def test_ten_thousand_idle_connections(server: Served) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = (12_000, max(12_000, before[1]))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, enough)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, enough)
    except (ValueError, PermissionError):
        missing("the right to hold 12,000 files open")
    with ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        for _ in range(10_000):
            opened.enter_context(socket.create_connection(at(server)))
        assert len(server.ask("POST", "/v1/recommend", json={})["items"]) == 10
        assert server.ask("GET", "/readyz")["status"] == "ready"
    assert len(server.ask("POST", "/v1/recommend", json={})["items"]) == 10


def test_a_taken_port_is_told(server: Served, bundle_folder: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="choose another with --port"),
        serving(bundle_folder, tmp_path / "other", "--port", str(at(server)[1])),
    ):
        pass


def test_a_bundle_replaced_in_place_is_taken_into_use(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    for file in bundles(0).iterdir():
        (place / file.name).parent.mkdir(exist_ok=True)
        (place / file.name).write_bytes(file.read_bytes())
    with serving(place, tmp_path / "service") as served:
        first = served.ask("GET", "/readyz")["bundles"]["main"]
        for file in sorted(bundles(1).iterdir(), key=lambda file: file.name == "manifest.json"):
            (place / f"{file.name}.part").write_bytes(file.read_bytes())
            (place / f"{file.name}.part").replace(place / file.name)
        end = time.monotonic() + 20
        while served.ask("GET", "/readyz")["bundles"]["main"] == first:
            assert time.monotonic() < end
            time.sleep(0.2)
        (place / "manifest.json").write_text("{}")  # no good: what is in use stays
        time.sleep(2.5)
        assert served.ask("GET", "/readyz")["bundles"]["main"] != first
        assert len(served.ask("POST", "/v1/recommend", json={})["items"]) == 10


def test_raw_bytes_are_no_danger(server: Served) -> None:
    for told in (
        b"\x00\xff\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/items/%00%ff%0d%0aset-cookie:%20x HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n",
    ):
        with socket.create_connection(at(server)) as one, suppress(ConnectionError, TimeoutError):
            one.settimeout(3)
            one.sendall(told)
            answer = one.recv(4000)
            assert not answer.startswith(b"HTTP/1.1 5"), (told, answer)
            assert b"set-cookie" not in answer.partition(b"\r\n\r\n")[0].lower()
    assert server.process.poll() is None
    assert free_port() != at(server)[1]
    assert server.ask("GET", "/healthz")["status"] == "alive"
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(timeout=20) in ENDED
