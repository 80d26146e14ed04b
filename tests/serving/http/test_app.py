"""Every route over HTTP, against a real server."""

from __future__ import annotations

import html
import json
import re
import select
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from pasand import bundle, recipe
from pasand.serving import schemas
from pasand.sources import load
from tests.serving.conftest import Served, serving
from tests.serving.http.test_connections import until
from tests.serving.recipes import INDEXED

JSON = {"content-type": "application/json"}
KEYS = "read reading-0123456789abcdef\nwrite writing-0123456789abcdef\nadmin admin-0123456789abcdef"


def ids(response: dict[str, list[dict[str, str]]]) -> list[str]:
    return [item["item_id"] for item in response["items"]]


def test_responses_equal_the_evaluated_recommender_bit_by_bit(shared: Served, bundle_folder: Path) -> None:
    loaded = bundle.read(bundle_folder)
    data = loaded.data
    now = np.array([int(data.time[-1]) + 1])
    for row in range(0, 40, 7):
        user = data.users.ids([row])[0]
        queries = replace(data.queries(np.array([row], np.int32), k=10), time=now)
        expected = loaded.assembly.recommender(queries)
        response = shared.request("POST", "/v1/recommend", json={"user_id": user})
        assert ids(response) == data.items.ids(expected.items[0])
        scores = np.array([item["score"] for item in response["items"]], np.float32)
        np.testing.assert_array_equal(scores, expected.scores[0])
        assert response["known"]
        assert not response["degraded"]
        assert response["bundle"] == loaded.digest[:16]


def test_a_batch_of_requests(shared: Served) -> None:
    user = {"user_id": "user 00001", "k": 3}
    requests = [user, {"history": ["Sholay"], "k": 5}, {"k": 1}, user]
    responses = shared.request("POST", "/v1/recommend", json={"requests": requests})["responses"]
    assert [len(response["items"]) for response in responses] == [3, 5, 1, 3]
    assert ids(responses[0]) == ids(responses[3])
    assert ids(responses[0]) == ids(shared.request("GET", "/v1/users/user%2000001/recommendations?k=3"))
    assert "Sholay" not in ids(responses[1])


def test_lists_obey_allow_deny_and_filters(shared: Served) -> None:
    everything = shared.request("POST", "/v1/recommend", json={"k": 100})
    assert len(everything["items"]) == len(set(ids(everything))) == 100
    first, second, *_ = ids(everything)
    assert ids(shared.request("POST", "/v1/recommend", json={"k": 3, "allow": [second, "nothing", first]})) == [
        first,
        second,
    ]
    assert first not in ids(shared.request("POST", "/v1/recommend", json={"k": 99, "deny": [first]}))
    tamil = shared.request("POST", "/v1/recommend", json={"k": 100, "filters": {"language": "Tamil"}})
    assert 0 < len(tamil["items"]) < 100
    for item in ids(tamil)[:3]:
        assert shared.request("GET", f"/v1/items/{item}")["features"]["language"] == "Tamil"
    old = shared.request(
        "POST", "/v1/recommend", json={"k": 100, "filters": {"year": {"max": 1980}, "language": ["Hindi"]}}
    )
    assert {shared.request("GET", f"/v1/items/{item}")["features"]["year"] for item in ids(old)} <= set(
        range(1900, 1981)
    )
    seen = shared.request("POST", "/v1/recommend", json={"history": [first], "k": 100, "exclude_seen": False})
    assert first in ids(seen)


def test_unknown_items_and_categories_are_ignored_and_noted(shared: Served) -> None:
    response = shared.request(
        "POST", "/v1/recommend", json={"user_id": "not in the log", "history": ["no film", "Sholay"]}
    )
    assert response["known"]
    assert response["notes"] == ["not in the catalogue, and ignored: no film"]
    assert len(response["items"]) == 10
    notes = shared.request("POST", "/v1/recommend", json={"features": {"state": "Atlantis"}})["notes"]
    assert notes == ["state 'Atlantis' is unknown and was ignored"]


