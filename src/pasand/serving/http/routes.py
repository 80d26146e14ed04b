"""The table of routes: each endpoint translates between HTTP and the service, and carries its own description."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from pasand.serving import schemas
from pasand.serving.engine.about import about
from pasand.serving.engine.home import HomePlan, explained, home_plan, similar, view
from pasand.serving.engine.onboarding import items_to_rate
from pasand.serving.http import docs_page, openapi
from pasand.serving.http.openapi import Operation
from pasand.serving.http.parsing import JSON, JSON_LINES, media_type, path_id, query_parameters, read_body
from pasand.serving.schemas import RecommendRequest, RequestError
from pasand.serving.service import Service

PAGES = Path(__file__).parents[1] / "pages"
"""Files of the web page."""
FILES = StaticFiles(directory=PAGES)
"""Serves them, with 304 to a browser that has the same file."""
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
)
"""Content security policy of the leaderboard report, a self-contained page."""

Endpoint: TypeAlias = Callable[[Service, Request], Awaitable[Any]]
TABLE: list[tuple[Operation, Endpoint]] = []
"""Every route, in the order in which they are tried."""


def route(operation: Operation) -> Callable[[Endpoint], Endpoint]:
    """Add an endpoint to the table of routes."""

    def add(endpoint: Endpoint) -> Endpoint:
        TABLE.append((operation, endpoint))
        return endpoint

    return add


DIAGNOSTIC_COST = 4
"""Requests as which a view or an explanation counts: each source recommends for itself."""
K = ("k", int, "Number of items.")
EXPLAIN = ("explain", bool, "Whether to give the items of the history that support each recommendation.")


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
    """Return the recommendations for one request or a batch."""
    requests, is_batch = schemas.decode_requests(await read_body(service, request))
    service.rate.charge(request.scope["caller"], len(requests) - 1)  # a call costs as many as it has requests
    responses = await service.batcher.recommend(requests)
    service.record([(each.user_id, response) for each, response in zip(requests, responses, strict=True)])
    return schemas.BatchResponse(responses) if is_batch else responses[0]


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
    """Return the recommendations for a user."""
    given = query_parameters(request, {"k": int, "explain": bool})
    wanted = RecommendRequest(user_id=path_id(request), k=given.get("k", 10), explain=given.get("explain", False))
    responses = await service.batcher.recommend([wanted])
    service.record([(wanted.user_id, responses[0])])
    return responses[0]


@route(Operation("GET", "/v1/users/{id}/home", "Get the rows of a user's home page.", "read", None, schemas.Home))
async def user_home(service: Service, request: Request) -> schemas.Home:
    """Return a user's home page."""
    query_parameters(request, {})
    return await _home(service, request, schemas.HomeRequest(user_id=path_id(request)))


@route(
    Operation("POST", "/v1/home", "Get the rows of a visitor's home page.", "read", schemas.HomeRequest, schemas.Home)
)
async def visitor_home(service: Service, request: Request) -> schemas.Home:
    """Return the home page of a visitor whose history and features are in the request."""
    return await _home(service, request, schemas.decode(await read_body(service, request), schemas.HomeRequest))


async def _home(service: Service, request: Request, visitor: schemas.HomeRequest) -> schemas.Home:
    """Return a home page; a call counts as one request for each row, and these wait like those of other calls."""
    plan = await service.batcher.compute(lambda: home_plan(service.engine, visitor))
    service.rate.charge(request.scope["caller"], len(plan.requests) - 1)
    responses = await _rows(service, plan)
    while plan.variant not in service.engine.variants:  # its bundle was swapped meanwhile
        plan = await service.batcher.compute(lambda: home_plan(service.engine, visitor))
        responses = await _rows(service, plan)
    return plan.page(responses)


async def _rows(service: Service, plan: HomePlan) -> list[schemas.RecommendResponse]:
    """Return the responses to the requests of a home page: together, or one after the other where rows depend."""
    if not plan.one_by_one:
        return await service.batcher.recommend(plan.requests)
    responses: list[schemas.RecommendResponse] = []
    for _ in plan.plans:
        responses += await service.batcher.recommend([plan.request_after(responses)])
    return responses


@route(
    Operation(
        "POST",
        "/v1/onboarding",
        "Get the items that a new user should rate next.",
        "read",
        schemas.OnboardingRequest,
        schemas.OnboardingItems,
    )
)
async def onboarding(service: Service, request: Request) -> schemas.OnboardingItems:
    """Return the next items to rate, given the responses so far."""
    visitor = schemas.decode(await read_body(service, request), schemas.OnboardingRequest)
    return await service.batcher.compute(lambda: items_to_rate(service.engine, visitor))


