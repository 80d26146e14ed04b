"""The routes: endpoints that translate between the wire and the service, and say what they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from pasand.explanation import explain
from pasand.serving import schemas
from pasand.serving.engine.about import about
from pasand.serving.engine.home import home, similar, view
from pasand.serving.http import openapi
from pasand.serving.http.openapi import Operation
from pasand.serving.http.parsing import body, identity, queried
from pasand.serving.schemas import RecommendRequest, RequestError
from pasand.serving.service import Service
from pasand.serving.states.contract import StateUnavailable

PAGES = Path(__file__).parent / "pages"
REPORT = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
)
"""Policy of the leaderboard report, a page that is whole by itself."""
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")

Endpoint: TypeAlias = Callable[[Service, Request], Awaitable[Any]]
TABLE: list[tuple[Operation, Endpoint]] = []
"""Every route, in the order in which they are tried."""


def route(operation: Operation) -> Callable[[Endpoint], Endpoint]:
    """Put an endpoint into the table of routes."""

    def put(endpoint: Endpoint) -> Endpoint:
        TABLE.append((operation, endpoint))
        return endpoint

    return put


K = ("k", int, "Number of items wanted.")
EXPLAIN = ("explain", bool, "Say which items of the history speak for each one.")


@route(
    Operation(
        "POST",
        "/v1/recommend",
        "Recommend items to one user or many.",
        "read",
        RecommendRequest | schemas.BatchRequest,
        schemas.RecommendResponse | schemas.BatchResponse,
    )
)
async def recommend(service: Service, request: Request) -> Any:
    """Answer one request, or several."""
    asks, several = schemas.read_requests(await body(service, request))
    answers = await service.batcher.ask(asks)
    service.keep([(ask.user, answer) for ask, answer in zip(asks, answers, strict=True)])
    return schemas.BatchResponse(answers) if several else answers[0]


@route(
    Operation(
        "GET",
        "/v1/users/{id}/recommendations",
        "Recommend items to a user.",
        "read",
        None,
        schemas.RecommendResponse,
        (K, EXPLAIN),
    )
)
async def recommendations(service: Service, request: Request) -> schemas.RecommendResponse:
    """Answer a user's request."""
    told = queried(request, {"k": int, "explain": bool})
    ask = RecommendRequest(user=identity(request), k=told.get("k", 10), explain=told.get("explain", False))
    answers = await service.batcher.ask([ask])
    service.keep([(ask.user, answers[0])])
    return answers[0]


@route(Operation("GET", "/v1/users/{id}/home", "The rows of a user's home page.", "read", None, schemas.Home))
async def home_of(service: Service, request: Request) -> schemas.Home:
    """Return a user's home."""
    queried(request, {})
    return home(service.engine, schemas.HomeRequest(user=identity(request)))


@route(Operation("POST", "/v1/home", "The rows of a visitor's home page.", "read", schemas.HomeRequest, schemas.Home))
async def home_for(service: Service, request: Request) -> schemas.Home:
    """Return the home of somebody who tells what they like."""
    return home(service.engine, schemas.read(await body(service, request), schemas.HomeRequest))


@route(Operation("GET", "/v1/users/{id}/view", "History, candidates and stages behind a user's answer.", "read"))
async def view_of(service: Service, request: Request) -> dict[str, Any]:
    """Return what stands behind a user's answer."""
    queried(request, {})
    return view(service.engine, identity(request))


@route(
    Operation("DELETE", "/v1/users/{id}", "Forget a user: events, history, logs.", "write", None, schemas.ChangeResult)
)
async def forget(service: Service, request: Request) -> schemas.ChangeResult:
    """Forget a user."""
    return await service.forget(identity(request))


@route(Operation("GET", "/v1/items/{id}/similar", "Items like one.", "read", None, schemas.SimilarItems, (K,)))
async def similar_to(service: Service, request: Request) -> schemas.SimilarItems:
    """Return what is recommended to somebody of whom nothing but this item is known."""
    told = queried(request, {"k": int})
    item = identity(request)
    variant, answer = similar(service.engine, item, told.get("k", 10))
    title = variant.bundle.data.title(variant.row(item))
    return schemas.SimilarItems(item, title, "recommended to somebody who took this item alone", answer.items)


@route(
    Operation(
        "GET",
        "/v1/items",
        "Items whose title contains a text, or what is popular.",
        "read",
        None,
        schemas.SearchResult,
        (K, ("search", str, "Text that the title contains."), ("language", str, "Only items in this language.")),
    )
)
async def items(service: Service, request: Request) -> schemas.SearchResult:
    """Return items by title."""
    told = queried(request, {"k": int, "search": str, "language": str})
    return schemas.SearchResult(await service.search(told.get("search", ""), told.get("language"), told.get("k", 20)))


@route(Operation("GET", "/v1/items/{id}", "What is known of an item.", "read", None, schemas.CatalogueItem))
async def item(service: Service, request: Request) -> schemas.CatalogueItem:
    """Return an item."""
    queried(request, {})
    service.engine.sync()
    variant, name = service.engine.variants[0], identity(request)
    row = variant.row(name)
    if row < 0:
        raise RequestError(404, "unknown_item", f"there is no item {name!r}", "item")
    return schemas.CatalogueItem(name, variant.bundle.data.title(row), variant.features(row))