def test_the_next_response_uses_an_event(server: Served) -> None:
    before = server.request("POST", "/v1/recommend", json={"user_id": "new"})
    event = {"id": "one", "user_id": "new", "item_id": "Sholay"}
    assert server.request("POST", "/v1/events", json=event) == {
        "accepted": 1,
        "duplicates": 0,
        "unknown_items": 0,
        "ids": ["one"],
    }
    after = server.request("POST", "/v1/recommend", json={"user_id": "new", "explain": True})
    assert ids(after) != ids(before)
    assert "Sholay" not in ids(after)
    assert {"item_id": "Sholay", "title": "Sholay"} in after["items"][0]["reason"]
    assert server.request("POST", "/v1/events", json=event)["duplicates"] == 1
    lines = "\n".join(json.dumps({"id": str(n), "user_id": "new", "item_id": "PK"}) for n in range(3))
    kept = server.request("POST", "/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert kept["accepted"] == 3
    several = {"events": [{"user_id": "new", "item_id": "no film"}, {"user_id": "new", "item_id": "PK", "value": 2}]}
    assert server.request("POST", "/v1/events", json=several)["unknown_items"] == 1
    history = server.request("GET", "/v1/users/new/view")["history"]
    assert [event["item_id"] for event in history] == ["PK", "PK", "PK", "PK", "Sholay"]
    assert history[0]["value"] == 2


def test_an_item_is_added_changed_and_removed(server: Served) -> None:
    few = server.request("GET", "/v1/items?language=Assamese")["items"]
    film, given = few[0]["item_id"], few[0]["features"]
    features = {name: value for name, value in given.items() if name != "available_from"} | {"title": "The Sequel"}
    server.request("PUT", "/v1/items/sequel", json={"features": features})
    response = server.request("POST", "/v1/recommend", json={"history": [film], "k": len(few)})
    assert "sequel" in ids(response)
    assert "sequel" in ids(server.request("GET", f"/v1/items/{film}/similar?k={len(few)}"))
    assert server.request("GET", "/v1/items?search=seQUel")["items"][0]["item_id"] == "sequel"
    server.request("PUT", "/v1/items/sequel", json={"features": {"language": "Tamil"}})
    assert server.request("GET", "/v1/items/sequel")["features"]["language"] == "Tamil"
    assert server.request("DELETE", "/v1/items/sequel")["found"]
    assert not server.request("DELETE", "/v1/items/sequel")["found"]
    server.request("GET", "/v1/items/sequel", 404)
    everything = server.request("POST", "/v1/recommend", json={"history": [film], "k": 1000})
    assert "sequel" not in ids(everything)
    assert len(everything["items"]) == 99
    server.request("DELETE", "/v1/items/PK")
    assert "PK" not in ids(server.request("POST", "/v1/recommend", json={"k": 1000, "allow": ["PK", "Sholay"]}))
    server.request("PUT", "/v1/items/PK", json={})
    assert "PK" in ids(server.request("POST", "/v1/recommend", json={"k": 1000}))
    server.request("PUT", "/v1/items/other", 422, json={"features": {"shoe size": 3}})
    many = {"genres": [f"unknown {n}" for n in range(1000)]}
    refused = server.request("PUT", "/v1/items/other", 422, json={"features": many})["error"]
    assert (refused["field"], "256 at most" in refused["message"]) == ("features.genres", True)
    server.request("PUT", "/v1/items/other", 422, json={"features": {"language": "x" * 300}})
    server.request("GET", "/v1/items/other", 404)


def test_a_user_is_forgotten(server: Served) -> None:
    user = "user 00001"
    known = server.request("POST", "/v1/recommend", json={"user_id": user})
    server.request("POST", "/v1/events", json={"user_id": user, "item_id": "Sholay"})
    assert server.request("DELETE", f"/v1/users/{user}")["found"]
    after = server.request("POST", "/v1/recommend", json={"user_id": user})
    assert not after["known"]
    assert ids(after) == ids(server.request("POST", "/v1/recommend", json={})) != ids(known)
    assert server.request("GET", f"/v1/users/{user}/view")["history"] == []


def test_explain_similar_and_home(shared: Served) -> None:
    response = shared.request("GET", "/v1/users/user%2000001/recommendations?explain=1")
    explanation = shared.request("GET", f"/v1/explain?user_id=user%2000001&item_id={response['items'][0]['item_id']}")
    assert explanation["rank"] == 1
    assert [source["name"] for source in explanation["sources"]] == ["from_content", "from_popular"]
    home = shared.request("GET", "/v1/users/user%2000001/home")
    kinds = [row["kind"] for row in home["rows"]]
    assert kinds[0] == "for_you"
    assert {"because_you_watched", "language"} <= set(kinds)
    shown = [card["item_id"] for row in home["rows"] for card in row["items"]]
    assert len(shown) == len(set(shown))
    assert all(card["reason"] for row in home["rows"] for card in row["items"])
    visitor = shared.request("POST", "/v1/home", json={"history": ["Sholay", "Deewaar", "PK"]})
    assert visitor["rows"][1]["reason_item"]["item_id"] == "PK"


def test_languages_that_a_visitor_chose_decide_about_the_home(shared: Served) -> None:
    for name, titles in (
        ("Tamil", ["Recommended for you in Tamil", "Popular now"]),
        ("Hindi", ["Recommended for you in Hindi", "In Hindi", "Popular in Hindi"]),
    ):
        chosen: dict[str, Any] = {"features": {"languages": [name]}}
        home = shared.request("POST", "/v1/home", json=chosen)
        assert [row["title"] for row in home["rows"]] == titles
        named = [row for row in home["rows"] if name in row["title"]]
        assert {card["language"] for row in named for card in row["items"]} == {name}
    chosen["history"] = ["Sholay"]
    for body in (chosen, {"user_id": "new"}, {"user_id": "user 00001"}):
        recommended = shared.request("POST", "/v1/recommend", json=body)
        assert recommended["known"] is shared.request("POST", "/v1/home", json=body)["known"]
    assert recommended["known"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"k": 0}', 422, "k"),
        (b'{"k": -3}', 422, "k"),
        (b'{"k": 100000000000000000000000}', 422, "k"),
        (b'{"k": "ten"}', 422, "k"),
        (b'{"usr": "x"}', 422, None),
        (b'{"user": "x"}', 422, None),
        (b'{"user_id": ""}', 422, "user_id"),
        (b'{"user_id": "' + b"x" * 9000 + b'"}', 422, "user_id"),
        (b'{"history": [{"item_id": "PK", "when": 3}]}', 422, "history[0]"),
        (b'{"history": [{"item": "PK"}]}', 422, "history[0]"),
        (b'{"features": {"shoe size": 43}}', 422, "features.shoe size"),
        (b'{"features": {"city_tier": [1, 2]}}', 422, "features.city_tier"),
        (b'{"filters": {"taste": "good"}}', 422, "filters.taste"),
        (b'{"filters": {"language": {"min": 3}}}', 422, "filters.language"),
        (b'{"requests": []}', 422, "requests"),
        (b"", 400, None),
        (b"null", 422, None),
        (b"[]", 422, None),
        (b"{", 400, None),
        (b'{"user_id": "\xff\xfe"}', 400, None),
        (b'{"user_id": "\\ud800"}', 400, None),
        (b"[" * 100_000, 422, None),
        (b'{"history": ' + b"[" * 5000 + b"]" * 5000 + b"}", 422, "history[0]"),
    ],
)
def test_invalid_bodies_are_refused(shared: Served, body: bytes, status: int, field: str | None) -> None:
    error = shared.request("POST", "/v1/recommend", status, content=body, headers=JSON)["error"]
    assert error.get("field") == field
    assert "Traceback" not in error["message"]