@route(Operation("GET", "/v1/users/{id}/view", "Get the history, candidates and stages behind a user's list.", "read"))
async def user_view(service: Service, request: Request) -> dict[str, Any]:
    """Return how a user's list was made: history, candidates of each source, rank and score after each stage."""
    query_parameters(request, {})
    user = path_id(request)
    service.rate.charge(request.scope["caller"], DIAGNOSTIC_COST - 1)
    return await service.batcher.compute(lambda: view(service.engine, user))


@route(
    Operation("DELETE", "/v1/users/{id}", "Forget a user: events, history, logs.", "write", None, schemas.ChangeResult)
)
async def forget(service: Service, request: Request) -> schemas.ChangeResult:
    """Forget a user."""
    return await service.forget(path_id(request))


@route(
    Operation("GET", "/v1/items/{id}/similar", "Get items similar to one.", "read", None, schemas.SimilarItems, (K,))
)
async def similar_items(service: Service, request: Request) -> schemas.SimilarItems:
    """Return the recommendations for a user whose history is this item alone."""
    given = query_parameters(request, {"k": int})
    item_id = path_id(request)
    variant, response = await service.batcher.compute(lambda: similar(service.engine, item_id, given.get("k", 10)))
    title = variant.bundle.data.title(variant.row(item_id))
    method = "recommended to a user whose history is this item alone"
    return schemas.SimilarItems(item_id, title, method, response.items)


@route(
    Operation(
        "GET",
        "/v1/items",
        "Search the catalogue by title, names and year, or get popular items.",
        "read",
        None,
        schemas.SearchResult,
        (
            K,
            ("search", str, "Words of the title, of names or a year; spelling and script may differ."),
            ("language", str, "Only items in this language."),
        ),
    )
)
async def items(service: Service, request: Request) -> schemas.SearchResult:
    """Return items that a text finds, or popular items."""
    given = query_parameters(request, {"k": int, "search": str, "language": str})
    found = await service.search(given.get("search", ""), given.get("language"), given.get("k", 20))
    return schemas.SearchResult(found)


@route(Operation("GET", "/v1/items/{id}", "Get an item's title and features.", "read", None, schemas.CatalogueItem))
async def item(service: Service, request: Request) -> schemas.CatalogueItem:
    """Return an item of the catalogue."""
    query_parameters(request, {})
    service.engine.sync()
    variant, item_id = service.engine.variants[0], path_id(request)
    row = variant.row(item_id)
    if row < 0:
        raise RequestError(404, "unknown_item", f"there is no item {item_id!r}", "item_id")
    return schemas.CatalogueItem(item_id, variant.bundle.data.title(row), variant.features(row))


@route(Operation("PUT", "/v1/items/{id}", "Add or update an item.", "write", schemas.Item, schemas.ChangeResult))
async def put_item(service: Service, request: Request) -> schemas.ChangeResult:
    """Add an item to the catalogue, or update its features; the next response may contain it."""
    given, item_id = schemas.decode(await read_body(service, request), schemas.Item), path_id(request, new=True)
    notes = service.engine.variants[0].check_features(given.features)
    await service.change(partial(service.state.put_item, item_id, given.features), "the item could not be stored")
    service.engine.sync()
    if service.engine.variants[0].row(item_id) < 0:
        message = "the bundle cannot add the item; the server's log has the cause"
        raise RequestError(422, "item_not_added", message, "features")
    return schemas.ChangeResult("; ".join(["the item is in the catalogue", *notes]))


@route(Operation("DELETE", "/v1/items/{id}", "Remove an item.", "write", None, schemas.ChangeResult))
async def remove_item(service: Service, request: Request) -> schemas.ChangeResult:
    """Remove an item from the catalogue; no later response contains it."""
    item_id = path_id(request)
    service.engine.sync()
    found = service.engine.variants[0].row(item_id) >= 0
    await service.change(partial(service.state.remove_item, item_id), "the item could not be removed")
    service.engine.sync()
    return schemas.ChangeResult("the item is not in the catalogue", found)


@route(
    Operation(
        "GET",
        "/v1/explain",
        "Explain an item's rank in a user's list.",
        "read",
        query=(
            ("*item_id", str, "Id of the item."),
            ("user_id", str, "Id of the user; an anonymous user if it is left out."),
            K,
        ),
    )
)
async def explanation(service: Service, request: Request) -> dict[str, Any]:
    """Return an item's rank and score after each step of the recommender, and what supports it."""
    given = query_parameters(request, {"user_id": str, "item_id": str, "k": int})
    if "item_id" not in given:
        raise RequestError(422, "invalid", "the parameter item_id is missing", "item_id")
    wanted = RecommendRequest(user_id=given.get("user_id"), k=given.get("k", 10))
    service.rate.charge(request.scope["caller"], DIAGNOSTIC_COST - 1)
    return await service.batcher.compute(lambda: explained(service.engine, wanted, given["item_id"]))


