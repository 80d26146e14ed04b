"""What an HTTP request holds, as endpoints ask for it: body, id, parameters; never more than is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from pasand.serving import schemas
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service


async def body(service: Service, request: Request) -> bytes:
    """Return the body of a request; raises Refused where it is too large, or takes too long to come."""
    most = service.settings.largest_body
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > most:
        raise RequestError(413, "too_large", f"the body has {int(told):,} bytes, and {most:,} are allowed")
    parts, size = [], 0
    try:
        async with asyncio.timeout(service.settings.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise RequestError(413, "too_large", f"the body has more than the {most:,} bytes that are allowed")
                parts.append(part)
    except TimeoutError:
        waited = service.settings.body_seconds
        raise RequestError(408, "too_slow", f"the body did not come within {waited:g} seconds") from None
    return b"".join(parts)


def identity(request: Request) -> str:
    """Return the id in a path; raises Refused for an empty one, and for one that is too long."""
    found = str(request.path_params["id"])
    if not 0 < len(found) <= 256:
        raise RequestError(422, "invalid", "an id has 1 to 256 characters", "id")
    return found


def queried(request: Request, known: Mapping[str, type]) -> dict[str, Any]:
    """Return the parameters behind the question mark; raises Refused for an unknown, doubled or wrong one."""
    found: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in known:
            there = ", ".join(known) or "none"
            raise RequestError(422, "invalid", f"there is no parameter {name!r} here; there are: {there}", name)
        if name in found:
            raise RequestError(422, "invalid", "it is given twice", name)
        if known[name] is bool:
            if text not in ("0", "1", "true", "false"):
                raise RequestError(422, "invalid", "true or false is asked for", name)
            found[name] = text in ("1", "true")
        elif known[name] is int:
            if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= schemas.MOST_ITEMS):
                raise RequestError(
                    422, "invalid", f"a whole number from 1 to {schemas.MOST_ITEMS:,} is asked for", name
                )
            found[name] = int(text)
        else:
            if not 0 < len(text) <= 256:
                raise RequestError(422, "invalid", "1 to 256 characters are asked for", name)
            found[name] = text
    return found
