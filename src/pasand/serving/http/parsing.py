"""Reads the parts of an HTTP request (body, id in the path, query parameters) within the limits of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from pasand.serving import schemas
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service


async def read_body(service: Service, request: Request) -> bytes:
    """Return the body of a request; raises RequestError where it is too large, or arrives too slowly."""
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
                parts.append(part)
    except TimeoutError:
        seconds = service.settings.body_seconds
        raise RequestError(408, "too_slow", f"the body did not arrive within {seconds:g} seconds") from None
    return b"".join(parts)


def path_id(request: Request) -> str:
    """Return the id in the path; raises RequestError where it is empty or too long."""
    found = str(request.path_params["id"])
    if not 0 < len(found) <= 256:
        raise RequestError(422, "invalid", "an id must have 1 to 256 characters", "id")
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
            if not 0 < len(text) <= 256:
                raise RequestError(422, "invalid", "must have 1 to 256 characters", name)
            found[name] = text
    return found


def _unknown(name: str, known: Mapping[str, type]) -> str:
    renamed = schemas.RENAMED_FIELDS.get(name)
    if renamed in known:
        return f"there is no parameter {name!r}: it is called {renamed!r}"
    return f"there is no parameter {name!r} here; choose from: {', '.join(known) or 'none'}"
