"""The HTTP application: every route behind keys, rates and figures, and answers that do browsers no harm."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pasand.serving import schemas
from pasand.serving.http.openapi import Operation
from pasand.serving.http.routes import PAGES, TABLE, Endpoint
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service

logger = logging.getLogger(__name__)

SAFE = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


Answering: TypeAlias = Callable[[Request], Awaitable[Response]]


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

    answers = {(one.method, one.path): _guarded(service, one, endpoint) for one, endpoint in TABLE}
    routes: list[Any] = [
        Route(path.replace("{id}", "{id:path}"), answer, methods=[method]) for (method, path), answer in answers.items()
    ]
    routes.append(Mount("/static", StaticFiles(directory=PAGES)))
    handlers = {404: _missing, 405: _missing, Exception: _broken}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.add_middleware(_Front, answers=answers)
    return app


def _guarded(service: Service, operation: Operation, endpoint: Endpoint) -> Answering:
    """Return an endpoint behind keys, rates, measuring, and errors that tell no secrets."""

    observed: dict[int, Any] = {}

    async def answer(request: Request) -> Response:
        began = perf_counter()
        try:
            if operation.scope is not None:
                key = _key(request)
                service.settings.keys.check(key, operation.scope)
                service.rate.check(key or (request.client.host if request.client else ""))
            response = _response(await endpoint(service, request))
        except RequestError as error:
            service.metrics.errors.labels(error.code).inc()
            response = _failure(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            mark = secrets.token_hex(6)
            logger.exception("request %s failed", mark)
            service.metrics.errors.labels("internal").inc()
            response = _failure(RequestError(500, "internal", f"something went wrong; it is logged under {mark}"))
        seconds = perf_counter() - began
        status = response.status_code
        if status not in observed:
            observed[status] = service.metrics.request.labels(operation.path, status)
        observed[status].observe(seconds)
        if operation.scope == "read":
            service.metrics.answered(seconds)
        service.log.add(
            method=operation.method,
            route=operation.path,
            status=status,
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


def _failure(error: RequestError) -> Response:
    fault = schemas.ErrorResponse(schemas.ErrorDetail(error.code, error.message, error.field))
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}, 503: {"retry-after": "1"}}
    return Response(
        msgspec.json.encode(fault),
        status_code=error.status,
        media_type="application/json",
        headers=headers.get(error.status),
    )


async def _missing(request: Request, error: Any) -> Response:
    if error.status_code == 405:
        response = _failure(RequestError(405, "method", f"{request.method} is not for this path"))
        response.headers.update(error.headers or {})
        return response
    return _failure(RequestError(404, "no_route", "there is nothing at this path; /docs tells what there is"))


async def _broken(request: Request, error: Exception) -> Response:
    return _failure(RequestError(500, "internal", "something went wrong"))


class _Front:
    """Answers paths without an id directly, and adds headers that keep browsers from doing harm to every response.

    The router in between looks through its routes and wraps each call three times, which is good for all but those
    few paths that are asked thousands of times a second.
    """

    def __init__(self, app: ASGIApp, answers: Mapping[tuple[str, str], Answering]) -> None:
        self._app, self._answers = app, answers
        self._headers = [(name.encode(), value.encode()) for name, value in SAFE.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = None if scope.get("root_path") else self._answers.get((scope["method"], scope["path"]))
        if answer is not None:
            response = await answer(Request(scope, receive))
            response.raw_headers = self._with_ours(response.raw_headers)
            await response(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._with_ours(message["headers"])
            await send(message)

        await self._app(scope, receive, sent)

    def _with_ours(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        there = [name for name, _ in headers]
        return [*headers, *(one for one in self._headers if one[0] not in there)]
