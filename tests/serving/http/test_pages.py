"""The web page in a real browser against a real server: it shows what the server returns."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from pasand import bundle as bundle_files
from pasand import recipe
from pasand.sources import load
from tests.resources import missing, program
from tests.serving.conftest import serving
from tests.serving.recipes import ADAPTIVE, CONTENT

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 30_000
"""Milliseconds; machines that run several tests at once respond late."""
CONTRAST = """async () => (await import('/static/poster.js')).PALETTES.map(({ ground, ink }) => {
  const light = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const [low, high] = [light(ground), light(ink)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
})"""
"""Contrast of title and ground of every palette, as defined by WCAG 2."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as running:
        found = running.chromium.launch(executable_path=program("chromium", "google-chrome"), args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose onboarding chooses languages, genres and films by the responses so far."""
    data = load("bollywood", impressions="none")
    folder = tmp_path_factory.mktemp("adaptive") / "bundle"
    bundle_files.write(folder, recipe.build(ADAPTIVE).fit(data, seed=0), data, seed=0)
    return folder


class RecordedPage:
    """A page whose faults are recorded: console errors, page errors, and requests to other machines."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(WAIT)
        self.page, self.faults = context.new_page(), list[str]()
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda sent: self._check_local(sent.url))

    def _check_local(self, url: str) -> None:
        if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
            self.faults.append(f"request to another machine: {url}")


WIDE_LETTERS = "* { letter-spacing: .12em !important; }"
"""A style that makes every text wider than any font for screens does."""


@pytest.fixture
def page(browser: Browser, served: str) -> Iterator[Page]:
    """A page of a fresh profile; the test fails if it recorded a fault."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    recorded = RecordedPage(context)
    yield recorded.page
    context.close()
    assert recorded.faults == []


def fetched(page: Page, served: str, path: str) -> Any:
    """Return the JSON of a GET request that bypasses the page."""
    response = page.request.get(served + path)
    assert response.ok, response.text()
    return response.json()


def example(page: Page, served: str, number: int) -> str:
    """Return the id of an example user; tests use different ones, since they change them."""
    return str(fetched(page, served, "/v1/about")["examples"][number])


def name_of(page: Page, served: str, user: str) -> str:
    """Return the name that the page gives an example user."""
    return str(fetched(page, served, "/v1/about")["names"].get(user, user))


def open_at(page: Page, served: str, address: str) -> None:
    page.goto(f"{served}/{address}")
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true", timeout=WAIT)


def open_home(page: Page, served: str, user: str) -> None:
    open_at(page, served, f"#/u/{quote(user)}")
    expect(page.locator(".row").first).to_be_visible(timeout=WAIT)


def shown(page: Page) -> list[str]:
    """Return the items of the home page, the large one first."""
    cards = page.locator(".rows .card").evaluate_all("cards => cards.map(card => card.dataset.item)")
    return [page.locator(".hero").get_attribute("data-item"), *cards]


def items_of(home: Any) -> list[str]:
    return [card["item_id"] for row in home["rows"] for card in row["items"]]


def test_the_first_visit_shows_the_profiles_and_leads_to_the_home_that_the_server_returns(
    page: Page, served: str
) -> None:
    user = example(page, served, 0)
    open_at(page, served, "")
    expect(page.get_by_role("heading", level=1)).to_have_text("Who are you?")
    page.get_by_role("link", name=user).click()
    expect(page.locator(".row").first).to_be_visible(timeout=WAIT)
    home = fetched(page, served, f"/v1/users/{quote(user)}/home")
    assert shown(page) == items_of(home)
    assert page.locator(".row h2").all_inner_texts() == [row["title"] for row in home["rows"]]
    first = home["rows"][0]["items"][1]
    card = page.locator(".row .card").first
    expect(card.locator(".reason")).to_have_text(first["reason"])
    expect(card.get_by_role("button")).to_have_accessible_name(f"Mark as watched: {first['title']}")
    page.reload()
    expect(page.locator(".hero")).to_be_visible(timeout=WAIT)
    assert page.title() == f"Home of {name_of(page, served, user)} · pasand"


def test_the_tick_below_a_poster_stores_an_event_and_updates_the_rows_until_it_is_undone(
    page: Page, served: str
) -> None:
    user = example(page, served, 1)
    open_home(page, served, user)
    before = fetched(page, served, f"/v1/users/{quote(user)}/view")["history"]
    card = page.locator(".row .card").nth(1)
    item = str(card.get_attribute("data-item"))
    card.get_by_role("button").click()
    expect(page.locator("#live")).to_contain_text(f"Marked as watched: {item}", timeout=WAIT)
    expect(page.locator(".toast span")).to_have_text(f"Marked as watched: {item}")
    after = fetched(page, served, f"/v1/users/{quote(user)}/view")["history"]
    assert len(after) == min(len(before) + 1, 50)
    assert item in [event["item_id"] for event in after]
    assert item not in shown(page)
    assert shown(page) == items_of(fetched(page, served, f"/v1/users/{quote(user)}/home"))
    page.get_by_role("button", name=f"Undo. Marked as watched: {item}").click()
    expect(page.locator("#live")).to_contain_text(f"Undone: {item}", timeout=WAIT)
    assert fetched(page, served, f"/v1/users/{quote(user)}/view")["history"] == before
    assert item in shown(page)


def test_ratings_and_not_for_me_are_events_that_keep_an_item_out_of_the_lists(page: Page, served: str) -> None:
    user = example(page, served, 7)
    open_home(page, served, user)
    for button, value in (("Not for me", 1), ("Rate 4 of 5", 4)):
        card = page.locator(".row .card").first
        item = str(card.get_attribute("data-item"))
        card.locator(".press").click()
        page.get_by_role("button", name=button).click(timeout=WAIT)
        expect(page.locator("#live")).to_contain_text(item, timeout=WAIT)
        expect(page.locator("#film-dialog")).to_be_hidden()
        newest = max(fetched(page, served, f"/v1/users/{quote(user)}/view")["history"], key=lambda one: one["time"])
        assert (newest["item_id"], newest["value"]) == (item, value)
        assert item not in shown(page)


def test_a_new_visitor_chooses_languages_and_films_and_the_home_follows_later_events(page: Page, served: str) -> None:
    open_at(page, served, "")
    page.get_by_role("link", name="New visitor").click()
    page.get_by_role("button", name="Tamil", exact=True).click()
    picks = page.locator(".pick")
    expect(page.locator(".pick:not([aria-label*='· Tamil ·'])")).to_have_count(0, timeout=WAIT)
    chosen = picks.evaluate_all("picks => picks.slice(0, 2).map(pick => pick.dataset.item)")
    picks.nth(0).click()
    picks.nth(1).click()
    page.get_by_label("Three films you like").fill("thevar")
    expect(picks).to_have_count(1, timeout=WAIT)
    picks.first.click()
    expect(page.locator("#live")).to_have_text("3 of 3 films chosen.")
    page.get_by_role("button", name="Show recommendations").click()
    expect(page.locator(".row").first).to_be_visible(timeout=WAIT)
    visitor = page.evaluate("JSON.parse(localStorage.getItem('pasand.viewer'))")
    request = {"user_id": visitor, "history": [*chosen, "Thevar Magan"], "features": {"languages": ["Tamil"]}}
    assert shown(page) == items_of(page.request.post(f"{served}/v1/home", data=request).json())
    assert not {*chosen, "Thevar Magan"} & set(shown(page))
    page.locator(".row .mark").first.click()
    expect(page.locator("#live")).to_contain_text("Marked as watched", timeout=WAIT)
    history = fetched(page, served, f"/v1/users/{visitor}/view")["history"]
    assert len(history) == 4
    assert {*chosen, "Thevar Magan"} <= {event["item_id"] for event in history}


def test_each_response_of_a_new_visitor_changes_what_is_rated_next(
    browser: Browser, adaptive: Path, tmp_path: Path
) -> None:
    """What the page shows is what the API returns for the responses so far; the home page follows all of them."""
    with serving(adaptive, tmp_path) as service, browser.new_context() as context:
        recorded = RecordedPage(context)
        page, served = recorded.page, service.url
        open_at(page, served, "#/new")
        step = page.get_by_role("region", name="Rate what you know")
        given: dict[str, Any] = {"history": [], "skipped": [], "values": [], "languages": [], "k": 1}
        rejected: list[str] = []
        shown_steps: list[str] = []
        for button in ("Yes", "No", "No preference", "Yes", "No"):
            expected = page.request.post(f"{served}/v1/onboarding", data=given).json()
            value, item = expected["value"], expected["items"][0]["item_id"]
            name = item if value is None else value["value"]
            expect(step.get_by_role("heading")).to_contain_text(name, timeout=WAIT)
            expect(step).to_contain_text(f"{len(shown_steps) + 1} of 5")
            shown_steps.append(name)
            if value is None and button == "No preference":
                button = "I don’t know it"
            step.get_by_role("button", name=button, exact=True).click()
            likes = {"Yes": True, "No": False}.get(button)
            if value is not None and value["feature"] == "language" and likes:
                given["languages"].append(value["value"])
                given["values"] = [one for one in given["values"] if one["feature"] != "language"]
            elif value is not None and not (value["feature"] == "language" and given["languages"]):
                given["values"].append({**value, "liked": likes})
            elif value is None and likes:
                given["history"].append(item)
            elif value is None and likes is False:
                rejected.append(item)
                given["history"].append({"item_id": item, "value": 1})
            elif value is None:
                given["skipped"].append(item)
        assert len(set(shown_steps)) == 5
        expect(step).to_be_hidden(timeout=WAIT)
        page.get_by_role("button", name="Show recommendations").click()
        expect(page.locator(".row").first).to_be_visible(timeout=WAIT)
        visitor = page.evaluate("JSON.parse(localStorage.getItem('pasand.viewer'))")
        liked: dict[str, list[str]] = {}
        for one in given["values"]:
            if one["liked"]:
                liked.setdefault(one["feature"], []).append(one["value"])
        request = {"user_id": visitor, "liked": liked, "features": {}}
        request["history"] = [] if rejected else [one for one in given["history"] if isinstance(one, str)]
        if given["languages"]:
            request["features"] = {"languages": given["languages"]}
        assert shown(page) == items_of(page.request.post(f"{served}/v1/home", data=request).json())
        assert not set(rejected) & set(shown(page))
        assert recorded.faults == []


def test_the_pipeline_page_has_the_history_and_the_rank_of_every_candidate(page: Page, served: str) -> None:
    user = example(page, served, 2)
    open_home(page, served, user)
    page.get_by_role("link", name="See how these films were chosen").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        f"How the list of {name_of(page, served, user)} was made", timeout=WAIT
    )
    view = fetched(page, served, f"/v1/users/{quote(user)}/view")
    expect(page.get_by_role("list", name="In plain words")).to_contain_text("films whose features resemble")
    expect(page.locator(".candidates")).to_be_hidden()
    page.get_by_text("Details: models, stages, ranks and scores").click()
    lines = page.locator(".candidates tbody tr")
    assert lines.locator("th").all_inner_texts() == [item["title"] for item in view["items"][:20]]
    first = view["items"][0]
    expect(lines.first.locator("td.number b").last).to_have_text(str(first["steps"][-1]["rank"]))
    heads = page.locator(".candidates thead th").all_inner_texts()
    assert heads[3:] == [step["name"].replace("_", " ") for step in first["steps"]]
    latest = max(view["history"], key=lambda event: event["time"])
    expect(page.locator(".history li").first).to_contain_text(latest["title"])
    expect(page.get_by_role("img", name="Ranks of the first films")).to_be_visible()
    page.go_back()
    expect(page.locator(".hero")).to_be_visible(timeout=WAIT)


def test_the_dialog_of_a_film_has_features_and_explanation_and_back_and_escape_close_it(
    page: Page, served: str
) -> None:
    open_home(page, served, example(page, served, 3))
    opener = page.locator(".row .press").first
    item = str(page.locator(".row .card").first.get_attribute("data-item"))
    opener.click()
    dialog = page.get_by_role("dialog", name=item)
    expect(dialog).to_be_visible(timeout=WAIT)
    features = fetched(page, served, f"/v1/items/{quote(item)}")["features"]
    expect(dialog.locator(".facts")).to_contain_text(features["cast"][0], timeout=WAIT)
    expect(dialog.locator(".facts")).to_contain_text(f"{features['minutes'] // 60:.0f} h")
    added = datetime.fromtimestamp(features["available_from"], UTC)
    expect(dialog.locator(".facts")).to_contain_text(f"{added.day} {added:%b} {added.year}")
    expect(dialog.locator(".verdict")).to_contain_text("in the list of 10")
    similar = fetched(page, served, f"/v1/items/{quote(item)}/similar?k=12")["items"]
    expect(dialog.locator(".similar .card")).to_have_count(len(similar), timeout=WAIT)
    page.go_back()
    expect(page.locator("#film-dialog")).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    expect(dialog).to_be_visible(timeout=WAIT)
    page.keyboard.press("Escape")
    expect(page.locator("#film-dialog")).to_be_hidden()


def brightness(page: Page) -> float:
    """Return how bright the background is, in [0, 1]."""
    text = page.evaluate(
        "() => { const pen = document.createElement('canvas').getContext('2d');"
        "pen.fillStyle = getComputedStyle(document.body).backgroundColor; pen.fillRect(0, 0, 1, 1);"
        "return Array.from(pen.getImageData(0, 0, 1, 1).data) }"
    )
    return float(sum(text[:3])) / 765


def test_the_theme_follows_the_system_until_the_switch_is_used(page: Page, served: str) -> None:
    page.emulate_media(color_scheme="dark")
    open_at(page, served, "")
    assert brightness(page) < 0.2
    switch = page.get_by_role("button", name="Dark theme")
    expect(switch).to_have_attribute("aria-pressed", "true")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "false")
    assert brightness(page) > 0.8
    page.reload()
    assert brightness(page) > 0.8


@pytest.mark.parametrize("address", ["", "#/new", "#/u/{}", "#/u/{}/pipeline", "#/search", "#/report", "#/item/RRR"])
def test_nothing_is_wider_than_a_narrow_phone_whatever_fonts_are_installed(
    browser: Browser, served: str, address: str
) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, bypass_csp=True)
    page = context.new_page()
    open_at(page, served, address.format(quote(example(page, served, 4))))
    page.wait_for_load_state("networkidle")
    for width, style in ((360, "* {}"), (360, WIDE_LETTERS), (320, WIDE_LETTERS)):
        page.set_viewport_size({"width": width, "height": 740})
        page.add_style_tag(content=style)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelector('#film-dialog').scrollWidth") <= width
    context.close()


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def test_everything_can_be_done_with_the_keyboard_alone(page: Page, served: str) -> None:
    open_home(page, served, example(page, served, 5))
    page.keyboard.press("Tab")
    expect(focused(page)).to_have_text("Skip to the recommendations")
    page.keyboard.press("Enter")
    for _ in range(5):
        page.keyboard.press("Tab")
        if "press" in (focused(page).get_attribute("class") or ""):
            break
    rows = page.locator(".row")
    expect(rows.nth(0).locator(".press").nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(rows.nth(0).locator(".press").nth(2)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1).locator(".press").nth(0)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(rows.nth(0).locator(".press").nth(2)).to_be_focused()
    assert focused(page).evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#film-title")).to_be_focused(timeout=WAIT)
    page.keyboard.press("Escape")
    expect(rows.nth(0).locator(".press").nth(2)).to_be_focused()
    page.keyboard.press("Tab")
    expect(rows.nth(0).locator(".mark").nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_contain_text("Marked as watched", timeout=WAIT)
    expect(rows.nth(0).locator(".mark").nth(2)).to_be_focused()


def test_an_unreachable_server_is_reported_and_the_page_recovers(browser: Browser, served: str) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(WAIT)
    open_home(page, served, example(page, served, 0))
    before = shown(page)
    page.route("**/v1/**", lambda route: route.abort())
    page.locator(".row .mark").first.click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was changed")
    assert shown(page) == before
    page.get_by_role("link", name="Search").click()
    page.get_by_role("link", name="Home", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The server does not respond")
    page.unroute("**/v1/**")
    expect(page.locator(".hero")).to_be_visible(timeout=WAIT)
    page.context.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of orders and products of a shop, as files of tables."""
    folder = tmp_path_factory.mktemp("shop")
    things = ("Brass lamp", "Silk saree", "Copper bottle", "Claw hammer")
    lines = [f"{100 + n},{things[n % 4]} {n},{things[n % 4].split()[1]}s,Jaipur & Co,{99 + n}.60" for n in range(24)]
    (folder / "products.csv").write_text("product_id,name,category,seller,price\n" + "\n".join(lines) + "\n")
    orders = [f"{u},{100 + 4 * n + u % 4},{1 + n % 3},{1_700_000_000 + 9 * u + n}" for u in range(20) for n in range(5)]
    (folder / "orders.csv").write_text("customer_id,product_id,quantity,time\n" + "\n".join(orders) + "\n")
    data = load(str(folder / "orders.csv"), items=str(folder / "products.csv"))
    bundle_files.write(folder / "bundle", recipe.build(CONTENT.format(days=30)).fit(data, seed=0), data, seed=0)
    return folder / "bundle"


def test_a_page_of_a_shop_speaks_of_products_with_prices_and_without_ratings(
    browser: Browser, shop: Path, tmp_path: Path
) -> None:
    with serving(shop, tmp_path) as service, browser.new_context() as context:
        recorded = RecordedPage(context)
        page, served = recorded.page, service.url
        user = example(page, served, 0)
        open_home(page, served, user)
        expect(page.locator(".hero")).to_contain_text("Mark as bought")
        first = fetched(page, served, f"/v1/users/{user}/home")["rows"][0]["items"][1]
        assert str(first["price"]).endswith(".6")
        card = page.locator(f".card[data-item='{first['item_id']}'] .press").first
        expect(card).to_have_attribute("aria-label", re.compile(f"price {first['price']:.2f}"))
        card.click()
        dialog = page.locator("#film-dialog")
        expect(dialog.locator(".facts")).to_contain_text(re.compile(f"price{first['price']:.2f}", re.IGNORECASE))
        expect(dialog).to_contain_text("Why this product?", timeout=WAIT)
        explained = fetched(page, served, f"/v1/explain?user_id={quote(user)}&item_id={quote(first['item_id'])}")
        (strongest, *_) = explained["influences"][0]["features"]
        shared = f"What it shares with what you bought: {strongest['feature']}"
        expect(dialog.locator(".matches")).to_contain_text(shared)
        open_at(page, served, f"#/u/{user}/pipeline")
        expect(page.get_by_role("list", name="In plain words")).to_contain_text("5 products that this user bought")
        expect(page.locator(".history li")).to_have_count(5)
        expect(page.locator(".history")).not_to_contain_text("rated")
        assert recorded.faults == []
        source = axe()
        for address in (
            f"#/u/{user}",
            f"#/item/{first['item_id']}",
            "#/search/lamp",
            f"#/u/{user}/pipeline",
            "#/new",
            "docs",
        ):
            open_at(page, served, address) if address != "docs" else page.goto(f"{served}/docs")
            page.wait_for_load_state("networkidle")
            context.new_cdp_session(page).send("Runtime.evaluate", {"expression": source})
            found = page.evaluate("axe.run(document).then(({ violations }) => violations)")
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], address


