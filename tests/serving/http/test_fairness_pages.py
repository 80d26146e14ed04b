"""The page under a policy: what the rules did in each row, and the audit, in a real browser against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pasand import bundle as bundles
from pasand import recipe
from pasand.audit.audit import audit
from pasand.bundle import Bundle
from pasand.cli.fit import earlier
from pasand.simulation.world import World
from tests.resources import program
from tests.serving.conftest import Served, serving
from tests.serving.http.test_pages import FLAGS, WAIT, WIDE_LETTERS, RecordedPage, axe, open_at, open_home
from tests.serving.recipes import CONTENT

POLICY = """
[[policy]]
name = "south"
where = { studio_region = "south" }
min_share = 0.4

[[policy]]
name = "large studios"
where = { studio_size = "large" }
max_share = 0.3

[[policy]]
kind = "calibration"
attributes = ["language"]
"""
RECIPE = CONTENT.format(days=30) + POLICY


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of a bundle with a policy, and with an audit of the same recipe fitted to the earlier events."""
    world, folder = World(n_users=250, days=40, visits=1, studios=20), tmp_path_factory.mktemp("fairness")
    data = world.dataset(impressions=False)
    bundles.write(folder / "bundle", recipe.build(RECIPE).fit(data, seed=0), data, seed=0)
    train = earlier(data, "0.8")
    fitted = Bundle(recipe.build(RECIPE).fit(train, seed=0), train, {"files": {}})
    groups = {"user_groups": ["gender"], "item_groups": ["studio_region", "language"]}
    done = audit(fitted, data, **groups, rounds=2, world=world)  # type: ignore[arg-type]
    (folder / "audit.json").write_text(json.dumps(done.as_json()))
    with serving(folder / "bundle", folder, "--audit", str(folder / "audit.json")) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as running:
        found = running.chromium.launch(executable_path=program("chromium", "google-chrome"), args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    recorded = RecordedPage(context)
    yield recorded.page
    context.close()
    assert recorded.faults == []


def user_of(service: Served) -> str:
    return str(service.request("GET", "/v1/about")["examples"][0])


def test_every_row_is_a_list_that_keeps_the_rules_or_names_those_that_it_cannot(service: Served) -> None:
    user = user_of(service)
    home = service.request("GET", f"/v1/users/{quote(user)}/home")
    shown: list[str] = []
    for row in home["rows"]:
        ids = [item["item_id"] for item in row["items"]]
        assert not set(ids) & set(shown)
        shown += ids
        features = [service.request("GET", f"/v1/items/{quote(one)}")["features"] for one in ids]
        south, large = row["rules"]
        assert south["count"] == sum(one["studio_region"] == "south" for one in features)
        assert large["count"] == sum(one["studio_size"] == "large" for one in features)
        assert south["slots"] == large["slots"] == len(ids)
        assert south["holds"] == (south["count"] >= south["low"])
        assert large["holds"] == (large["count"] <= large["high"])
    for_you = home["rows"][0]
    assert (for_you["kind"], len(for_you["items"])) == ("for_you", 12)
    assert [rule["low"] for rule in for_you["rules"]] == [5, 0]
    assert for_you["rules"][0]["holds"]
    wanted = {"user_id": user, "k": 12}
    listed = service.request("POST", "/v1/recommend", json=wanted)["items"]
    assert [item["item_id"] for item in for_you["items"]] == [item["item_id"] for item in listed]


def test_the_view_has_the_rules_and_the_calibrated_categories(service: Served) -> None:
    view = service.request("GET", f"/v1/users/{quote(user_of(service))}/view")
    assert [rule["name"] for rule in view["rules"]] == ["south", "large studios"]
    (language,) = view["calibration"]
    assert language["feature"] == "language"
    assert sum(one["history"] for one in language["categories"]) <= 1 + 1e-9
    largest = [max(one["history"], one["list"]) for one in language["categories"]]
    assert largest == sorted(largest, reverse=True)


def test_the_audit_is_served_as_it_was_written(service: Served) -> None:
    found = service.request("GET", "/v1/audit")
    assert found == json.loads((service.folder / "audit.json").read_text())
    about = service.request("GET", "/v1/about")
    assert about["audit"] is True
    assert about["variants"][0]["recipe"] == found["recipe"]


def test_without_an_audit_the_page_names_the_commands(shared: Served, page: Page) -> None:
    assert shared.request("GET", "/v1/audit", status=404)["error"]["code"] == "no_audit"
    open_at(page, shared.url, "#/fairness")
    expect(page.locator("main")).to_contain_text("pasand audit earlier LOG --json audit.json")


def test_the_home_page_shows_what_the_rules_did(service: Served, page: Page) -> None:
    user = user_of(service)
    open_home(page, service.url, user)
    home = service.request("GET", f"/v1/users/{quote(user)}/home")
    for number, row in enumerate(home["rows"]):
        lines = page.locator(".row").nth(number).locator(".rules li")
        for at, rule in enumerate(row["rules"]):
            expect(lines.nth(at)).to_contain_text(f"{rule['name']}{rule['count']} of {rule['slots']}")
        broken = [rule["name"] for rule in row["rules"] if not rule["holds"]]
        assert page.locator(".row").nth(number).locator(".rules .broken b").all_inner_texts() == broken
    expect(page.locator(".row").first.locator(".rules")).to_contain_text("as the policy requires: at least 5")
    page.get_by_role("link", name="See how these films were chosen").click()
    did = page.get_by_role("region", name="What the policy did")
    expect(did).to_contain_text("Calibrated by language", timeout=WAIT)


def test_the_audit_page_has_prices_charts_and_rounds(service: Served, page: Page) -> None:
    found = service.request("GET", "/v1/audit")
    open_at(page, service.url, "#/fairness")
    expect(page.get_by_role("heading", level=1)).to_have_text("Who is served, who is seen, and what the rules cost")
    expect(page.locator(".audit > header")).to_contain_text("has the same recipe")
    prices = page.get_by_role("region", name="What each rule costs").locator("article")
    assert prices.locator("h3").all_inner_texts() == ["south", "large studios", "calibration"]
    of = {section["name"]: section["findings"] for section in found["sections"]}
    exposure = next(one for one in of["rule south"] if one["measure"] == "exposure of its group")
    expect(prices.first.locator(".pair b").first).to_have_text(f"{100 * exposure['value']['mean']:.1f} %")
    seen = page.get_by_role("region", name="Who is seen").locator("article").first.locator("li")
    regions = [one for one in of["exposure"] if one["attribute"] == "studio_region"]
    expect(seen).to_have_count(len(regions))
    for line, finding in zip(seen.all(), regions, strict=True):
        expect(line).to_contain_text(f"{100 * finding['value']['mean']:.1f} %, merit")
    drift = page.get_by_role("region", name="Drift over rounds")
    expect(drift.get_by_role("heading", name="Exposure of south")).to_be_visible()
    assert drift.locator("svg circle").count() == 4 * drift.locator("article").count()
    expect(page.get_by_role("region", name="Law and standards")).to_contain_text("rule 5(3)(f)")
    assert page.locator("nav a[aria-current]").inner_text() == "Fairness"


def test_nothing_of_the_audit_is_wider_than_a_phone(browser: Browser, service: Served) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 740}, bypass_csp=True)
    page = context.new_page()
    for address in ("#/fairness", f"#/u/{quote(user_of(service))}", f"#/u/{quote(user_of(service))}/pipeline"):
        open_at(page, service.url, address)
        page.wait_for_load_state("networkidle")
        for width, style in ((390, "* {}"), (320, WIDE_LETTERS)):
            page.set_viewport_size({"width": width, "height": 740})
            page.add_style_tag(content=style)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (address, width)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_violation_at_all(service: Served, page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    for address in ("#/fairness", f"#/u/{quote(user_of(service))}", f"#/u/{quote(user_of(service))}/pipeline"):
        open_at(page, service.url, address)
        page.wait_for_load_state("networkidle")
        page.evaluate("for (const one of document.querySelectorAll('.audit details')) one.open = true")
        page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": axe()})
        found = page.evaluate("axe.run(document).then(({ violations }) => violations)")
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], address


def test_texts_of_an_audit_are_never_parsed_as_html(service: Served, page: Page) -> None:
    changed = service.request("GET", "/v1/audit")
    for section in changed["sections"]:
        for finding in section["findings"]:
            finding["group"] = finding["sentence"] = "<img src=x onerror=alert(1)>"
    page.route(re.compile("/v1/audit"), lambda route: route.fulfill(json=changed))
    open_at(page, service.url, "#/fairness")
    expect(page.locator(".audit .dots span").first).to_have_text("<img src=x onerror=alert(1)>")
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize(
    ("content", "cause"), [(None, "no such file"), ("{", "not JSON"), ('{"a": 1}', "JSON, but not an audit")]
)
def test_a_file_that_is_no_audit_is_refused(tmp_path: Path, content: str | None, cause: str) -> None:
    from pasand.cli.serve import _check_audit
    from pasand.errors import InputError

    if content is not None:
        (tmp_path / "audit.json").write_text(content)
    with pytest.raises(InputError, match=f"{cause}.*pasand audit BUNDLE SOURCE --json FILE"):
        _check_audit(tmp_path / "audit.json")