@route(
    Operation("PUT", "/v1/items/{id}", "Put an item into the catalogue.", "write", schemas.Item, schemas.ChangeResult)
)
async def put_item(service: Service, request: Request) -> schemas.ChangeResult:
    """Put an item into the catalogue; the next answer may hold it."""
    told, name = schemas.read(await body(service, request), schemas.Item), identity(request)
    notes = service.engine.variants[0].check(told.features)
    try:
        service.state.put_item(name, told.features)
    except StateUnavailable as error:
        raise service.unkept("the item could not be kept", error) from None
    service.engine.sync()
    if service.engine.variants[0].row(name) < 0:
        raise RequestError(422, "not_taken", "the bundle cannot take the item in; the reason is logged", "features")
    return schemas.ChangeResult("; ".join(["the item is in the catalogue", *notes]))


@route(Operation("DELETE", "/v1/items/{id}", "Take an item out of the catalogue.", "write", None, schemas.ChangeResult))
async def remove_item(service: Service, request: Request) -> schemas.ChangeResult:
    """Take an item out of the catalogue; no answer from now on holds it."""
    name = identity(request)
    service.engine.sync()
    there = service.engine.variants[0].row(name) >= 0
    try:
        service.state.remove_item(name)
    except StateUnavailable as error:
        raise service.unkept("the item could not be removed", error) from None
    service.engine.sync()
    return schemas.ChangeResult("the item is not in the catalogue", there)


@route(
    Operation(
        "GET",
        "/v1/explain",
        "Why an item stands where it stands for a user.",
        "read",
        query=(("*item", str, "Id of the item."), ("user", str, "Id of the user; nobody in particular without."), K),
    )
)
async def explained(service: Service, request: Request) -> dict[str, Any]:
    """Return the way of an item through the recommender."""
    told = queried(request, {"user": str, "item": str, "k": int})
    if "item" not in told:
        raise RequestError(422, "invalid", "the item is missing", "item")
    service.engine.sync()
    variant = service.engine.variant_of(told.get("user"))
    row = variant.row(told["item"])
    if row < 0:
        raise RequestError(404, "unknown_item", f"there is no item {told['item']!r}", "item")
    ask = RecommendRequest(user=told.get("user"), k=told.get("k", 10))
    recent_events, degraded = service.engine.recent_events(variant, [ask.user])
    queries, _ = variant.queries([ask], recent_events, service.engine.clock())
    found = explain(variant.recommender, queries, row, variant.bundle.assembly.components)
    about = {"user": ask.user, "variant": variant.name, "bundle": variant.digest, "degraded": degraded}
    return {**about, **found.as_json(variant.bundle.data)}


@route(Operation("POST", "/v1/events", "Keep events.", "write", schemas.Event | schemas.Events, schemas.Accepted))
async def events(service: Service, request: Request) -> schemas.Accepted:
    """Keep one event, several, or one a line; the next answers know them."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return await service.append(schemas.read_events(await body(service, request), kind in LINES))


@route(
    Operation("POST", "/v1/admin/reload", "Take a bundle into use.", "admin", schemas.ReloadRequest, schemas.SwapResult)
)
async def reload(service: Service, request: Request) -> schemas.SwapResult:
    """Load a bundle beside the one in use, try it, and answer from it from then on."""
    told = schemas.read(await body(service, request) or b"{}", schemas.ReloadRequest)
    return await service.reload(told.variant, told.bundle)


@route(
    Operation(
        "POST",
        "/v1/admin/rollback",
        "Go back to the bundle before.",
        "admin",
        schemas.ReloadRequest,
        schemas.SwapResult,
    )
)
async def rollback(service: Service, request: Request) -> schemas.SwapResult:
    """Answer from the folder again that was in use before the last reload."""
    told = schemas.read(await body(service, request) or b"{}", schemas.ReloadRequest)
    return await service.rollback(told.variant)


@route(Operation("GET", "/v1/about", "What is served, and how fast.", "read"))
async def about_service(service: Service, request: Request) -> dict[str, Any]:
    """Return bundles, shares, languages, example users and latency."""
    return about(service)


@route(Operation("GET", "/healthz", "Whether the process lives.", None))
async def healthz(service: Service, request: Request) -> dict[str, str]:
    """Return that it does."""
    return {"status": "alive"}


@route(Operation("GET", "/readyz", "Whether requests are answered.", None))
async def readyz(service: Service, request: Request) -> dict[str, Any]:
    """Return what is served; refused while the service ends."""
    if not service.ready:
        raise RequestError(503, "not_ready", "the service is starting or ending")
    bundles = {one.name: one.digest for one in service.engine.variants}
    return {"status": "degraded" if service.engine.degraded else "ready", "bundles": bundles}


@route(Operation("GET", "/metrics", "Figures for Prometheus.", "read", content="text/plain"))
async def metrics(service: Service, request: Request) -> Response:
    """Return all figures."""
    service.refresh_metrics()
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


@route(Operation("GET", "/openapi.json", "This document.", None))
async def described(service: Service, request: Request) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return openapi.document([operation for operation, _ in TABLE])


@route(Operation("GET", "/docs", "This document for people.", None, content="text/html"))
async def docs(service: Service, request: Request) -> Response:
    """Return the documentation as a page."""
    return HTMLResponse(openapi.page([operation for operation, _ in TABLE]))


@route(Operation("GET", "/report", "The leaderboard report.", None, content="text/html"))
async def report(service: Service, request: Request) -> Response:
    """Return the report that came with the service."""
    place = service.settings.report
    if place is None or not Path(place).is_file():
        raise RequestError(404, "no_report", "the service was started without a report")
    return FileResponse(place, media_type="text/html", headers={"content-security-policy": REPORT})


@route(Operation("GET", "/", "The page.", None, content="text/html"))
async def page(service: Service, request: Request) -> Response:
    """Return the page."""
    return FileResponse(PAGES / "index.html", media_type="text/html")