@route(Operation("POST", "/v1/events", "Store events.", "write", schemas.Event | schemas.Events, schemas.Accepted))
async def events(service: Service, request: Request) -> schemas.Accepted:
    """Store one event, several, or one a line; the next responses use them."""
    body = await read_body(service, request, (*JSON, *JSON_LINES))
    return await service.append(schemas.decode_events(body, media_type(request) in JSON_LINES))


@route(
    Operation(
        "POST", "/v1/admin/reload", "Load and activate a bundle.", "admin", schemas.ReloadRequest, schemas.SwapResult
    )
)
async def reload(service: Service, request: Request) -> schemas.SwapResult:
    """Load a bundle beside the active one, check it, and serve from it from then on."""
    given = schemas.decode(await read_body(service, request) or b"{}", schemas.ReloadRequest)
    return await service.reload(given.variant, given.bundle)


@route(
    Operation(
        "POST",
        "/v1/admin/rollback",
        "Activate the previous bundle.",
        "admin",
        schemas.ReloadRequest,
        schemas.SwapResult,
    )
)
async def rollback(service: Service, request: Request) -> schemas.SwapResult:
    """Serve again from the folder that was in use before the last reload."""
    given = schemas.decode(await read_body(service, request) or b"{}", schemas.ReloadRequest)
    return await service.rollback(given.variant)


@route(Operation("GET", "/v1/about", "Describe the service: bundles, catalogue and latency.", "read"))
async def about_service(service: Service, request: Request) -> dict[str, Any]:
    """Return bundles, shares, languages, example users and latency."""
    return about(service)


@route(Operation("GET", "/healthz", "Check that the process is alive.", None))
async def healthz(service: Service, request: Request) -> dict[str, str]:
    """Return a constant."""
    return {"status": "alive"}


@route(Operation("GET", "/readyz", "Check that the service accepts requests.", None))
async def readyz(service: Service, request: Request) -> dict[str, Any]:
    """Return the active bundles, the variants whose new one was refused, and what the state has lost.

    The status is 503 while the service starts or ends.
    """
    if not service.ready:
        raise RequestError(503, "not_ready", "the service is starting or shutting down")
    bundles = {variant.name: variant.digest for variant in service.engine.variants}
    status = "degraded" if service.engine.degraded else "ready"
    found: dict[str, Any] = {"status": status, "bundles": bundles}
    if service.not_followed:  # the bundles in use go on, and the log has the causes
        found["not_followed"] = sorted(service.not_followed)
    if service.older_state.lost:
        found["state_lacks"] = service.older_state.lost
    return found


@route(Operation("GET", "/metrics", "Get metrics in the format of Prometheus.", "read", content="text/plain"))
async def metrics(service: Service, request: Request) -> Response:
    """Return all metrics."""
    service.refresh_metrics()
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


@route(Operation("GET", "/openapi.json", "Get this document.", None))
async def openapi_document(service: Service, request: Request) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return openapi.document([operation for operation, _ in TABLE])


@route(Operation("GET", "/docs", "Get this document as a page.", None, content="text/html"))
async def docs(service: Service, request: Request) -> Response:
    """Return the documentation as a page: its commands name an item of the catalogue, unless the service uses keys."""
    data = service.engine.variants[0].bundle.data
    item = data.items.ids([0])[0] if data.n_items and not service.settings.keys.scope else "ITEM"
    address = str(request.base_url).rstrip("/")
    plain = re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./-]*)?", address, re.ASCII)  # a shell reads it
    operations = [operation for operation, _ in TABLE]
    return HTMLResponse(docs_page.page(operations, item, address if plain else docs_page.ADDRESS))


@route(Operation("GET", "/report", "Get the leaderboard report.", "read", content="text/html"))
async def report(service: Service, request: Request) -> Response:
    """Return the report that the service was started with."""
    path = service.settings.report
    if path is None or not Path(path).is_file():
        raise RequestError(404, "no_report", "the service was started without a report")
    return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})


@route(Operation("GET", "/v1/audit", "Get the audit that the service was started with.", "read"))
async def audit(service: Service, request: Request) -> Response:
    """Return the audit as `pasand audit --json` writes it."""
    path = service.settings.audit
    if path is None or not Path(path).is_file():
        raise RequestError(404, "no_audit", "the service was started without an audit")
    return FileResponse(path, media_type="application/json")


@route(Operation("GET", "/favicon.ico", "Get the icon of the page.", None, content="image/svg+xml"))
async def icon(service: Service, request: Request) -> Response:
    """Return the icon, which browsers request for pages that name none."""
    return await FILES.get_response("icon.svg", request.scope)


@route(Operation("GET", "/", "Get the web page.", None, content="text/html"))
async def page(service: Service, request: Request) -> Response:
    """Return the web page."""
    return await FILES.get_response("index.html", request.scope)
