"""The HTTP application: every route with key check, rate limit, metrics, error responses and security headers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pasand.serving import schemas
from pasand.serving.http.openapi import Operation
from pasand.serving.http.origin import OriginCheck
from pasand.serving.http.routes import FILES, TABLE, Endpoint
from pasand.serving.http.security import address_of
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service

logger = logging.getLogger(__name__)

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""Headers of every response that does not set them itself."""

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def create_app(service: Service) -> Starlette:
    """Return the application of a service; it closes the service at shutdown."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(service.follow())
        service.feed.start(asyncio.get_running_loop().call_soon_threadsafe)
        service.shown.start()
        service.ready = True
        try:
            yield
        finally:
            service.ready = False
            following.cancel()
            await asyncio.wait([following])  # however it ended, what is waiting is stored
            await asyncio.to_thread(service.close)

    handlers = {(operation.method, operation.path): _handler(service, operation, run) for operation, run in TABLE}
    routes: list[Any] = [Route(path, handler, methods=[method]) for (method, path), handler in handlers.items()]
    routes.append(Mount("/static", FILES))
    exception_handlers = {404: _missing, 405: _missing, Exception: _internal_error}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=exception_handlers)
    app.router.redirect_slashes = False
    app.add_middleware(_FastPath, handlers=handlers)
    return app


def _handler(service: Service, operation: Operation, endpoint: Endpoint) -> Handler:
    """Return a request handler that checks keys and rates, measures time, and turns errors into responses."""

    observed: dict[int, Any] = {}
    settings = service.settings
    any_host = bool(settings.keys.scope) and not settings.hosts
    origin = OriginCheck(settings.hosts, settings.address, any_host)

    async def handle(request: Request) -> Response:
        began = perf_counter()
        try:
            if operation.scope is not None:
                origin.check(request.scope["headers"])
                check_caller(service, request, operation.scope)
            response = _response(await endpoint(service, request))
        except RequestError as error:
            service.metrics.errors.labels(error.code).inc()
            response = _error_response(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            mark = secrets.token_hex(6)
            logger.exception("request %s failed", mark)
            service.metrics.errors.labels("internal").inc()
            message = f"internal error; the server's log has the details under {mark}"
            response = _error_response(RequestError(500, "internal", message))
        finally:
            service.body_bytes -= request.scope.get("body_bytes", 0)
        seconds = perf_counter() - began
        status = response.status_code
        if status not in observed:
            observed[status] = service.metrics.request.labels(operation.path, status)
        observed[status].observe(seconds)
        if operation.scope == "read":
            service.metrics.observe_latency(seconds)
        service.log.add(
            method=operation.method,
            route=operation.path,
            status=status,
            ms=round(1000 * seconds, 3),
        )
        return response

    return handle


def check_caller(service: Service, request: Request, scope: str) -> None:
    """Raise RequestError for a wrong key and for a call beyond the rate, of a key or else of an address.

    Where the service needs no key for an operation, a key does not identify its caller. Wrong keys have a rate of
    their own by address, which callers with a right key never meet.
    """
    key, needed = _key(request), bool(service.keys.scope) or scope == "admin"
    if not needed:
        request.scope["caller"] = address_of(request.scope.get("client"))
        service.rate.check(request.scope["caller"])
        return
    try:
        service.keys.check(key, scope)
    except RequestError as error:
        if error.status == 401:
            service.failed_keys.check(address_of(request.scope.get("client")))
        raise
    request.scope["caller"] = key or ""
    service.rate.check(request.scope["caller"])


def _key(request: Request) -> str | None:
    """Return the API key that a request carries."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")


def _response(result: Any) -> Response:
    if isinstance(result, Response):
        return result
    return Response(msgspec.json.encode(result), media_type="application/json")


def _error_response(error: RequestError) -> Response:
    body = schemas.ErrorResponse(schemas.ErrorDetail(error.code, error.message, error.field))
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}, 503: {"retry-after": "1"}}
    chosen = headers.get(error.status)
    if error.code in ("overloaded", "out_of_time"):
        chosen = {"retry-after": "1", "connection": "close"}  # frees what the connection takes
    return Response(
        msgspec.json.encode(body),
        status_code=error.status,
        media_type="application/json",
        headers=chosen,
    )


async def _missing(request: Request, error: Any) -> Response:
    if error.status_code == 405:
        response = _error_response(RequestError(405, "method", f"this path does not support {request.method}"))
        response.headers.update(error.headers or {})
        return response
    return _error_response(RequestError(404, "no_route", "no route has this path; /docs lists all routes"))


async def _internal_error(request: Request, error: Exception) -> Response:
    return _error_response(RequestError(500, "internal", "internal error"))


class _FastPath:
    """Middleware that calls the handlers of paths directly, and adds the security headers everywhere.

    Starlette's router tries its routes in turn and wraps each call three times, and it sees paths without their
    escapes, where an id with a slash looks like two segments. It serves what is left: files and errors.
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._app, self._handlers = app, handlers
        self._headers = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        handler = self._handler(scope)
        if handler is not None:
            response = await handler(Request(scope, receive))
            self._secure(response.raw_headers)
            await response(scope, receive, send)
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = list(message["headers"])
                self._secure(message["headers"])
            await send(message)

        await self._app(scope, receive, send_secured)

    def _handler(self, scope: Scope) -> Handler | None:
        """Return the handler of a path, and put the escaped id of the path, its third segment, into the scope."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        handler = self._handlers.get((method, path))
        if handler is not None or not path.startswith("/v1/"):
            return handler
        segments = scope["raw_path"].decode("ascii", "replace").removeprefix(root).split("/")
        if len(segments) < 4:
            return None
        scope["path_params"] = {"id": segments[3]}
        return self._handlers.get((method, "/".join([*segments[:3], "{id}", *segments[4:]])))

    def _secure(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Add the security headers that are missing, in place: a response of a file completes the same list."""
        present = [name for name, _ in headers]
        headers.extend(header for header in self._headers if header[0] not in present)