def test_renamed_fields_are_refused_with_their_new_names(shared: Served) -> None:
    for body in ({"user": "u"}, {"requests": [{"user": "u"}]}):
        assert "`user_id`" in shared.request("POST", "/v1/recommend", 422, json=body)["error"]["message"]
    history = {"history": [{"item": "PK"}]}
    assert "`item_id`" in shared.request("POST", "/v1/recommend", 422, json=history)["error"]["message"]
    event = {"user_id": "u", "item": "PK"}
    assert "`item_id`" in shared.request("POST", "/v1/events", 422, json=event)["error"]["message"]
    assert "'user_id'" in shared.request("GET", "/v1/explain?user=u&item_id=PK", 422)["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/recommend", 405),
        ("POST", "/v1/users/x/home", 405),
        ("GET", "/nothing", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/static/..%2f..%2fbundle.py", 404),
        ("GET", "/v1/items/nothing", 404),
        ("GET", "/v1/items/nothing/similar", 404),
        ("GET", "/v1/items/" + "x" * 300, 404),
        ("GET", "/v1/users/x/recommendations?k=0", 422),
        ("GET", "/v1/users/x/recommendations?k=1e3", 422),
        ("GET", "/v1/users/x/recommendations?k=5&k=6", 422),
        ("GET", "/v1/users/x/recommendations?size=5", 422),
        ("GET", "/v1/explain?user_id=x", 422),
        ("GET", "/v1/explain?user_id=x&item_id=nothing", 404),
        ("GET", "/report", 404),
        ("GET", "/v1/audit", 404),
        ("POST", "/v1/admin/rollback", 401),
    ],
)
def test_invalid_paths_and_parameters_are_refused(shared: Served, method: str, path: str, status: int) -> None:
    assert shared.request(method, path, status)["error"]["message"]


