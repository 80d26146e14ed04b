"""The clients against a real server, and their retries against a server that fails by a script."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from pasand.client import (
    AsyncClient,
    Between,
    Client,
    Event,
    HistoryItem,
    HomeRequest,
    OnboardingRequest,
    RecommendRequest,
    ServiceError,
)
from tests.serving.conftest import Served, free_port, serving

USER = "user 00001"
STORED = b'{"accepted": 1, "duplicates": 0, "unknown_items": 0, "ids": ["x"]}'
BUSY = b'{"error": {"code": "overloaded", "message": "too many"}}'


def signature(name: str, method: Any) -> tuple[str, list[tuple[str, Any, Any]]]:
    parameters = inspect.signature(method).parameters.values()
    return name, [(each.name, each.kind, each.default) for each in parameters]


def test_both_clients_have_the_same_methods() -> None:
    synchronous, asynchronous = (
        [
            signature(name, method)
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        ]
        for kind in (Client, AsyncClient)
    )
    assert synchronous == asynchronous


def test_requests_that_change_nothing(shared: Served) -> None:
    with Client(shared.url) as client:
        full = client.recommend(RecommendRequest(user_id=USER, k=3, explain=True))
        assert [item.rank for item in full.items] == [1, 2, 3]
        assert full.known
        short = client.recommendations(USER, k=3, explain=True)
        assert (short.items, short.bundle) == (full.items, full.bundle)
        several = client.recommend(
            [
                RecommendRequest(user_id=USER, k=3),
                RecommendRequest(history=["Sholay", HistoryItem(item_id="PK", value=2)], k=4),
            ]
        )
        assert [len(response.items) for response in several] == [3, 4]
        assert client.recommend([]) == []
        old = client.recommend(RecommendRequest(k=100, filters={"year": Between(max=1980), "language": "Hindi"}))
        years = [client.item(item.item_id).features["year"] for item in old.items]
        assert years
        assert max(years) <= 1980
        assert client.home(USER).rows[0].kind == "for_you"
        assert client.home(HomeRequest(history=["Sholay"])).user_id is None
        first = client.onboarding()
        assert len(first.items) == 5
        rest = OnboardingRequest(skipped=[item.item_id for item in first.items], languages=["Tamil"], k=3)
        assert {item.features["language"] for item in client.onboarding(rest).items} == {"Tamil"}
        assert client.view(USER)["items"][0]["item_id"] == full.items[0].item_id
        assert len(client.similar("Sholay", k=2).items) == 2
        assert client.items("shol")[0].item_id == "Sholay"
        assert {item.features["language"] for item in client.items(language="Tamil", k=5)} == {"Tamil"}
        assert client.explain(full.items[0].item_id, user_id=USER)["rank"] == 1
        assert client.about()["variants"][0]["bundle"] == client.ready()["bundles"]["main"] == full.bundle


def test_changes(server: Served) -> None:
    with Client(server.url) as client:
        kept = client.events([Event(user_id="new", item_id="Sholay"), Event(user_id="new", item_id="PK", id="mine")])
        assert (kept.accepted, kept.ids[1]) == (2, "mine")
        again = client.events(Event(user_id="new", item_id="Sholay", id=kept.ids[0]))
        assert (again.accepted, again.duplicates) == (0, 1)
        assert client.events([]).accepted == 0
        assert {event["item_id"] for event in client.view("new")["history"]} == {"Sholay", "PK"}
        name = "50 % ü/ü?#&..%2F"
        assert client.put_item(name, {"title": "Odd", "language": "Tamil"}).found
        assert client.item(name).features["language"] == "Tamil"
        assert client.similar(name, k=2).item_id == name
        assert client.remove_item(name).found
        with pytest.raises(ServiceError) as caught:
            client.item(name)
        assert (caught.value.status, caught.value.code, caught.value.field) == (404, "unknown_item", "item_id")
        assert client.forget("new").found
        assert client.view("new")["history"] == []


@pytest.mark.parametrize("name", [".", "..", "a/../b", "%", "+"])
def test_ids_of_any_kind_are_unchanged(shared: Served, name: str) -> None:
    with Client(shared.url) as client, pytest.raises(ServiceError) as caught:
        client.item(name)
    assert caught.value.message == f"there is no item {name!r}"


def test_bundles_are_activated_and_rolled_back(server: Served, bundles: Any) -> None:
    with Client(server.url, key=server.admin["x-api-key"]) as client:
        first = client.ready()["bundles"]["main"]
        other = client.reload(str(bundles(1)))
        assert other.previous == first
        assert client.recommend(RecommendRequest()).bundle == other.bundle
        assert client.rollback().bundle == first
        with pytest.raises(ServiceError, match="not a bundle") as caught:
            client.reload("/nothing")
        assert caught.value.code == "bundle_rejected"


def test_all_methods_of_the_asynchronous_client(server: Served) -> None:
    async def calls() -> None:
        async with AsyncClient(server.url, key=server.admin["x-api-key"]) as client:
            responses = await asyncio.gather(
                *(client.recommend(RecommendRequest(user_id=USER, k=k)) for k in range(1, 20))
            )
            assert [len(response.items) for response in responses] == list(range(1, 20))
            assert (await client.recommend([RecommendRequest(k=2)]))[0].items == (
                await client.recommend(RecommendRequest(k=2))
            ).items
            assert await client.recommend([]) == []
            assert (await client.recommendations(USER, k=2)).known
            assert (await client.home(USER)).rows
            assert (await client.view(USER))["items"]
            assert len((await client.onboarding()).items) == 5
            assert (await client.similar("Sholay")).items
            assert (await client.item("Sholay")).title == "Sholay"
            assert (await client.items("sholay"))[0].item_id == "Sholay"
            assert (await client.explain("Sholay"))["user_id"] is None
            assert (await client.events(Event(user_id="new", item_id="Sholay"))).accepted == 1
            assert (await client.put_item("fresh", {"language": "Tamil"})).found
            assert (await client.remove_item("fresh")).found
            assert (await client.forget("new")).found
            assert (await client.reload()).previous == (await client.ready())["bundles"]["main"]
            assert (await client.rollback()).variant == "main"
            assert (await client.about())["name"] == "bollywood"
            with pytest.raises(ServiceError) as caught:
                await client.item("nothing")
            assert caught.value.status == 404

    asyncio.run(calls())


def test_keys(bundle_folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(0o600)
    keys.write_text("read reading-0123456789abcdef\n")
    with serving(bundle_folder, tmp_path, "--keys", str(keys)) as served:
        with Client(served.url) as client, pytest.raises(ServiceError) as caught:
            client.recommend(RecommendRequest())
        assert (caught.value.status, caught.value.code) == (401, "no_key")
        with Client(served.url, key="reading-0123456789abcdef") as client:
            assert client.recommend(RecommendRequest()).items
            with pytest.raises(ServiceError) as caught:
                client.events(Event(user_id="a", item_id="PK"))
            assert (caught.value.status, caught.value.code) == (403, "scope")


@contextmanager
def failing(*script: tuple[int, str, bytes] | None) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the address of a server that responds by a script (None: it hangs up), and the bodies it received."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            step = script[min(len(bodies), len(script)) - 1]
            self.close_connection = True
            if step is None:
                return
            status, retry_after, body = step
            self.send_response(status)
            if retry_after:
                self.send_header("Retry-After", retry_after)
            if body.startswith(b"\x1f\x8b"):
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET = do_DELETE = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", bodies
        finally:
            httpd.shutdown()
            thread.join()


def test_events_are_retried_with_the_same_ids() -> None:
    with failing(None, (503, "0", BUSY), (429, "", BUSY), (200, "", STORED)) as (url, bodies), Client(url) as client:
        assert client.events([Event(user_id="a", item_id="b"), Event(user_id="a", item_id="b")]).accepted == 1
    assert len(bodies) == 4
    assert len(set(bodies)) == 1
    ids = [event["id"] for event in msgspec.json.decode(bodies[0])["events"]]
    assert len(set(ids)) == 2


def test_events_are_retried_by_the_asynchronous_client() -> None:
    async def send() -> int:
        async with AsyncClient(url) as client:
            return (await client.events(Event(user_id="a", item_id="b"))).accepted

    with failing((503, "0", BUSY), None, (200, "", STORED)) as (url, bodies):
        assert asyncio.run(send()) == 1
    assert len(bodies) == 3


def test_events_whose_response_is_late_are_stored_once(server: Served) -> None:
    """The service stores events although their response is lost; they are sent again, and by the caller as well."""

    class Late(httpx.HTTPTransport):
        late = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            self.late -= 1
            if self.late >= 0:
                response.close()
                raise httpx.ReadTimeout("late", request=request)
            return response

    with Late() as transport, Client(server.url, retries=1, transport=transport) as client:
        transport.late = 1
        stored = client.events(Event(user_id="late", item_id="PK"))
        assert (stored.accepted, stored.duplicates) == (0, 1)
        transport.late = 2
        with pytest.raises(ServiceError) as caught:
            client.events(Event(user_id="late", item_id="PK"))
        assert caught.value.code == "timeout"
        stored = client.events(caught.value.events)
        assert (stored.accepted, stored.duplicates) == (0, 1)
        transport.late = 1
        with pytest.raises(ServiceError) as caught:
            client.about()
        assert caught.value.events == []


def test_only_safe_calls_are_retried_and_not_too_often() -> None:
    changes: list[Callable[[Client], object]] = [
        lambda client: client.put_item("a", {}),
        lambda client: client.remove_item("a"),
        lambda client: client.forget("a"),
        lambda client: client.reload(),
        lambda client: client.rollback(),
        lambda client: client.ready(),
    ]
    for change in changes:
        with failing((503, "0", BUSY)) as (url, bodies), Client(url) as client:
            with pytest.raises(ServiceError) as caught:
                change(client)
            assert len(bodies) == 1
            assert (caught.value.status, caught.value.code) == (503, "overloaded")
    with failing((503, "0", BUSY)) as (url, bodies), Client(url, retries=2) as client:
        with pytest.raises(ServiceError):
            client.about()
        assert len(bodies) == 3
    with failing((500, "0", BUSY)) as (url, bodies), Client(url) as client:
        with pytest.raises(ServiceError):
            client.about()
        assert len(bodies) == 1
    with failing((503, "3600", BUSY)) as (url, bodies), Client(url) as client:
        with pytest.raises(ServiceError):
            client.about()
        assert len(bodies) == 1


def test_responses_of_other_servers_are_reported() -> None:
    with failing((502, "", b"<html>Bad gateway</html>")) as (url, _), Client(url) as client:
        with pytest.raises(ServiceError, match="Bad gateway") as caught:
            client.about()
        assert (caught.value.status, caught.value.code) == (502, "invalid_response")
    with failing((200, "", b'{"items": 3}')) as (url, _), Client(url) as client:
        with pytest.raises(ServiceError) as caught:
            client.similar("a")
        assert (caught.value.status, caught.value.code) == (200, "invalid_response")


def test_a_broken_compressed_response_is_reported() -> None:
    async def about() -> None:
        async with AsyncClient(url) as client:
            await client.about()

    with failing((200, "", b"\x1f\x8bbroken")) as (url, bodies), Client(url) as client:
        for call in (client.about, lambda: asyncio.run(about())):
            with pytest.raises(ServiceError) as caught:
                call()
            assert caught.value.code == "invalid_response"
    assert len(bodies) == 2


def test_a_retry_after_that_is_no_number_is_ignored() -> None:
    with failing((503, "\N{SUPERSCRIPT TWO}", BUSY), (200, "", b"{}")) as (url, bodies), Client(url) as client:
        assert client.about() == {}
    assert len(bodies) == 2


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://[::1", "http://", "ftp://a", "", "http://127.0.0.1:8000\n"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_invalid_address_is_refused(kind: type[Client | AsyncClient], url: str) -> None:
    with pytest.raises(ValueError, match="Cure: write http://HOST:PORT"):
        kind(url)


@pytest.mark.parametrize("key", ["", "two words", "line\n", "schlüssel"])
def test_an_invalid_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="Cure: pass the key alone") as caught:
        Client(key=key)
    assert not key or key not in str(caught.value)


def test_an_unreachable_server() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", retries=1) as client, pytest.raises(ServiceError) as caught:
        client.recommend(RecommendRequest())
    assert (caught.value.status, caught.value.code) == (None, "unreachable")


def test_importing_pasand_does_not_import_the_client() -> None:
    code = "import sys, pasand; sys.exit('httpx' in sys.modules or 'msgspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
