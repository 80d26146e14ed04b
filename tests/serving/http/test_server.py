"""The server as a process: killed, terminated, under load, with several workers, and with slow clients."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event

import httpx
import polars as pl
import pytest

from pasand.serving.http.shared_folder import shared_folder
from tests.resources import missing
from tests.serving.conftest import Served, free_port, serving

EXIT_CODES = (0, -signal.SIGTERM)
"""Exit codes of a graceful shutdown: normal, or by the signal once all requests are finished."""


def address(served: Served) -> tuple[str, int]:
    url = httpx.URL(served.url)
    assert url.port is not None
    return url.host, url.port


def load(served: Served, seconds: float, call: Callable[[httpx.Client, int], None], until: Event) -> list[str]:
    """Call in three threads for some seconds, or until an event; return the errors."""
    errors: list[str] = []
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        with httpx.Client(base_url=served.url, timeout=30) as client:
            while time.monotonic() < end and not until.is_set():
                try:
                    call(client, number)
                except (httpx.HTTPError, AssertionError) as error:
                    errors.append(repr(error))
                    return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_acknowledged_events_survive_kill_9(bundle_folder: Path, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    with serving(bundle_folder, tmp_path) as served:

        def send(client: httpx.Client, number: int) -> None:
            name = f"{number}-{len(acknowledged)}"
            client.post("/v1/events", json={"id": name, "user_id": "u", "item_id": "PK"}).raise_for_status()
            acknowledged.append(name)

        killer = threading.Timer(1.0, served.process.kill)
        killer.start()
        assert load(served, 10, send, Event())  # the threads end with the server
        killer.join()
    assert len(acknowledged) > 20
    with serving(bundle_folder, tmp_path) as served:
        lines = [{"id": name, "user_id": "u", "item_id": "PK"} for name in dict.fromkeys(acknowledged)]
        again = served.request("POST", "/v1/events", json={"events": lines})
        assert again["duplicates"] == len(lines)
        assert again["accepted"] == 0


def test_sigterm_finishes_open_requests(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as served:
        statuses: list[int] = []

        def recommend(client: httpx.Client, number: int) -> None:
            statuses.append(client.post("/v1/recommend", json={"user_id": f"u{number}"}).status_code)

        ending = threading.Timer(1.0, served.process.terminate)
        ending.start()
        errors = load(served, 10, recommend, Event())
        ending.join()
        assert served.process.wait(timeout=20) in EXIT_CODES
        assert set(statuses) == {200}
        # an idle connection may be closed before the next request, but none during a response
        refused = ("ConnectError", "RemoteProtocolError('Server disconnected without", "ReadError", "CloseError")
        assert all(error.startswith(refused) for error in errors), errors
        assert "Traceback" not in served.output.read_text()


def test_swaps_under_load_fail_no_request(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path) as served:
        digests: set[str] = set()

        def recommend(client: httpx.Client, number: int) -> None:
            response = client.post("/v1/recommend", json={"requests": [{"user_id": f"u{number}"}] * 3})
            response.raise_for_status()
            used = {each["bundle"] for each in response.json()["responses"]}
            assert len(used) == 1
            digests.update(used)

        def swap() -> None:
            try:
                for number in range(4):
                    reload = {"bundle": str(bundles(1 - number % 2))}
                    served.request("POST", "/v1/admin/reload", json=reload, headers=served.admin)
                    time.sleep(0.3)
            finally:
                swapped.set()

        swapped = Event()
        swapping = threading.Thread(target=swap)
        swapping.start()
        assert load(served, 60, recommend, swapped) == []
        swapping.join()
        assert len(digests) == 2


def test_workers_share_state_catalogue_and_bundles(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path, "--workers", "2") as served:

        def everywhere(check: Callable[[httpx.Client], bool]) -> bool:
            results = []
            for _ in range(12):  # a new connection each, so that both workers are reached
                with httpx.Client(base_url=served.url, timeout=30) as client:
                    results.append(check(client))
            return all(results)

        served.request("POST", "/v1/events", json={"user_id": "new", "item_id": "Sholay"})
        assert everywhere(lambda client: len(client.get("/v1/users/new/view").json()["history"]) == 1)
        served.request("DELETE", "/v1/items/PK")
        assert everywhere(lambda client: client.get("/v1/items/PK").status_code == 404)
        swapped = served.request("POST", "/v1/admin/reload", json={"bundle": str(bundles(1))}, headers=served.admin)[
            "bundle"
        ]
        end = time.monotonic() + 20
        while not everywhere(lambda client: client.get("/readyz").json()["bundles"]["main"] == swapped):
            assert time.monotonic() < end
        assert everywhere(lambda client: client.get("/v1/items/PK").status_code == 404)
        served.request("POST", "/v1/recommend", json={"filters": {"language": "Tamil"}})
        time.sleep(2)  # by now every worker has written its metrics
        assert served.metric('pasand_catalogue_items{variant="main"}') == 99  # not the sum of the workers
        assert served.metric('pasand_filter_masks{variant="main"}') == 1


def test_workers_count_calls_together(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, "--workers", "2", "--rate", "0.0001") as served:
        statuses = []
        for _ in range(12):  # a new connection each, so that both workers are met
            with httpx.Client(base_url=served.url, timeout=30) as client:
                statuses.append(client.post("/v1/recommend", json={}).status_code)
        assert statuses == [200] + [429] * 11


def test_two_servers_share_one_state_file(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as first, serving(bundle_folder, tmp_path) as second:
        for number in range(20):
            server = (first, second)[number % 2]
            server.request("POST", "/v1/events", json={"id": f"{number // 2}", "user_id": "new", "item_id": "Sholay"})
        for server in (first, second):
            assert len(server.request("GET", "/v1/users/new/view")["history"]) == 10


def test_slow_and_half_open_clients_delay_no_other(server: Served) -> None:
    with ExitStack() as opened:
        slow = [opened.enter_context(socket.create_connection(address(server))) for _ in range(50)]
        for number, client in enumerate(slow):
            head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n"
            client.sendall(head if number % 2 else head + b"\r\n{")
        began = time.monotonic()
        server.request("POST", "/v1/recommend", json={})
        assert time.monotonic() - began < 5
        slow[0].settimeout(25)
        slow[1].settimeout(25)
        assert b"408" in slow[0].recv(1000)  # the body did not arrive
        assert slow[1].recv(1000) == b""  # nor did the head


def test_ten_thousand_idle_connections(server: Served) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (12_000, max(12_000, before[1]))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    except (ValueError, PermissionError):
        missing("the right to hold 12,000 files open")
    with ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        for _ in range(10_000):
            opened.enter_context(socket.create_connection(address(server)))
        assert len(server.request("POST", "/v1/recommend", json={})["items"]) == 10
        assert server.request("GET", "/readyz")["status"] == "ready"
    assert len(server.request("POST", "/v1/recommend", json={})["items"]) == 10


def test_a_reader_of_the_output_that_stalls_delays_nothing(bundle_folder: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        with serving(bundle_folder, tmp_path, output_to=writing) as served:
            for _ in range(40):
                with socket.create_connection(address(served)) as client:
                    last = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
                    client.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 999 + last)
                    client.settimeout(60)
                    received = b""
                    while part := client.recv(100_000):
                        received += part
                    assert received.count(b'"alive"') == 1000
            assert served.metric("pasand_log_lines_lost_total") > 0
            served.process.terminate()
            assert served.process.wait(timeout=20) in EXIT_CODES
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_ends_the_service_in_order(bundle_folder: Path, tmp_path: Path, workers: str) -> None:
    with serving(bundle_folder, tmp_path, "--workers", workers) as served:
        served.request("POST", "/v1/recommend", json={"user_id": "u"})
        served.process.send_signal(signal.SIGHUP)
        assert served.process.wait(timeout=30) in EXIT_CODES
    files = list((tmp_path / "state" / "impressions").glob("*.parquet"))
    assert sum(len(pl.read_parquet(file)) for file in files) == 10


def test_killed_workers_leave_no_files_in_memory(bundle_folder: Path, tmp_path: Path) -> None:
    def folders() -> set[Path]:
        return set(Path("/dev/shm").glob("pasand-metrics-*"))

    before = folders()
    with serving(bundle_folder, tmp_path, "--workers", "2") as served:
        (folder,) = folders() - before
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
        workers = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        assert len(workers) == 2
        served.process.kill()  # the workers end, and remove it
        served.process.wait()
        end = time.monotonic() + 60
        while folder in folders() or any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < end
            time.sleep(0.1)
    code = """