def test_a_call_with_an_invalid_event_stores_none(server: Served) -> None:
    now = server.request("GET", "/v1/about")["now"]
    future = {"events": [{"user_id": "a", "item_id": "PK"}, {"user_id": "a", "item_id": "PK", "time": now + 86_400}]}
    assert server.request("POST", "/v1/events", 422, json=future)["error"]["field"] == "events[1].time"
    lines = b'{"user_id": "a", "item_id": "PK"}\n{"user_id": "a"}'
    error = server.request("POST", "/v1/events", 422, content=lines, headers={"content-type": "application/x-ndjson"})
    assert error["error"]["field"] == "line 2"
    assert server.request("GET", "/v1/users/a/view")["history"] == []
    server.request("POST", "/v1/events", 422, json={"user_id": "a", "item_id": "PK", "value": 1e300})
    server.request("POST", "/v1/events", 413, content=b" " * 2_000_001)


def test_responses_have_security_headers(shared: Served) -> None:
    headers = shared.client.get("/v1/about").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "server" not in headers


def test_the_document_describes_every_route(shared: Served) -> None:
    document = shared.request("GET", "/openapi.json")
    assert document["openapi"] == "3.1.0"
    assert "post" in document["paths"]["/v1/recommend"]
    assert set(document["paths"]["/v1/items/{id}"]) == {"get", "put", "delete"}
    assert "/v1/admin/rollback" in shared.client.get("/docs").text


def test_the_documentation_has_types_and_a_command_for_every_route(shared: Served) -> None:
    page = shared.client.get("/docs").text
    document = shared.request("GET", "/openapi.json")
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in page
    assert page.count("curl -s ") == sum(map(len, document["paths"].values()))
    for name in document["components"]["schemas"]:
        assert f'<section id="{name}">' in page
    assert "integer from 1 to 1000" in page
    assert "string or integer, such as <code>&quot;u1&quot;</code> or <code>42</code>" in page
    assert shared.client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_the_commands_of_the_documentation_work_as_typed(server: Served) -> None:
    page = server.client.get("/docs").text
    lines = [html.unescape(line) for line in re.findall("<code>(curl -s .*)</code>", page)]
    assert "ITEM" not in page
    ran = [
        line.replace("KEY", server.admin["x-api-key"]) for line in lines if not line.endswith(("/report'", "/audit'"))
    ]
    script = "set -eo pipefail\n" + "\n".join(line.replace("curl -s", "curl -s --fail-with-body") for line in ran)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-400:]
    assert len(ran) == len(lines) - 2 > 20


