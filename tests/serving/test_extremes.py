"""Requests with extreme contents, sent to a real server beside those of an innocent client."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.conftest import Served, serving

HUGE = ["9223372036854775808", "-9223372036854775809", "7" * 310, "7" * 5000, "1e400", "1e308", "-1e308"]


@pytest.fixture(scope="module")
def service(bundles: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(bundles(0), tmp_path_factory.mktemp("extremes"), "--rate", "1000") as served:
        yield served


def scores_of(value: Any) -> Iterator[Any]:
    """Yield every score inside a JSON value."""
    for name, one in value.items() if isinstance(value, dict) else ((None, one) for one in value):
        if name == "score":
            yield one
        elif isinstance(one, dict | list):
            yield from scores_of(one)


def test_extreme_numbers_do_not_affect_other_clients(service: Served) -> None:
    about = service.request("GET", "/v1/about")
    innocent: list[int] = []
    ended = threading.Event()

    def send() -> None:
        with httpx.Client(base_url=service.url, timeout=30) as client:
            while not ended.is_set() or len(innocent) < 5:
                innocent.append(client.post("/v1/recommend", json={"user_id": about["examples"][0]}).status_code)

    thread = threading.Thread(target=send)
    thread.start()
    statuses = set()
    for number in HUGE:
        for name in about["item_features"]:
            bodies = [f'{{"filters": {{"{name}": {wanted}}}}}' for wanted in (number, f"[1, {number}]")]
            bodies.append(f'{{"filters": {{"{name}": {{"min": {number}}}}}}}')
            for body in bodies:
                response = service.client.post(
                    "/v1/recommend", content=body, headers={"content-type": "application/json"}
                )
                statuses.add(response.status_code)
            for value in (number, f"[{number}]"):
                response = service.client.put(
                    "/v1/items/new",
                    content=f'{{"features": {{"{name}": {value}}}}}',
                    headers={"content-type": "application/json"},
                )
                statuses.add(response.status_code)
    ended.set()
    thread.join()
    assert statuses <= {200, 422}
    assert set(innocent) == {200}


def test_any_name_is_an_id(service: Served) -> None:
    for name in ("events", "requests", "a/b/similar", "x,y", "100%", "é" * 256):
        path = httpx.URL(service.url).copy_with(raw_path=f"/v1/users/{_quoted(name)}".encode())
        event = {"user_id": name, "item_id": name}
        assert service.request("POST", "/v1/events", json=event)["accepted"] == 1
        assert service.request("POST", "/v1/recommend", json={"user_id": name, "history": [name]})["items"]
        assert service.client.delete(path).json()["found"]


def _quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


def test_ids_outside_the_rule_are_refused(service: Served) -> None:
    for name in ("a\n", "\n", " a", "x" * 257, ""):
        error = service.request("POST", "/v1/events", 422, json={"user_id": name, "item_id": "PK"})["error"]
        assert error["field"] == "user_id"


def test_ratings_outside_the_scale_are_refused(service: Served) -> None:
    for value in (6, -0.5, 1e9, -1e9, 1e38, 1e308):
        event = {"user_id": "a", "item_id": "PK", "value": value}
        for body, field in ((event, "value"), ({"events": [event]}, "events[0].value")):
            error = service.request("POST", "/v1/events", 422, json=body)["error"]
            assert error["field"].endswith(field)
        history = {"history": [{"item_id": "PK", "value": value}]}
        assert service.request("POST", "/v1/recommend", 422, json=history)["error"]["field"] == "history[0].value"
    error = service.request("POST", "/v1/events", 422, json=event | {"value": 6})["error"]
    assert "6 is not on the scale of the log's ratings, from 1 to 5" in error["message"]


def test_no_score_is_null(service: Served) -> None:
    user = service.request("GET", "/v1/about")["examples"][3]
    service.request("POST", "/v1/events", json={"user_id": user, "item_id": "PK", "value": 5})
    for response in (
        service.request("POST", "/v1/recommend", json={"user_id": user, "k": 1000, "exclude_seen": False}),
        service.request("POST", "/v1/recommend", json={"history": ["PK"], "k": 1000}),
        service.request("GET", f"/v1/users/{user}/recommendations"),
        service.request("GET", f"/v1/users/{user}/home"),
        service.request("GET", f"/v1/users/{user}/view"),
        service.request("GET", "/v1/items/PK/similar"),
    ):
        scores = list(scores_of(response))
        assert scores
        assert all(isinstance(score, int | float) for score in scores)


def test_forgotten_users_leave_the_examples(service: Served) -> None:
    gone = service.request("GET", "/v1/about")["examples"][0]
    service.request("DELETE", f"/v1/users/{gone}")
    after = service.request("GET", "/v1/about")
    assert gone not in after["examples"]
    assert len(after["examples"]) == len(after["last"]) == 12
    assert gone not in json.dumps(after)


def test_a_call_costs_as_many_as_it_has_requests(bundle_folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, str, object]] = [
        ("POST", "/v1/recommend", {"requests": [{"k": 1}] * 256}),
        ("GET", "/v1/users/user%2000001/home", None),
        ("GET", "/v1/users/user%2000001/view", None),
        ("GET", "/v1/explain?user_id=user%2000001&item_id=PK", None),
    ]
    with serving(bundle_folder, tmp_path, "--rate", "0.5") as served:
        for number, (method, path, body) in enumerate(calls):
            transport = httpx.HTTPTransport(local_address=f"127.0.0.{number + 2}")  # a caller of its own
            with httpx.Client(base_url=served.url, transport=transport, timeout=30) as client:
                assert client.request(method, path, json=body).status_code == 200
                wait = re.search(r"again in ([0-9.]+) s", client.get("/v1/items/PK").json()["error"]["message"])
                assert wait is not None
                assert float(wait[1]) > 3  # after a call that counts once it is less than 2 seconds
