"""The HTTP application: routes that translate between the wire and the service, and what stands guard before them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pasand.explanation import explain
from pasand.serving import openapi, wire
from pasand.serving.home import home, similar, view
from pasand.serving.openapi import Operation
from pasand.serving.service import Service
from pasand.serving.states.contract import StateGone
from pasand.serving.wire import Ask, Refused

logger = logging.getLogger(__name__)

PAGES = Path(__file__).parent / "pages"
SAFE = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
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
        Ask | wire.Many,
        wire.Answer | wire.Answers,
    )
)
async def recommend(service: Service, request: Request) -> Any:
    """Answer one request, or several."""
    asks, several = wire.read_asked(await body(service, request))
    answers = await service.batcher.ask(asks)
    service.keep([(ask.user, answer) for ask, answer in zip(asks, answers, strict=True)])
    return wire.Answers(answers) if several else answers[0]


@route(
    Operation(
        "GET",
        "/v1/users/{id}/recommendations",
        "Recommend items to a user.",
        "read",
        None,
        wire.Answer,
        (K, EXPLAIN),
    )
)
async def recommendations(service: Service, request: Request) -> wire.Answer:
    """Answer a user's request."""
    told = queried(request, {"k": int, "explain": bool})
    ask = Ask(user=identity(request), k=told.get("k", 10), explain=told.get("explain", False))
    answers = await service.batcher.ask([ask])
    service.keep([(ask.user, answers[0])])
    return answers[0]


@route(Operation("GET", "/v1/users/{id}/home", "The rows of a user's home page.", "read", None, wire.Home))
async def home_of(service: Service, request: Request) -> wire.Home:
    """Return a user's home."""
    queried(request, {})
    return home(service.engine, wire.Visitor(user=identity(request)))


@route(Operation("POST", "/v1/home", "The rows of a visitor's home page.", "read", wire.Visitor, wire.Home))
async def home_for(service: Service, request: Request) -> wire.Home:
    """Return the home of somebody who tells what they like."""
    return home(service.engine, wire.read(await body(service, request), wire.Visitor))


@route(Operation("GET", "/v1/users/{id}/view", "History, candidates and stages behind a user's answer.", "read"))
async def view_of(service: Service, request: Request) -> dict[str, Any]:
    """Return what stands behind a user's answer."""
    queried(request, {})
    return view(service.engine, identity(request))


@route(Operation("DELETE", "/v1/users/{id}", "Forget a user: events, history, logs.", "write", None, wire.Done))
async def forget(service: Service, request: Request) -> wire.Done:
    """Forget a user."""
    return await service.forget(identity(request))


@route(Operation("GET", "/v1/items/{id}/similar", "Items like one.", "read", None, wire.Similar, (K,)))
async def similar_to(service: Service, request: Request) -> wire.Similar:
    """Return what is recommended to somebody of whom nothing but this item is known."""
    told = queried(request, {"k": int})
    item = identity(request)
    variant, answer = similar(service.engine, item, told.get("k", 10))
    title = variant.bundle.data.title(variant.row(item))
    return wire.Similar(item, title, "recommended to somebody who took this item alone", answer.items)


@route(
    Operation(
        "GET",
        "/v1/items",
        "Items whose title contains a text, or what is popular.",
        "read",
        None,
        wire.Found,
        (K, ("search", str, "Text that the title contains."), ("language", str, "Only items in this language.")),
    )
)
async def items(service: Service, request: Request) -> wire.Found:
    """Return items by title."""
    told = queried(request, {"k": int, "search": str, "language": str})
    return wire.Found(await service.search(told.get("search", ""), told.get("language"), told.get("k", 20)))


@route(Operation("GET", "/v1/items/{id}", "What is known of an item.", "read", None, wire.Shown))
async def item(service: Service, request: Request) -> wire.Shown:
    """Return an item."""
    queried(request, {})
    service.engine.sync()
    variant, name = service.engine.variants[0], identity(request)
    row = variant.row(name)
    if row < 0:
        raise Refused(404, "unknown_item", f"there is no item {name!r}", "item")
    return wire.Shown(name, variant.bundle.data.title(row), variant.features(row))