def test_whole_numbers_are_ids_wherever_the_document_has_them(shared: Served) -> None:
    """Every field of a request that is documented as text or number reads 42 as "42"; values stay what they are."""
    components = shared.request("GET", "/openapi.json")["components"]["schemas"]
    found = set()
    for name in ("RecommendRequest", "HomeRequest", "OnboardingRequest", "Event", "HistoryItem"):
        least = {each: "x" for each in components[name].get("required", ())}
        for field, schema in components[name]["properties"].items():
            shape = schema.get("items", schema)
            if any("integer" in each.get("type", "") and "examples" in each for each in shape.get("anyOf", [shape])):
                found.add(field)
                listed = schema.get("type") == "array" or any("items" in one for one in schema.get("anyOf", ()))
                body = {**least, field: [42] if listed else 42}
                decoded = schemas.decode(json.dumps(body).encode(), getattr(schemas, name))
                assert getattr(decoded, field) == (["42"] if listed else "42")
    assert found >= {"user_id", "item_id", "id", "undoes", "request_id", "deny", "skipped", "history"}
    kept = schemas.decode(b'{"user_id": 7, "features": {"id": 7}}', schemas.RecommendRequest)
    assert (kept.user_id, kept.features) == ("7", {"id": 7})


def test_metrics_for_prometheus(shared: Served) -> None:
    shared.request("POST", "/v1/recommend", json={"user_id": "user 00002"})
    text = shared.client.get("/metrics").text
    assert 'pasand_request_seconds_count{route="/v1/recommend",status="200"}' in text
    assert shared.metric("pasand_batch_requests_count") > 0
    assert 'pasand_step_seconds_count{step="fallback"}' in text
    assert 'pasand_catalogue_items{variant="main"} 100.0' in text


def test_metrics_of_caches_indexes_and_catalogue(tmp_path: Path) -> None:
    data = load("bollywood", impressions="none")
    bundle.write(tmp_path / "bundle", recipe.build(INDEXED).fit(data, seed=0), data, seed=0)
    with serving(tmp_path / "bundle", tmp_path / "service") as served:
        assert served.metric('pasand_index_vectors{index="exact",variant="main"}') == 100
        assert served.metric('pasand_catalogue_items{variant="main"}') == 100
        for language in ("Tamil", "Hindi", "Tamil"):
            served.request("POST", "/v1/recommend", json={"user_id": "u", "filters": {"language": language}})
        served.request("POST", "/v1/recommend", json={"user_id": "v"})
        assert served.metric('pasand_filter_masks{variant="main"}') == 2
        assert served.metric('pasand_filter_mask_uses_total{outcome="miss"}') == 2
        assert served.metric('pasand_filter_mask_uses_total{outcome="hit"}') == 1
        assert served.metric("pasand_cached_users") == 2
        assert served.metric("pasand_waiting_events") == served.metric("pasand_waiting_requests") == 0
        served.request("PUT", "/v1/items/new", json={})
        served.request("DELETE", "/v1/items/PK")
        served.request("DELETE", "/v1/items/Sholay")
        assert served.metric('pasand_catalogue_items{variant="main"}') == 99
        assert served.metric('pasand_filter_masks{variant="main"}') == 0


def test_keys_and_scopes(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, environment={"PASAND_API_KEYS": KEYS}) as served:
        served.client.get("/healthz").raise_for_status()
        served.request("POST", "/v1/recommend", 401, json={})
        for wrong in ("", "Bearer", "Bearer wrong-0123456789abcdef", "Basic reading-0123456789abcdef"):
            served.request("POST", "/v1/recommend", 401, json={}, headers={"authorization": wrong})
        reading = {"authorization": "Bearer reading-0123456789abcdef"}
        served.request("POST", "/v1/recommend", json={}, headers=reading)
        served.request("POST", "/v1/events", 403, json={"user_id": "a", "item_id": "PK"}, headers=reading)
        writing = {"x-api-key": "writing-0123456789abcdef"}
        served.request("POST", "/v1/events", json={"user_id": "a", "item_id": "PK"}, headers=writing)
        served.request("POST", "/v1/admin/reload", 403, json={}, headers=writing)
        served.request("POST", "/v1/admin/reload", json={}, headers={"x-api-key": "admin-0123456789abcdef"})


