"""Rules of a policy in a running service: the metric of broken rules, and explanations that name a rule."""

from __future__ import annotations

from pathlib import Path

from pasand import bundle, recipe
from pasand.sources import load
from tests.serving.conftest import serving
from tests.serving.recipes import CONTENT

POLICY = """
[[policy]]
name = "some Tamil"
where = { language = "Tamil" }
min_count = 2

[[policy]]
name = "own language"
where = { language = { user = "language" } }
min_count = 1
first = 1

[[policy]]
name = "one of a star"
each = "cast"
max_count = 4
"""


def test_broken_rules_are_counted_and_moves_are_explained(tmp_path: Path) -> None:
    data = load("bollywood", impressions="none")
    text = CONTENT.format(days=30) + POLICY
    bundle.write(tmp_path / "bundle", recipe.build(text).fit(data, seed=0), data, seed=0)
    with serving(tmp_path / "bundle", tmp_path / "service") as served:
        broken = [f'pasand_policy_broken_total{{rule="{name}"}}' for name in ("some Tamil", "own language")]
        anonymous = served.request("POST", "/v1/recommend", json={"k": 5})
        assert anonymous["notes"] == ["rule 'own language' does not apply: the language of the user is not known"]
        served.request("POST", "/v1/recommend", json={"user_id": "user 00001", "features": {"language": "Tamil"}})
        assert [served.metric(name) for name in broken] == [0, 0]
        for language in ("Hindi", "Bengali"):
            request = {"features": {"language": "Hindi"}, "filters": {"language": language}}
            notes = served.request("POST", "/v1/recommend", json=request)["notes"]
            assert "rule 'some Tamil' (at least 2 of the slots) cannot hold" in notes[0]
        assert [served.metric(name) for name in broken] == [2, 1]
        top = served.request("GET", "/v1/users/user 00001/recommendations", params={"k": 10})["items"]
        found = [
            served.request("GET", "/v1/explain", params={"user_id": "user 00001", "item_id": item["item_id"]})["moves"]
            for item in top
        ]
        for item, moves in zip(top, found, strict=True):
            assert all(
                move["after"] == item["rank"] and f"to {item['rank']} by rule `" in move["text"] for move in moves
            )