@route(Operation("PUT", "/v1/items/{id}", "Put an item into the catalogue.", "write", wire.Item, wire.Done))
async def put_item(service: Service, request: Request) -> wire.Done:
    """Put an item into the catalogue; the next answer may hold it."""
    told, name = wire.read(await body(service, request), wire.Item), identity(request)
    notes = service.engine.variants[0].check(told.features)
    try:
        service.state.put_item(name, told.features)
    except StateGone as error:
        raise service.unkept("the item could not be kept", error) from None
    service.engine.sync()
    if service.engine.variants[0].row(name) < 0:
        raise Refused(422, "not_taken", "the bundle cannot take the item in; the reason is logged", "features")
    return wire.Done("; ".join(["the item is in the catalogue", *notes]))


@route(Operation("DELETE", "/v1/items/{id}", "Take an item out of the catalogue.", "write", None, wire.Done))
async def remove_item(service: Service, request: Request) -> wire.Done:
    """Take an item out of the catalogue; no answer from now on holds it."""
    name = identity(request)
    service.engine.sync()
    there = service.engine.variants[0].row(name) >= 0
    try:
        service.state.remove_item(name)
    except StateGone as error:
        raise service.unkept("the item could not be removed", error) from None
    service.engine.sync()
    return wire.Done("the item is not in the catalogue", there)


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
        raise Refused(422, "invalid", "the item is missing", "item")
    service.engine.sync()
    variant = service.engine.variant_of(told.get("user"))
    row = variant.row(told["item"])
    if row < 0:
        raise Refused(404, "unknown_item", f"there is no item {told['item']!r}", "item")
    ask = Ask(user=told.get("user"), k=told.get("k", 10))
    pasts, degraded = service.engine.pasts(variant, [ask.user])
    queries, _ = variant.queries([ask], pasts, service.engine.clock())
    found = explain(variant.recommender, queries, row, variant.bundle.assembly.components)
    about = {"user": ask.user, "variant": variant.name, "bundle": variant.digest, "degraded": degraded}
    return {**about, **found.as_json(variant.bundle.data)}


@route(Operation("POST", "/v1/events", "Keep events.", "write", wire.Event | wire.Events, wire.Accepted))
async def events(service: Service, request: Request) -> wire.Accepted:
    """Keep one event, several, or one a line; the next answers know them."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return await service.append(wire.read_events(await body(service, request), kind in LINES))


@route(Operation("POST", "/v1/admin/reload", "Take a bundle into use.", "admin", wire.Reload, wire.Swapped))
async def reload(service: Service, request: Request) -> wire.Swapped:
    """Load a bundle beside the one in use, try it, and answer from it from then on."""
    told = wire.read(await body(service, request) or b"{}", wire.Reload)
    return await service.reload(told.variant, told.bundle)


@route(Operation("POST", "/v1/admin/rollback", "Go back to the bundle before.", "admin", wire.Reload, wire.Swapped))
async def rollback(service: Service, request: Request) -> wire.Swapped:
    """Answer from the folder again that was in use before the last reload."""
    told = wire.read(await body(service, request) or b"{}", wire.Reload)
    return await service.rollback(told.variant)


@route(Operation("GET", "/v1/about", "What is served, and how fast.", "read"))
async def about(service: Service, request: Request) -> dict[str, Any]:
    """Return bundles, shares, languages, example users and latency."""
    return service.about()


@route(Operation("GET", "/healthz", "Whether the process lives.", None))
async def healthz(service: Service, request: Request) -> dict[str, str]:
    """Return that it does."""
    return {"status": "alive"}


@route(Operation("GET", "/readyz", "Whether requests are answered.", None))
async def readyz(service: Service, request: Request) -> dict[str, Any]:
    """Return what is served; refused while the service ends."""
    if not service.ready:
        raise Refused(503, "not_ready", "the service is starting or ending")
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
        raise Refused(404, "no_report", "the service was started without a report")
    return FileResponse(place, media_type="text/html", headers={"content-security-policy": REPORT})


@route(Operation("GET", "/", "The page.", None, content="text/html"))
async def page(service: Service, request: Request) -> Response:
    """Return the page."""
    return FileResponse(PAGES / "index.html", media_type="text/html")


def create_app(service: Service) -> Starlette:
    """Return the application of a service, which it closes in the end."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(service.follow())
        service.ready = True
        try:
            yield
        finally:
            service.ready = False
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await asyncio.to_thread(service.close)

    routes: list[Any] = [
        Route(
            operation.path.replace("{id}", "{id:path}"),
            _guarded(service, operation, endpoint),
            methods=[operation.method],
        )
        for operation, endpoint in TABLE
    ]
    routes.append(Mount("/static", StaticFiles(directory=PAGES)))
    handlers = {404: _missing, 405: _missing, Exception: _broken}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.add_middleware(_Safe)
    return app