from pasand.serving.http.shared_folder import shared_folder
with shared_folder() as folder:
    print(folder, flush=True)
    input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        with shared_folder() as own:
            assert {folder, own} <= folders()
            process.kill()
            process.wait()
            assert folder.exists()
            with shared_folder():  # removes what was left, but not what is in use
                assert not folder.exists()
                assert own.exists()


def test_a_port_in_use_is_reported(server: Served, bundle_folder: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="choose another with --port"),
        serving(bundle_folder, tmp_path / "other", "--port", str(address(server)[1])),
    ):
        pass


def test_a_bundle_replaced_in_place_is_activated(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    for file in bundles(0).iterdir():
        (folder / file.name).parent.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    with serving(folder, tmp_path / "service") as served:
        first = served.request("GET", "/readyz")["bundles"]["main"]
        for file in sorted(bundles(1).iterdir(), key=lambda file: file.name == "manifest.json"):
            (folder / f"{file.name}.part").write_bytes(file.read_bytes())
            (folder / f"{file.name}.part").replace(folder / file.name)
        end = time.monotonic() + 20
        while served.request("GET", "/readyz")["bundles"]["main"] == first:
            assert time.monotonic() < end
            time.sleep(0.2)
        (folder / "manifest.json").write_text("{}")  # not a bundle: the active one stays
        time.sleep(2.5)
        assert served.request("GET", "/readyz")["bundles"]["main"] != first
        assert len(served.request("POST", "/v1/recommend", json={})["items"]) == 10


def test_malformed_http_does_no_harm(server: Served) -> None:
    for sent in (
        b"\x00\xff\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/items/%00%ff%0d%0aset-cookie:%20x HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n",
    ):
        with socket.create_connection(address(server)) as client, suppress(ConnectionError, TimeoutError):
            client.settimeout(3)
            client.sendall(sent)
            received = client.recv(4000)
            assert not received.startswith(b"HTTP/1.1 5"), (sent, received)
            assert b"set-cookie" not in received.partition(b"\r\n\r\n")[0].lower()
    assert server.process.poll() is None
    assert free_port() != address(server)[1]
    assert server.request("GET", "/healthz")["status"] == "alive"
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(timeout=20) in EXIT_CODES
