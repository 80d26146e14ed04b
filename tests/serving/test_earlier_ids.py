"""Ids outside the rule, of bundles and states of earlier versions: they can be named and deleted, not stored again."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from pasand import bundle, default_recipe, recipe
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
from tests.logs import log
from tests.serving.conftest import serving

NAMES = ["line\nbreak", "end\n", " spaces ", "\x00", "x" * 300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    items = [*NAMES, *(f"i{n}" for n in range(10))]
    users = [*NAMES, *(f"u{n}" for n in range(10))]
    data = log(
        [
            (user, item, 99 * n + m, 5.0)
            for n, user in enumerate(users)
            for m, item in enumerate(items)
            if (n + m) % 2 or n == m
        ]
    )
    path = tmp_path_factory.mktemp("earlier") / "bundle"
    bundle.write(path, recipe.build(default_recipe.of_model("item_knn", {})).fit(data, seed=0), data, seed=0)
    return path


def test_every_id_that_exists_can_be_named_and_deleted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o700)
    state = open_state(str(tmp_path / "state" / "state.sqlite"))
    state.append([Event(f"e{n}", f"{name}!", name, 1000) for n, name in enumerate(NAMES)])
    state.append([Event(f"f{n}", f"{name}\n", name, 1000) for n, name in enumerate(NAMES)])
    state.close()
    with serving(folder, tmp_path) as served:
        for name in NAMES:
            user, item = f"/v1/users/{quote(name, safe='')}", f"/v1/items/{quote(name, safe='')}"
            assert served.request("GET", f"{user}/recommendations")["known"]
            assert served.request("GET", f"{user}/home")["user_id"] == name
            assert served.request("GET", f"{user}/view")["known"]
            assert served.request("GET", item)["item_id"] == name
            assert served.request("GET", f"{item}/similar")["items"]
            served.request("GET", "/v1/explain", params={"user_id": name, "item_id": name})
            given = {"user_id": name, "history": [name, {"item_id": name}], "k": 100, "exclude_seen": False}
            everything = [one["item_id"] for one in served.request("POST", "/v1/recommend", json=given)["items"]]
            assert name in everything
            without = served.request("POST", "/v1/recommend", json={**given, "deny": [name]})["items"]
            assert sorted(everything) == sorted([name, *(one["item_id"] for one in without)])

            served.request("PUT", item, 422, json={"features": {}})
            for event in ({"user_id": name, "item_id": "i1"}, {"user_id": "new", "item_id": name}):
                served.request("POST", "/v1/events", 422, json=event)

            assert "forgotten: 1 events" in served.request("DELETE", user + quote("\n"))["message"]
            assert served.request("DELETE", user)["found"]
            assert not served.request("GET", f"{user}/recommendations")["known"]
            assert served.request("DELETE", item)["found"]
            served.request("GET", item, 404)
            gone = served.request("POST", "/v1/recommend", json={"k": 100})["items"]
            assert name not in [one["item_id"] for one in gone]
