"""Reads the parts of an HTTP request (body, id in the path, query parameters) within the limits of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

from pasand.data import ids
from pasand.serving import schemas
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service

JSON = ("application/json",)
"""Media types of a body of JSON."""
JSON_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
"""Media types of a body with one event a line."""
SMALL_BODY = 16_384
"""Bytes of a body that is read however many others are in memory."""
MAX_BODY_BYTES = 32_000_000
"""Bytes that the larger bodies of all requests in progress take at most; further ones are refused."""


def media_type(request: Request) -> str:
    """Return the media type of a body, without parameters; "" where the request names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(service: Service, request: Request, media_types: Sequence[str] = JSON) -> bytes:
    """Return the body of a request, b"" for none.

    Raises RequestError where it is of another media type or compressed, is too large, or arrives too slowly. A web
    page of another origin can send bodies of a few media types without permission, but not JSON.
    """
    body = await _received(service, request)
    if not body:
        return body
    given, coding = media_type(request), request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        cause = f"the body is compressed ({coding[:40]}), which the service does not read"
        raise RequestError(415, "compressed", f"{cause}; send it as it is, without the header Content-Encoding")
    if given not in media_types:
        cause = f"the body is of type {given[:100]!r}" if given else "the type of the body is missing"
        cure = " or ".join(f"Content-Type: {name}" for name in media_types[:2])
        raise RequestError(415, "media_type", f"{cause}; send the header {cure} (curl: --json in place of -d)")
    return body


async def _received(service: Service, request: Request) -> bytes:
    limit = service.settings.largest_body
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise RequestError(413, "too_large", f"the body has {int(declared):,} bytes; the limit is {limit:,}")
    parts, size = [], 0
    try:
        async with asyncio.timeout(service.settings.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise RequestError(413, "too_large", f"the body has more than {limit:,} bytes, the limit")
                if size > SMALL_BODY:
                    counted = request.scope.get("body_bytes", 0)
                    request.scope["body_bytes"] = size
                    service.body_bytes += size - counted
                    if service.body_bytes > MAX_BODY_BYTES:
                        cause = "too many large bodies arrive at the same time; try again later"
                        raise RequestError(503, "overloaded", cause)
                parts.append(part)
    except TimeoutError:
        seconds = service.settings.body_seconds
        raise RequestError(408, "too_slow", f"the body did not arrive within {seconds:g} seconds") from None
    return b"".join(parts)


def path_id(request: Request, *, new: bool = False) -> str:
    """Return the id in the path, a percent-encoded segment; raises RequestError where it is empty or not UTF-8.

    Any id that may exist can be named; one that is to be stored (`new`) must follow the rule for ids.
    """
    try:
        found = unquote(request.path_params["id"], errors="strict")
    except UnicodeDecodeError:
        raise RequestError(422, "invalid", "an id in a path must be percent-encoded UTF-8", "id") from None
    fault = ids.fault(found) if new or not found else None
    if fault is not None:
        raise RequestError(422, "invalid", f"{fault}; {ids.RULE}", "id")
    return found


def query_parameters(request: Request, known: Mapping[str, type]) -> dict[str, Any]:
    """Return the query parameters by name; raises RequestError for an unknown, repeated or invalid one."""
    found: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in known:
            raise RequestError(422, "invalid", _unknown(name, known), name)
        if name in found:
            raise RequestError(422, "invalid", "the parameter is repeated; give it once", name)
        if known[name] is bool:
            if text not in ("0", "1", "true", "false"):
                raise RequestError(422, "invalid", "must be true or false", name)
            found[name] = text in ("1", "true")
        elif known[name] is int:
            if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= schemas.MAX_ITEMS):
                raise RequestError(422, "invalid", f"must be a whole number from 1 to {schemas.MAX_ITEMS:,}", name)
            found[name] = int(text)
        else:
            longest = schemas.MAX_GIVEN_ID if name in ("user_id", "item_id") else 256
            if not 0 < len(text) <= longest:
                raise RequestError(422, "invalid", f"must have 1 to {longest:,} characters", name)
            found[name] = text
    return found


def _unknown(name: str, known: Mapping[str, type]) -> str:
    renamed = schemas.RENAMED_FIELDS.get(name)
    if renamed in known:
        return f"there is no parameter {name!r}: it is called {renamed!r}"
    return f"there is no parameter {name!r} here; choose from: {', '.join(known) or 'none'}"