def test_a_caller_above_its_rate_limit_gets_429(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, "--rate", "5") as served:
        statuses = [served.client.post("/v1/recommend", json={}).status_code for _ in range(15)]
        assert statuses[:10] == [200] * 10
        assert 429 in statuses[10:]


def test_a_rate_is_not_bypassed_by_headers(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, "--rate", "0.0001") as served:
        served.request("POST", "/v1/recommend", json={})
        for number in range(5):
            for headers in ({"x-api-key": f"{number:016}"}, {"x-forwarded-for": f"192.0.2.{number}"}):
                served.request("POST", "/v1/recommend", 429, json={}, headers=headers)


def test_only_a_trusted_proxy_names_the_caller(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, "--rate", "0.0001", "--trusted-proxy", "127.0.0.1") as served:
        for number in range(5):  # the last address is the one that the proxy saw
            headers = {"x-forwarded-for": f"198.51.100.{number}, 192.0.2.1"}
            served.request("POST", "/v1/recommend", 429 if number else 200, json={}, headers=headers)
        served.request("POST", "/v1/recommend", json={}, headers={"x-forwarded-for": "192.0.2.2"})


def test_wrong_keys_have_a_rate_and_right_ones_are_not_affected(bundle_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<!doctype html><title>report</title>")
    options = ("--report", str(report))
    with serving(bundle_folder, tmp_path, *options, environment={"PASAND_API_KEYS": KEYS}) as served:
        statuses = [
            served.client.post("/v1/recommend", json={}, headers={"x-api-key": f"{number:016}"}).status_code
            for number in range(300)
        ]
        assert set(statuses) == {401, 429}
        right = {"x-api-key": "reading-0123456789abcdef"}
        served.request("POST", "/v1/recommend", json={}, headers=right)
        assert served.client.get("/report", headers=right).status_code == 200
        assert served.client.get("/report").status_code in (401, 429)


def test_ids_in_paths_are_single_segments(server: Served) -> None:
    for name in ("a/b", "similar", "a/b/similar", "100%", "x?y", "é"):
        path = f"/v1/items/{quote(name, safe='')}"
        server.request("PUT", path, json={"features": {"language": "Tamil"}})
        assert server.request("GET", path)["item_id"] == name
        assert server.request("GET", f"{path}/similar?k=2")["item_id"] == name
    for path in ("/v1/items/a/b", "/v1/items/a/b/similar", "/v1/items//similar/x", "/v1/users/a/b/view"):
        server.request("GET", path, 404)
    server.request("DELETE", "/v1/items/a/b", 404)
    for escaped in ("a%0Ab", "%20a", "%00"):  # ids of earlier versions can be named, but not made anew
        assert server.request("GET", f"/v1/items/{escaped}", 404)["error"]["code"] == "unknown_item"
        assert server.request("GET", f"/v1/users/{escaped}/view")["known"] is False
        assert server.request("PUT", f"/v1/items/{escaped}", 422, json={})["error"]["field"] == "id"
    for escaped in ("%ff", ""):
        for path in (f"/v1/items/{escaped}", f"/v1/users/{escaped}/view"):
            assert server.request("GET", path, 422)["error"]["field"] == "id"
    assert server.request("GET", "/v1/explain?item_id=a%0Ab", 404)["error"]["field"] == "item_id"
    assert server.client.head(f"/v1/items/{quote('a/b', safe='')}").status_code == 200


def test_the_page_has_a_length_and_is_not_sent_twice(shared: Served) -> None:
    page = shared.client.get("/", headers={"accept-encoding": "identity"})
    assert int(page.headers["content-length"]) == len(page.content) > 500
    again = shared.client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == page.headers["content-security-policy"]


def test_a_service_without_keys_has_one_for_administration(server: Served) -> None:
    assert (server.folder / "state" / "admin-key").stat().st_mode & 0o777 == 0o600
    message = server.request("POST", "/v1/admin/reload", 401, json={})["error"]["message"]
    assert "admin-key of the service's folder" in message
    server.request("POST", "/v1/admin/reload", 401, json={}, headers={"x-api-key": "0" * 48})
    server.request("POST", "/v1/admin/reload", json={}, headers=server.admin)


def test_a_bundle_is_activated_and_rolled_back(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path) as served:
        first = served.request("GET", "/readyz")["bundles"]["main"]
        refusal = served.request(
            "POST", "/v1/admin/reload", 422, json={"bundle": str(tmp_path / "nothing")}, headers=served.admin
        )
        assert "not a bundle" in refusal["error"]["message"]
        served.request("POST", "/v1/admin/reload", 404, json={"variant": "unknown"}, headers=served.admin)
        swapped = served.request("POST", "/v1/admin/reload", json={"bundle": str(bundles(1))}, headers=served.admin)
        assert swapped["previous"] == first != swapped["bundle"]
        assert served.request("POST", "/v1/recommend", json={})["bundle"] == swapped["bundle"]
        assert served.request("POST", "/v1/admin/rollback", headers=served.admin)["bundle"] == first
        assert served.request("POST", "/v1/recommend", json={})["bundle"] == first


def test_users_keep_their_variant(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path, "--variant", f"new={bundles(1)}:0.5") as served:
        requests = [{"user_id": f"somebody {n}", "k": 1} for n in range(200)]
        found = [
            [
                one["variant"]
                for one in served.request("POST", "/v1/recommend", json={"requests": requests})["responses"]
            ]
            for _ in range(2)
        ]
        assert found[0] == found[1]
        assert 60 < found[0].count("new") < 140
        other = served.request(
            "POST", "/v1/admin/reload", json={"variant": "new", "bundle": str(bundles(0))}, headers=served.admin
        )
        assert other["variant"] == "new"


def test_the_state_survives_a_restart(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as served:
        served.request("POST", "/v1/events", json={"user_id": "new", "item_id": "Sholay"})
        served.request("DELETE", "/v1/items/PK")
    with serving(bundle_folder, tmp_path) as served:
        assert served.request("GET", "/v1/users/new/view")["history"][0]["item_id"] == "Sholay"
        served.request("GET", "/v1/items/PK", 404)


def test_an_address_that_other_machines_reach_needs_keys(bundle_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no API key"), serving(bundle_folder, tmp_path, "--host", "0.0.0.0"):
        pass


def test_headers_have_a_limit(shared: Served) -> None:
    response = httpx.get(f"{shared.url}/healthz", headers={"x-long": "y" * 40_000})
    assert response.status_code == 431


def test_large_bodies_that_arrive_at_the_same_time_are_bounded(shared: Served) -> None:
    large = b'{"user_id": "u"' + b" " * 1_900_000 + b"}"
    head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with ExitStack() as opened:
        slow = [
            opened.enter_context(socket.create_connection(("127.0.0.1", httpx.URL(shared.url).port or 0), 30))
            for _ in range(18)
        ]
        for client in slow:
            client.sendall(head + b"content-length: 2000000\r\n\r\n" + b" " * 1_900_000)
        until(lambda: any(select.select([client], [], [], 0)[0] for client in slow))
        error = shared.request("POST", "/v1/recommend", 503, content=large, headers=JSON)["error"]
        assert error["code"] == "overloaded"
        assert shared.request("POST", "/v1/recommend", json={"user_id": "u"})["items"]
    until(lambda: shared.client.post("/v1/recommend", content=large, headers=JSON).status_code == 200)
