"""The routes, over HTTP, against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from pasand import bundle, recipe
from pasand.sources import load
from tests.serving.conftest import Served, serving
from tests.serving.recipes import INDEXED

KEYS = "read reading-0123456789abcdef\nwrite writing-0123456789abcdef\nadmin admin-0123456789abcdef"


def titles(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    return [one["item"] for one in answer["items"]]


def test_what_was_evaluated_answers_byte_for_byte(shared: Served, bundle_folder: Path) -> None:
    loaded = bundle.read(bundle_folder)
    data = loaded.data
    now = np.array([int(data.time[-1]) + 1])
    for row in range(0, 40, 7):
        user = data.users.ids([row])[0]
        queries = replace(data.queries(np.array([row], np.int32), k=10), time=now)
        expected = loaded.assembly.recommender(queries)
        answer = shared.ask("POST", "/v1/recommend", json={"user": user})
        assert titles(answer) == data.items.ids(expected.items[0])
        scores = np.array([one["score"] for one in answer["items"]], np.float32)
        np.testing.assert_array_equal(scores, expected.scores[0])
        assert answer["known"]
        assert not answer["degraded"]
        assert answer["bundle"] == loaded.digest[:16]


def test_many_requests_in_one_call(shared: Served) -> None:
    asks = [{"user": "user 00001", "k": 3}, {"history": ["Sholay"], "k": 5}, {"k": 1}, {"user": "user 00001", "k": 3}]
    answers = shared.ask("POST", "/v1/recommend", json={"requests": asks})["answers"]
    assert [len(one["items"]) for one in answers] == [3, 5, 1, 3]
    assert titles(answers[0]) == titles(answers[3])
    assert titles(answers[0]) == titles(shared.ask("GET", "/v1/users/user%2000001/recommendations?k=3"))
    assert "Sholay" not in titles(answers[1])


def test_lists_obey_allow_deny_and_filters(shared: Served) -> None:
    whole = shared.ask("POST", "/v1/recommend", json={"k": 100})
    assert len(whole["items"]) == len(set(titles(whole))) == 100
    first, second, *_ = titles(whole)
    assert titles(shared.ask("POST", "/v1/recommend", json={"k": 3, "allow": [second, "nothing", first]})) == [
        first,
        second,
    ]
    assert first not in titles(shared.ask("POST", "/v1/recommend", json={"k": 99, "deny": [first]}))
    tamil = shared.ask("POST", "/v1/recommend", json={"k": 100, "filters": {"language": "Tamil"}})
    assert 0 < len(tamil["items"]) < 100
    for item in titles(tamil)[:3]:
        assert shared.ask("GET", f"/v1/items/{item}")["features"]["language"] == "Tamil"
    old = shared.ask(
        "POST", "/v1/recommend", json={"k": 100, "filters": {"year": {"max": 1980}, "language": ["Hindi"]}}
    )
    assert {shared.ask("GET", f"/v1/items/{item}")["features"]["year"] for item in titles(old)} <= set(
        range(1900, 1981)
    )
    seen = shared.ask("POST", "/v1/recommend", json={"history": [first], "k": 100, "exclude_seen": False})
    assert first in titles(seen)


def test_unknown_things_are_told_and_left_aside(shared: Served) -> None:
    answer = shared.ask("POST", "/v1/recommend", json={"user": "nobody yet", "history": ["no film", "Sholay"]})
    assert not answer["known"]
    assert answer["notes"] == ["not in the catalogue, and left aside: no film"]
    assert len(answer["items"]) == 10
    told = shared.ask("POST", "/v1/recommend", json={"features": {"state": "Atlantis"}})["notes"]
    assert told == ["state 'Atlantis' is not known and was left aside"]


def test_an_event_is_known_to_the_next_answer(server: Served) -> None:
    before = server.ask("POST", "/v1/recommend", json={"user": "new"})
    event = {"id": "one", "user": "new", "item": "Sholay"}
    assert server.ask("POST", "/v1/events", json=event) == {
        "accepted": 1,
        "duplicates": 0,
        "unknown_items": 0,
        "ids": ["one"],
    }
    after = server.ask("POST", "/v1/recommend", json={"user": "new", "explain": True})
    assert titles(after) != titles(before)
    assert "Sholay" not in titles(after)
    assert {"item": "Sholay", "title": "Sholay"} in after["items"][0]["because"]
    assert server.ask("POST", "/v1/events", json=event)["duplicates"] == 1
    lines = "\n".join(json.dumps({"id": str(n), "user": "new", "item": "PK"}) for n in range(3))
    kept = server.ask("POST", "/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert kept["accepted"] == 3
    several = {"events": [{"user": "new", "item": "no film"}, {"user": "new", "item": "PK", "value": 2}]}
    assert server.ask("POST", "/v1/events", json=several)["unknown_items"] == 1
    history = server.ask("GET", "/v1/users/new/view")["history"]
    assert [one["item"] for one in history] == ["PK", "PK", "PK", "PK", "Sholay"]
    assert history[0]["value"] == 2


def test_an_item_comes_changes_and_goes(server: Served) -> None:
    few = server.ask("GET", "/v1/items?language=Assamese")["items"]
    film, like = few[0]["item"], few[0]["features"]
    features = {name: value for name, value in like.items() if name != "available_from"} | {"title": "The Sequel"}
    server.ask("PUT", "/v1/items/sequel", json={"features": features})
    answer = server.ask("POST", "/v1/recommend", json={"history": [film], "k": len(few)})
    assert "sequel" in titles(answer)
    assert "sequel" in titles(server.ask("GET", f"/v1/items/{film}/similar?k={len(few)}"))
    assert server.ask("GET", "/v1/items?search=seQUel")["items"][0]["item"] == "sequel"
    server.ask("PUT", "/v1/items/sequel", json={"features": {"language": "Tamil"}})
    assert server.ask("GET", "/v1/items/sequel")["features"]["language"] == "Tamil"
    assert server.ask("DELETE", "/v1/items/sequel")["found"]
    assert not server.ask("DELETE", "/v1/items/sequel")["found"]
    server.ask("GET", "/v1/items/sequel", 404)
    everything = server.ask("POST", "/v1/recommend", json={"history": [film], "k": 1000})
    assert "sequel" not in titles(everything)
    assert len(everything["items"]) == 99
    server.ask("DELETE", "/v1/items/PK")
    assert "PK" not in titles(server.ask("POST", "/v1/recommend", json={"k": 1000, "allow": ["PK", "Sholay"]}))
    server.ask("PUT", "/v1/items/PK", json={})
    assert "PK" in titles(server.ask("POST", "/v1/recommend", json={"k": 1000}))
    server.ask("PUT", "/v1/items/other", 422, json={"features": {"shoe size": 3}})


def test_a_user_is_forgotten(server: Served) -> None:
    user = "user 00001"
    known = server.ask("POST", "/v1/recommend", json={"user": user})
    server.ask("POST", "/v1/events", json={"user": user, "item": "Sholay"})
    assert server.ask("DELETE", f"/v1/users/{user}")["found"]
    after = server.ask("POST", "/v1/recommend", json={"user": user})
    assert not after["known"]
    assert titles(after) == titles(server.ask("POST", "/v1/recommend", json={})) != titles(known)
    assert server.ask("GET", f"/v1/users/{user}/view")["history"] == []


def test_explain_similar_and_home(shared: Served) -> None:
    answer = shared.ask("GET", "/v1/users/user%2000001/recommendations?explain=1")
    told = shared.ask("GET", f"/v1/explain?user=user%2000001&item={answer['items'][0]['item']}")
    assert told["rank"] == 1
    assert [source["name"] for source in told["sources"]] == ["from_content", "from_popular"]
    home = shared.ask("GET", "/v1/users/user%2000001/home")
    kinds = [row["kind"] for row in home["rows"]]
    assert kinds[0] == "for_you"
    assert {"because", "language"} <= set(kinds)
    shown = [card["item"] for row in home["rows"] for card in row["items"]]
    assert len(shown) == len(set(shown))
    assert all(card["reason"] for row in home["rows"] for card in row["items"])
    visitor = shared.ask("POST", "/v1/home", json={"history": ["Sholay", "Deewaar", "PK"]})
    assert visitor["rows"][1]["because"]["item"] == "PK"


@pytest.mark.parametrize(
    ("told", "status", "field"),
    [
        (b'{"k": 0}', 422, "k"),
        (b'{"k": -3}', 422, "k"),
        (b'{"k": 100000000000000000000000}', 422, "k"),
        (b'{"k": "ten"}', 422, "k"),
        (b'{"usr": "x"}', 422, None),
        (b'{"user": ""}', 422, "user"),
        (b'{"user": "' + b"x" * 300 + b'"}', 422, "user"),
        (b'{"history": [{"item": "PK", "when": 3}]}', 422, "history[0]"),
        (b'{"features": {"shoe size": 43}}', 422, "features.shoe size"),
        (b'{"features": {"city_tier": [1, 2]}}', 422, "features.city_tier"),
        (b'{"filters": {"taste": "good"}}', 422, "filters.taste"),
        (b'{"filters": {"language": {"min": 3}}}', 422, "filters.language"),
        (b'{"requests": []}', 422, "requests"),
        (b"", 400, None),
        (b"null", 422, None),
        (b"[]", 422, None),
        (b"{", 400, None),
        (b'{"user": "\xff\xfe"}', 400, None),
        (b'{"user": "\\ud800"}', 400, None),
        (b"[" * 100_000, 422, None),
        (b'{"history": ' + b"[" * 5000 + b"]" * 5000 + b"}", 422, "history[0]"),
    ],
)
def test_wrong_bodies_are_refused(shared: Served, told: bytes, status: int, field: str | None) -> None:
    fault = shared.ask("POST", "/v1/recommend", status, content=told)["error"]
    assert fault.get("field") == field
    assert "Traceback" not in fault["message"]


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
        ("GET", "/v1/items/" + "x" * 300, 422),
        ("GET", "/v1/users/x/recommendations?k=0", 422),
        ("GET", "/v1/users/x/recommendations?k=1e3", 422),
        ("GET", "/v1/users/x/recommendations?k=5&k=6", 422),
        ("GET", "/v1/users/x/recommendations?size=5", 422),
        ("GET", "/v1/explain?user=x", 422),
        ("GET", "/v1/explain?user=x&item=nothing", 404),
        ("GET", "/report", 404),
        ("POST", "/v1/admin/rollback", 409),
    ],
)
def test_wrong_paths_are_refused(shared: Served, method: str, path: str, status: int) -> None:
    assert shared.ask(method, path, status)["error"]["message"]


def test_events_that_cannot_be_are_refused_as_a_whole(server: Served) -> None:
    now = server.ask("GET", "/v1/about")["now"]
    future = {"events": [{"user": "a", "item": "PK"}, {"user": "a", "item": "PK", "time": now + 86_400}]}
    assert server.ask("POST", "/v1/events", 422, json=future)["error"]["field"] == "events[1].time"
    lines = b'{"user": "a", "item": "PK"}\n{"user": "a"}'
    fault = server.ask("POST", "/v1/events", 422, content=lines, headers={"content-type": "application/x-ndjson"})
    assert fault["error"]["field"] == "line 2"
    assert server.ask("GET", "/v1/users/a/view")["history"] == []
    server.ask("POST", "/v1/events", 422, json={"user": "a", "item": "PK", "value": 1e300})
    server.ask("POST", "/v1/events", 413, content=b" " * 2_000_001)


def test_responses_carry_safe_headers(shared: Served) -> None:
    answer = shared.client.get("/v1/about")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "server" not in answer.headers


def test_the_document_describes_every_route(shared: Served) -> None:
    document = shared.ask("GET", "/openapi.json")
    assert document["openapi"] == "3.1.0"
    assert "post" in document["paths"]["/v1/recommend"]
    assert set(document["paths"]["/v1/items/{id}"]) == {"get", "put", "delete"}
    assert "/v1/admin/rollback" in shared.client.get("/docs").text


def test_figures_for_prometheus(shared: Served) -> None:
    shared.ask("POST", "/v1/recommend", json={"user": "user 00002"})
    text = shared.client.get("/metrics").text
    assert 'pasand_request_seconds_count{route="/v1/recommend",status="200"}' in text
    assert shared.figure("pasand_batch_requests_count") > 0
    assert 'pasand_step_seconds_count{step="ladder"}' in text
    assert 'pasand_catalogue_items{variant="main"} 100.0' in text


def test_figures_tell_what_is_remembered_and_how_much_there_is(tmp_path: Path) -> None:
    data = load("bollywood", impressions="none")
    bundle.write(tmp_path / "bundle", recipe.build(INDEXED).fit(data, seed=0), data, seed=0)
    with serving(tmp_path / "bundle", tmp_path / "service") as served:
        assert served.figure('pasand_index_vectors{index="exact",variant="main"}') == 100
        assert served.figure('pasand_catalogue_items{variant="main"}') == 100
        for language in ("Tamil", "Hindi", "Tamil"):
            served.ask("POST", "/v1/recommend", json={"user": "u", "filters": {"language": language}})
        served.ask("POST", "/v1/recommend", json={"user": "v"})
        assert served.figure('pasand_filter_masks{variant="main"}') == 2
        assert served.figure('pasand_filter_mask_uses_total{outcome="made"}') == 2
        assert served.figure('pasand_filter_mask_uses_total{outcome="kept"}') == 1
        assert served.figure("pasand_remembered_users") == 2
        assert served.figure("pasand_waiting_events") == served.figure("pasand_waiting_requests") == 0
        served.ask("PUT", "/v1/items/new", json={})
        served.ask("DELETE", "/v1/items/PK")
        served.ask("DELETE", "/v1/items/Sholay")
        assert served.figure('pasand_catalogue_items{variant="main"}') == 99
        assert served.figure('pasand_filter_masks{variant="main"}') == 0


def test_keys_and_scopes(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, environment={"PASAND_API_KEYS": KEYS}) as served:
        served.client.get("/healthz").raise_for_status()
        served.ask("POST", "/v1/recommend", 401, json={})
        for wrong in ("", "Bearer", "Bearer wrong-0123456789abcdef", "Basic reading-0123456789abcdef"):
            served.ask("POST", "/v1/recommend", 401, json={}, headers={"authorization": wrong})
        reading = {"authorization": "Bearer reading-0123456789abcdef"}
        served.ask("POST", "/v1/recommend", json={}, headers=reading)
        served.ask("POST", "/v1/events", 403, json={"user": "a", "item": "PK"}, headers=reading)
        writing = {"x-api-key": "writing-0123456789abcdef"}
        served.ask("POST", "/v1/events", json={"user": "a", "item": "PK"}, headers=writing)
        served.ask("POST", "/v1/admin/reload", 403, json={}, headers=writing)
        served.ask("POST", "/v1/admin/reload", json={}, headers={"x-api-key": "admin-0123456789abcdef"})


def test_a_caller_that_asks_too_often_is_told_to_wait(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, "--rate", "5") as served:
        statuses = [served.client.post("/v1/recommend", json={}).status_code for _ in range(15)]
        assert statuses[:10] == [200] * 10
        assert 429 in statuses[10:]


def test_a_bundle_is_swapped_and_rolled_back(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path) as served:
        first = served.ask("GET", "/readyz")["bundles"]["main"]
        server_refuses = served.ask("POST", "/v1/admin/reload", 422, json={"bundle": str(tmp_path / "nothing")})
        assert "not a bundle" in server_refuses["error"]["message"]
        served.ask("POST", "/v1/admin/reload", 404, json={"variant": "nobody"})
        swapped = served.ask("POST", "/v1/admin/reload", json={"bundle": str(bundles(1))})
        assert swapped["before"] == first != swapped["bundle"]
        assert served.ask("POST", "/v1/recommend", json={})["bundle"] == swapped["bundle"]
        assert served.ask("POST", "/v1/admin/rollback")["bundle"] == first
        assert served.ask("POST", "/v1/recommend", json={})["bundle"] == first


def test_users_keep_their_variant(bundles: Callable[[int], Path], tmp_path: Path) -> None:
    with serving(bundles(0), tmp_path, "--variant", f"new={bundles(1)}:0.5") as served:
        asks = [{"user": f"somebody {n}", "k": 1} for n in range(200)]
        found = [
            [one["variant"] for one in served.ask("POST", "/v1/recommend", json={"requests": asks})["answers"]]
            for _ in range(2)
        ]
        assert found[0] == found[1]
        assert 60 < found[0].count("new") < 140
        other = served.ask("POST", "/v1/admin/reload", json={"variant": "new", "bundle": str(bundles(0))})
        assert other["variant"] == "new"


def test_the_state_survives_a_restart(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as served:
        served.ask("POST", "/v1/events", json={"user": "new", "item": "Sholay"})
        served.ask("DELETE", "/v1/items/PK")
    with serving(bundle_folder, tmp_path) as served:
        assert served.ask("GET", "/v1/users/new/view")["history"][0]["item"] == "Sholay"
        served.ask("GET", "/v1/items/PK", 404)


def test_an_address_that_others_reach_asks_for_keys(bundle_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no API key"), serving(bundle_folder, tmp_path, "--host", "0.0.0.0"):
        pass


def test_headers_have_a_limit(shared: Served) -> None:
    answer = httpx.get(f"{shared.url}/healthz", headers={"x-long": "y" * 40_000})
    assert answer.status_code == 431
