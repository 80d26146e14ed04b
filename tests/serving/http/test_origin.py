"""Requests that a web page of another origin makes a browser send: none changes or reads anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, sync_playwright

from pasand.serving.http.origin import OriginCheck
from pasand.serving.schemas import RequestError
from tests.resources import program
from tests.serving.conftest import Served, serving
from tests.serving.http.test_pages import FLAGS

REBOUND = "rebound.example"
SEND = """async ([url, method, type, body]) => {
  const options = { method, body, mode: type === "application/json" || method === "DELETE" ? "cors" : "no-cors" };
  if (type) options.headers = { "content-type": type };
  try {
    const response = await fetch(url, options);
    return [response.type, response.status, await response.text()];
  } catch (error) {
    return ["error", 0, String(error)];
  }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for which a name of another page resolves to this machine."""
    rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    with sync_playwright() as running:
        found = running.chromium.launch(executable_path=program("chromium", "google-chrome"), args=[*FLAGS, rules])
        yield found
        found.close()


@pytest.fixture(scope="module")
def other_page() -> Iterator[str]:
    """The address of a page on another port of this machine."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another page</title>")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_pages_of_another_origin_change_and_read_nothing(
    browser: Browser, other_page: str, bundles: Callable[[int], Path], tmp_path: Path
) -> None:
    event = '{"user_id": "victim", "item_id": "PK"}'
    swap = f'{{"bundle": "{bundles(1)}"}}'
    with serving(bundles(0), tmp_path) as served, browser.new_context() as context:
        served.request("POST", "/v1/events", json={"user_id": "victim", "item_id": "Sholay"})
        first = served.request("GET", "/readyz")["bundles"]
        port, page = urlsplit(served.url).port, context.new_page()
        for address in (other_page, other_page.replace("127.0.0.1", "localhost")):
            page.goto(address)
            for path, method, kind, body in (
                ("/v1/events", "POST", "text/plain", event),
                ("/v1/events", "POST", "application/json", event),
                ("/v1/events", "POST", "application/x-www-form-urlencoded", event),
                ("/v1/admin/reload", "POST", "text/plain", swap),
                ("/v1/admin/rollback", "POST", None, None),
                ("/v1/users/victim/view", "GET", None, None),
                ("/v1/users/victim/recommendations", "GET", None, None),
                ("/v1/users/victim", "DELETE", None, None),
            ):
                kind_of_response, _, text = page.evaluate(SEND, [served.url + path, method, kind, body])
                assert kind_of_response in ("opaque", "error"), path
                assert "Sholay" not in text
        page.goto(f"http://{REBOUND}:{port}/")  # now the page's own origin is the service, under a foreign name
        for path, method, kind, body in (
            ("/v1/users/victim/view", "GET", None, None),
            ("/v1/events", "POST", "application/json", event),
            ("/v1/users/victim", "DELETE", None, None),
            ("/v1/admin/reload", "POST", "application/json", swap),
        ):
            _, status, text = page.evaluate(SEND, [path, method, kind, body])
            assert status == 403
            assert f"--allow-host {REBOUND}" in text
        history = served.request("GET", "/v1/users/victim/view")["history"]
        assert [each["item_id"] for each in history] == ["Sholay"]
        assert served.request("GET", "/readyz")["bundles"] == first
        output = served.output.read_text()
        assert output.count('"status":403') >= 8  # the requests did arrive
        page.goto(served.url)  # its own page does all this
        assert page.evaluate(SEND, ["/v1/users/victim/view", "GET", None, None])[1] == 200
        assert page.evaluate(SEND, ["/v1/events", "POST", "application/json", event])[1] == 200


def test_names_can_be_allowed(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, "--allow-host", "films.example") as served:
        for host, origin, status in (
            ("films.example", "https://films.example", 200),
            ("films.example:8000", None, 200),
            ("localhost", "https://films.example:444", 200),
            ("localhost", "https://films.example.net", 403),
            ("other.example", None, 403),
        ):
            headers = {"host": host, **({"origin": origin} if origin else {})}
            served.request("POST", "/v1/recommend", status, json={}, headers=headers)
        served.client.get("/healthz", headers={"host": "10.0.0.7:8000"}).raise_for_status()  # for probes


@pytest.mark.parametrize(
    ("host", "origin", "site", "accepted"),
    [
        (b"127.0.0.1:8000", None, None, True),
        (b"localhost", None, b"none", True),
        (b"[::1]:8000", b"http://[::1]:8000", b"same-origin", True),
        (b"LOCALHOST:8000", b"http://localhost:8000", None, True),
        (b"", None, None, True),
        (b"localhost:8000", b"http://localhost:3000", None, False),
        (b"localhost:8000", b"http://localhost:3000", b"same-site", False),
        (b"localhost:8000", None, b"same-site", False),
        (b"localhost:8000", None, b"cross-site", False),
        (b"localhost:8000", b"null", None, False),
        (b"localhost:8000", b"null", b"cross-site", False),
        (b"localhost:8000", b"", None, False),
        (b"evil.example:8000", None, None, False),
        (b"evil.example:8000", b"http://evil.example:8000", b"same-origin", False),
        (b"localhost.evil.example", None, None, False),
        (b"127.0.0.1.evil.example", None, None, False),
        (b"192.0.2.1", None, None, False),
        (b"\xff", None, None, False),
    ],
)
def test_only_the_services_own_pages_and_programs_are_accepted(
    host: bytes, origin: bytes | None, site: bytes | None, accepted: bool
) -> None:
    given = [(b"accept", b"*/*"), (b"host", host), (b"origin", origin), (b"sec-fetch-site", site)]
    headers = [(name, value) for name, value in given if value is not None]
    check = OriginCheck([], "127.0.0.1", any_host=False)
    if accepted:
        check.check(headers)
    else:
        with pytest.raises(RequestError) as caught:
            check.check(headers)
        assert caught.value.status == 403


def test_other_bodies_than_json_are_refused_with_the_cure(shared: Served) -> None:
    body = b'{"user_id": "u"}'
    for headers, cure in (
        ({}, "Content-Type: application/json"),
        ({"content-type": "text/plain"}, "--json in place of -d"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "without the header Content-Encoding"),
    ):
        for path in ("/v1/recommend", "/v1/home", "/v1/events"):
            refused = shared.request("POST", path, 415, content=body, headers=headers)["error"]
            assert cure in refused["message"]
    charset = {"content-type": "Application/JSON; charset=utf-8"}
    shared.request("POST", "/v1/recommend", content=body, headers=charset)