def test_degraded_responses_are_reported_until_the_state_is_back(
    browser: Browser, bundle_folder: Path, tmp_path: Path
) -> None:
    with serving(bundle_folder, tmp_path) as service, browser.new_context() as context:
        context.set_default_timeout(WAIT)
        page, served, notice = context.new_page(), service.url, "What you watched last cannot be read right now"
        user = example(page, served, 0)
        open_home(page, served, user)
        expect(page.locator("#notice")).to_be_empty()
        state, away = tmp_path / "state" / "state.sqlite", tmp_path / "away"
        state.rename(away)
        home = f"/v1/users/{quote(user)}/home"
        until(lambda: fetched(page, served, home)["degraded"])
        before = shown(page)
        page.locator(".row .mark").first.click()
        expect(page.get_by_role("alert")).to_contain_text("nothing was changed")
        assert shown(page) == before
        page.get_by_role("link", name="See how these films were chosen").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(
            f"How the list of {name_of(page, served, user)} was made", timeout=WAIT
        )
        expect(page.get_by_role("alert")).to_contain_text(notice)
        page.get_by_role("link", name="Back to home").click()
        expect(page.locator(".hero")).to_be_visible(timeout=WAIT)
        expect(page.get_by_role("alert")).to_contain_text(notice)
        away.rename(state)
        expect(page.locator("#notice")).to_be_empty(timeout=WAIT)
        page.locator(".row .mark").first.click()
        expect(page.locator("#live")).to_contain_text("Marked as watched", timeout=WAIT)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_what_does_not_exist_has_a_page_that_names_it(browser: Browser, served: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        open_at(page, served, "#/item/no%20film")
        alert = page.locator("#film-dialog").get_by_role("alert")
        expect(alert).to_contain_text("There is no such film", timeout=WAIT)
        expect(alert).to_contain_text("There is no item 'no film'")
        alert.get_by_role("link", name="Search the films").click()
        page.get_by_label("Search for a film").fill("amitabh bachan 1975 शोले")
        expect(page.locator(".card")).to_have_count(1, timeout=WAIT)
        expect(page.locator(".card .lettering")).to_have_text("Sholay")
        open_at(page, served, "#/nothing/here")
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")


def test_titles_are_never_parsed_as_html(page: Page, served: str) -> None:
    title = "<img src=x onerror=alert(1)> & <b>Zanjeer</b>"
    put = page.request.put(f"{served}/v1/items/a%20%2F%20b%3F", data={"features": {"title": title}})
    assert put.ok, put.text()
    open_at(page, served, "#/search/zanjeer")
    expect(page.locator(".card .lettering")).to_have_text(title, timeout=WAIT)
    page.locator(".card .press").click()
    expect(page.locator("#film-title")).to_have_text(title, timeout=WAIT)
    assert page.locator("main img, #film-dialog img, #film-dialog b:text('Zanjeer')").count() == 0


def test_posters_are_deterministic_and_have_enough_contrast(page: Page, served: str) -> None:
    policy = page.request.get(served).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    open_at(page, served, "")
    assert min(page.evaluate(CONTRAST)) >= 7
    drawn = page.evaluate(
        "async () => { const { poster } = await import('/static/poster.js');"
        "const film = (title, genres) => poster({ item_id: title, title, genres, language: 'Tamil' }).outerHTML;"
        "return [film('Roja', ['Drama']), film('Roja', ['Drama']), film('Bombay', ['Drama']), film('', [])] }"
    )
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[3]


def axe() -> str:
    """Return the source of axe-core."""
    folders = [Path(os.environ.get("PASAND_AXE", "")), Path(__file__).parents[3] / "node_modules" / "axe-core"]
    for folder in folders:
        if (folder / "axe.min.js").is_file():
            return (folder / "axe.min.js").read_text(encoding="utf-8")
    missing("axe-core (set PASAND_AXE to the folder that holds axe.min.js)")


@pytest.mark.parametrize(("scheme", "rules"), [("light", "{}"), ("dark", "{ runOnly: ['color-contrast'] }")])
def test_no_accessibility_violation(page: Page, served: str, scheme: Any, rules: str) -> None:
    source, user = axe(), quote(example(page, served, 6))
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    for address in ("", "#/new", "#/search", "#/report", f"#/u/{user}", f"#/u/{user}/pipeline", "#/item/RRR"):
        open_at(page, served, address)
        page.wait_for_load_state("networkidle")
        page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": source})
        found = page.evaluate(f"axe.run(document, {rules}).then(({{ violations }}) => violations)")
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], address