def _guarded(service: Service, operation: Operation, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint behind keys, rates, measuring, and errors that tell no secrets."""

    async def answer(request: Request) -> Response:
        began = perf_counter()
        try:
            if operation.scope is not None:
                key = _key(request)
                service.settings.keys.check(key, operation.scope)
                service.rate.check(key or (request.client.host if request.client else ""))
            response = _response(await endpoint(service, request))
        except Refused as error:
            service.metrics.errors.labels(error.code).inc()
            response = _failure(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            mark = secrets.token_hex(6)
            logger.exception("request %s failed", mark)
            service.metrics.errors.labels("internal").inc()
            response = _failure(Refused(500, "internal", f"something went wrong; it is logged under {mark}"))
        seconds = perf_counter() - began
        service.metrics.request.labels(operation.path, response.status_code).observe(seconds)
        if operation.scope == "read":
            service.metrics.answered(seconds)
        service.log.add(
            method=operation.method,
            route=operation.path,
            status=response.status_code,
            ms=round(1000 * seconds, 3),
            **getattr(request.state, "told", {}),
        )
        return response

    return answer


def _key(request: Request) -> str | None:
    """Return the key that a request shows."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")


def _response(told: Any) -> Response:
    if isinstance(told, Response):
        return told
    return Response(msgspec.json.encode(told), media_type="application/json")


def _failure(error: Refused) -> Response:
    fault = wire.Failure(wire.Fault(error.code, error.message, error.field))
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}, 503: {"retry-after": "1"}}
    return Response(
        msgspec.json.encode(fault),
        status_code=error.status,
        media_type="application/json",
        headers=headers.get(error.status),
    )


async def _missing(request: Request, error: Any) -> Response:
    if error.status_code == 405:
        response = _failure(Refused(405, "method", f"{request.method} is not for this path"))
        response.headers.update(error.headers or {})
        return response
    return _failure(Refused(404, "no_route", "there is nothing at this path; /docs tells what there is"))


async def _broken(request: Request, error: Exception) -> Response:
    return _failure(Refused(500, "internal", "something went wrong"))


async def body(service: Service, request: Request) -> bytes:
    """Return the body of a request; raises Refused where it is too large, or takes too long to come."""
    most = service.settings.largest_body
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > most:
        raise Refused(413, "too_large", f"the body has {int(told):,} bytes, and {most:,} are allowed")
    parts, size = [], 0
    try:
        async with asyncio.timeout(service.settings.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise Refused(413, "too_large", f"the body has more than the {most:,} bytes that are allowed")
                parts.append(part)
    except TimeoutError:
        waited = service.settings.body_seconds
        raise Refused(408, "too_slow", f"the body did not come within {waited:g} seconds") from None
    return b"".join(parts)


def identity(request: Request) -> str:
    """Return the id in a path; raises Refused for an empty one, and for one that is too long."""
    found = str(request.path_params["id"])
    if not 0 < len(found) <= 256:
        raise Refused(422, "invalid", "an id has 1 to 256 characters", "id")
    return found


def queried(request: Request, known: Mapping[str, type]) -> dict[str, Any]:
    """Return the parameters behind the question mark; raises Refused for an unknown, doubled or wrong one."""
    found: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in known:
            there = ", ".join(known) or "none"
            raise Refused(422, "invalid", f"there is no parameter {name!r} here; there are: {there}", name)
        if name in found:
            raise Refused(422, "invalid", "it is given twice", name)
        if known[name] is bool:
            if text not in ("0", "1", "true", "false"):
                raise Refused(422, "invalid", "true or false is asked for", name)
            found[name] = text in ("1", "true")
        elif known[name] is int:
            if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= wire.MOST_ITEMS):
                raise Refused(422, "invalid", f"a whole number from 1 to {wire.MOST_ITEMS:,} is asked for", name)
            found[name] = int(text)
        else:
            if not 0 < len(text) <= 256:
                raise Refused(422, "invalid", "1 to 256 characters are asked for", name)
            found[name] = text
    return found


class _Safe:
    """Adds headers that keep browsers from doing harm to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in SAFE.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in self._headers if one[0] not in there)]
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)
