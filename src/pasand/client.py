"""A client of the service, synchronous and asynchronous: the same methods, and answers as typed structures.

What can be repeated without harm is tried again where the service is busy or cannot be reached: questions, and events,
which get their ids here, so that one that arrived twice is kept once. Changes of the catalogue and of bundles are not.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, Generic, Self, TypeAlias, TypeVar, overload
from urllib.parse import quote

import httpx
import msgspec

from pasand.serving.schemas import (
    Accepted,
    BatchRequest,
    BatchResponse,
    Between,
    Card,
    CatalogueItem,
    ChangeResult,
    ErrorResponse,
    Event,
    Events,
    HistoryItem,
    Home,
    HomeRequest,
    Item,
    ItemName,
    Recommended,
    RecommendRequest,
    RecommendResponse,
    ReloadRequest,
    Row,
    SearchResult,
    SimilarItems,
    SwapResult,
)

__all__ = [
    "Accepted",
    "AsyncClient",
    "BatchResponse",
    "Between",
    "Card",
    "CatalogueItem",
    "ChangeResult",
    "Client",
    "Event",
    "HistoryItem",
    "Home",
    "HomeRequest",
    "ItemName",
    "RecommendRequest",
    "RecommendResponse",
    "Recommended",
    "Row",
    "SearchResult",
    "ServiceError",
    "SimilarItems",
    "SwapResult",
]

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]

BUSY = (429, 503)
"""Statuses after which a call that can be repeated is."""
BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""Failures after which a call that can be repeated is; not one that is late, as asking again makes it later."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds before the first repetition, and before any; between them they double."""
MOST_PATIENT = 60.0
"""Seconds that the service may ask to wait; it is not asked again where it wants more."""


class ServiceError(Exception):
    """A call that got no answer, and why."""

    def __init__(self, status: int | None, code: str, message: str, field: str | None = None) -> None:
        where = f" ({field})" if field else ""
        super().__init__(f"{code}{f' [{status}]' if status else ''}: {message}{where}")
        self.status = status
        """HTTP status; None where no response came."""
        self.code = code
        """For programs: the service's own, or unreachable, timeout, not_understood."""
        self.message = message
        """A sentence for people."""
        self.field = field
        """What of the call is at fault; None: nothing in particular."""


@dataclass(frozen=True)
class _Call(Generic[T]):
    """What is sent, and what comes back."""

    method: str
    path: str
    kind: Any
    """Structure of the answer, T."""
    told: Any = None
    """Structure of the body; None: there is none."""
    query: Mapping[str, Any] = field(default_factory=dict)
    safe: bool = True
    """Whether doing it twice is the same as doing it once."""

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        query = {name: value for name, value in self.query.items() if value is not None}
        body = None if self.told is None else msgspec.json.encode(self.told)
        headers = {} if body is None else {"content-type": "application/json"}
        return client.build_request(self.method, self.path, params=query, content=body, headers=headers)


def _recommend_one(ask: RecommendRequest) -> _Call[RecommendResponse]:
    return _Call("POST", "/v1/recommend", RecommendResponse, ask)


def _recommend_many(asks: Sequence[RecommendRequest]) -> _Call[BatchResponse]:
    return _Call("POST", "/v1/recommend", BatchResponse, BatchRequest(list(asks)))


def _recommendations(user: str, k: int, explain: bool) -> _Call[RecommendResponse]:
    query = {"k": k, "explain": int(explain)}
    return _Call("GET", f"/v1/users/{_escaped(user)}/recommendations", RecommendResponse, query=query)


def _home(visitor: str | HomeRequest) -> _Call[Home]:
    if isinstance(visitor, str):
        return _Call("GET", f"/v1/users/{_escaped(visitor)}/home", Home)
    return _Call("POST", "/v1/home", Home, visitor)


def _view(user: str) -> _Call[Json]:
    return _Call("GET", f"/v1/users/{_escaped(user)}/view", Json)


def _similar(item: str, k: int) -> _Call[SimilarItems]:
    return _Call("GET", f"/v1/items/{_escaped(item)}/similar", SimilarItems, query={"k": k})


def _item(item: str) -> _Call[CatalogueItem]:
    return _Call("GET", f"/v1/items/{_escaped(item)}", CatalogueItem)


def _items(search: str | None, language: str | None, k: int) -> _Call[SearchResult]:
    return _Call("GET", "/v1/items", SearchResult, query={"search": search or None, "language": language, "k": k})


def _explain(item: str, user: str | None, k: int) -> _Call[Json]:
    return _Call("GET", "/v1/explain", Json, query={"item": item, "user": user, "k": k})


def _events(events: Event | Sequence[Event]) -> _Call[Accepted]:
    listed = [events] if isinstance(events, Event) else events
    named = [one if one.id else msgspec.structs.replace(one, id=secrets.token_hex(12)) for one in listed]
    return _Call("POST", "/v1/events", Accepted, Events(named))


def _put_item(item: str, features: Mapping[str, Any]) -> _Call[ChangeResult]:
    return _Call("PUT", f"/v1/items/{_escaped(item)}", ChangeResult, Item(dict(features)), safe=False)


def _remove_item(item: str) -> _Call[ChangeResult]:
    return _Call("DELETE", f"/v1/items/{_escaped(item)}", ChangeResult, safe=False)


def _forget(user: str) -> _Call[ChangeResult]:
    return _Call("DELETE", f"/v1/users/{_escaped(user)}", ChangeResult, safe=False)


def _reload(bundle: str | None, variant: str | None) -> _Call[SwapResult]:
    return _Call("POST", "/v1/admin/reload", SwapResult, ReloadRequest(bundle, variant), safe=False)


def _rollback(variant: str | None) -> _Call[SwapResult]:
    return _Call("POST", "/v1/admin/rollback", SwapResult, ReloadRequest(None, variant), safe=False)


def _about() -> _Call[Json]:
    return _Call("GET", "/v1/about", Json)


def _ready() -> _Call[Json]:
    return _Call("GET", "/readyz", Json, safe=False)


def _escaped(name: str) -> str:
    """Return an id as a piece of a path; dots alone would be taken for a way upwards."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def _wait(call: _Call[Any], outcome: httpx.Response | httpx.TransportError, tries: int, most: int) -> float | None:
    """Return the seconds after which a call that was tried so many times is tried again; None: it is not."""
    if not call.safe or tries > most:
        return None
    asked = 0.0
    if isinstance(outcome, httpx.Response):
        if outcome.status_code not in BUSY:
            return None
        asked = _retry_after(outcome.headers.get("retry-after", ""))
    elif not isinstance(outcome, BROKEN):
        return None
    if asked > MOST_PATIENT:
        return None
    # by chance, so that those who were turned away together do not come back together
    return max(asked, random.uniform(0.5, 1) * min(FIRST_WAIT * 2.0 ** (tries - 1), LONGEST_WAIT))


def _retry_after(text: str) -> float:
    """Return the seconds of a header Retry-After, a number of them or a date; 0 where it is neither.

    >>> _retry_after("2"), _retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), _retry_after("soon")
    (2.0, 0.0, 0.0)
    """
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _read(call: _Call[T], outcome: httpx.Response | httpx.TransportError) -> T:
    """Return what came back as its structure; raises ServiceError where it is a failure."""
    if isinstance(outcome, httpx.TransportError):
        code = "timeout" if isinstance(outcome, httpx.TimeoutException) else "unreachable"
        raise ServiceError(None, code, str(outcome) or type(outcome).__name__) from outcome
    try:
        if outcome.is_success:
            found: T = msgspec.json.decode(outcome.content, type=call.kind)
            return found
        fault = msgspec.json.decode(outcome.content, type=ErrorResponse).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = f"{call.method} {call.path} gave no answer of pasand: {outcome.text[:200]}"
        raise ServiceError(outcome.status_code, "not_understood", told) from None
    raise ServiceError(outcome.status_code, fault.code, fault.message, fault.field)


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


class Client:
    """Asks a service; may be used by several threads. Every method raises ServiceError where there is no answer."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare to ask the service at an address.

        `timeout`: seconds to wait for a connection, or for the next bytes; `retries`: repetitions of a call at most,
        where it can be repeated; `transport`: another way to send, such as through a proxy.
        """
        self._retries = retries
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _send(self, call: _Call[T]) -> T:
        outcome: httpx.Response | httpx.TransportError
        for tries in count(1):
            try:
                outcome = self._http.send(call.request(self._http))
            except httpx.TransportError as error:
                outcome = error
            wait = _wait(call, outcome, tries, self._retries)
            if wait is None:
                break
            time.sleep(wait)
        return _read(call, outcome)

    @overload
    def recommend(self, asks: RecommendRequest) -> RecommendResponse: ...
    @overload
    def recommend(self, asks: Sequence[RecommendRequest]) -> list[RecommendResponse]: ...
    def recommend(
        self, asks: RecommendRequest | Sequence[RecommendRequest]
    ) -> RecommendResponse | list[RecommendResponse]:
        """Return the answer to a request, or the answers to several (at most 256) in their order."""
        if isinstance(asks, RecommendRequest):
            return self._send(_recommend_one(asks))
        return self._send(_recommend_many(asks)).answers if asks else []

    def recommendations(self, user: str, *, k: int = 10, explain: bool = False) -> RecommendResponse:
        """Return the k best items for a user; `explain`: with the items of the history that speak for them."""
        return self._send(_recommendations(user, k, explain))

    def home(self, visitor: str | HomeRequest) -> Home:
        """Return the rows of a home page, for a user's id or for somebody who tells what they like."""
        return self._send(_home(visitor))

    def view(self, user: str) -> Json:
        """Return what stands behind a user's answer: history, sources, and each item's way through the stages."""
        return self._send(_view(user))

    def similar(self, item: str, *, k: int = 10) -> SimilarItems:
        """Return items like one."""
        return self._send(_similar(item, k))

    def item(self, item: str) -> CatalogueItem:
        """Return what is known of an item."""
        return self._send(_item(item))

    def items(self, search: str | None = None, *, language: str | None = None, k: int = 20) -> list[CatalogueItem]:
        """Return items whose title contains a text, or what is popular."""
        return self._send(_items(search, language, k)).items

    def explain(self, item: str, *, user: str | None = None, k: int = 10) -> Json:
        """Return why an item stands where it stands for a user, or for nobody in particular."""
        return self._send(_explain(item, user, k))

    def events(self, events: Event | Sequence[Event]) -> Accepted:
        """Have events kept, all or none; those without an id get one."""
        return self._send(_events(events)) if events else Accepted(0, 0, 0, [])

    def put_item(self, item: str, features: Mapping[str, Any]) -> ChangeResult:
        """Put an item into the catalogue, or change what is known of it."""
        return self._send(_put_item(item, features))

    def remove_item(self, item: str) -> ChangeResult:
        """Take an item out of the catalogue."""
        return self._send(_remove_item(item))

    def forget(self, user: str) -> ChangeResult:
        """Have a user forgotten: events, history, logs."""
        return self._send(_forget(user))

    def reload(self, bundle: str | None = None, *, variant: str | None = None) -> SwapResult:
        """Have a variant answer from the bundle in a folder of the service's machine; None: what its own holds now."""
        return self._send(_reload(bundle, variant))

    def rollback(self, variant: str | None = None) -> SwapResult:
        """Have a variant answer from the bundle before."""
        return self._send(_rollback(variant))

    def about(self) -> Json:
        """Return what is served, and how fast."""
        return self._send(_about())

    def ready(self) -> Json:
        """Return that requests are answered, and from which bundles; it is asked once, whatever comes back."""
        return self._send(_ready())


class AsyncClient:
    """Asks a service without blocking the event loop: every method is that of `Client`, to be awaited."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare to ask the service at an address; see `Client`."""
        self._retries = retries
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def _send(self, call: _Call[T]) -> T:
        outcome: httpx.Response | httpx.TransportError
        for tries in count(1):
            try:
                outcome = await self._http.send(call.request(self._http))
            except httpx.TransportError as error:
                outcome = error
            wait = _wait(call, outcome, tries, self._retries)
            if wait is None:
                break
            await asyncio.sleep(wait)
        return _read(call, outcome)

    @overload
    async def recommend(self, asks: RecommendRequest) -> RecommendResponse: ...
    @overload
    async def recommend(self, asks: Sequence[RecommendRequest]) -> list[RecommendResponse]: ...
    async def recommend(
        self, asks: RecommendRequest | Sequence[RecommendRequest]
    ) -> RecommendResponse | list[RecommendResponse]:
        """See `Client.recommend`."""
        if isinstance(asks, RecommendRequest):
            return await self._send(_recommend_one(asks))
        return (await self._send(_recommend_many(asks))).answers if asks else []

    async def recommendations(self, user: str, *, k: int = 10, explain: bool = False) -> RecommendResponse:
        """See `Client.recommendations`."""
        return await self._send(_recommendations(user, k, explain))

    async def home(self, visitor: str | HomeRequest) -> Home:
        """See `Client.home`."""
        return await self._send(_home(visitor))

    async def view(self, user: str) -> Json:
        """See `Client.view`."""
        return await self._send(_view(user))

    async def similar(self, item: str, *, k: int = 10) -> SimilarItems:
        """See `Client.similar`."""
        return await self._send(_similar(item, k))

    async def item(self, item: str) -> CatalogueItem:
        """See `Client.item`."""
        return await self._send(_item(item))

    async def items(
        self, search: str | None = None, *, language: str | None = None, k: int = 20
    ) -> list[CatalogueItem]:
        """See `Client.items`."""
        return (await self._send(_items(search, language, k))).items

    async def explain(self, item: str, *, user: str | None = None, k: int = 10) -> Json:
        """See `Client.explain`."""
        return await self._send(_explain(item, user, k))

    async def events(self, events: Event | Sequence[Event]) -> Accepted:
        """See `Client.events`."""
        return await self._send(_events(events)) if events else Accepted(0, 0, 0, [])

    async def put_item(self, item: str, features: Mapping[str, Any]) -> ChangeResult:
        """See `Client.put_item`."""
        return await self._send(_put_item(item, features))

    async def remove_item(self, item: str) -> ChangeResult:
        """See `Client.remove_item`."""
        return await self._send(_remove_item(item))

    async def forget(self, user: str) -> ChangeResult:
        """See `Client.forget`."""
        return await self._send(_forget(user))

    async def reload(self, bundle: str | None = None, *, variant: str | None = None) -> SwapResult:
        """See `Client.reload`."""
        return await self._send(_reload(bundle, variant))

    async def rollback(self, variant: str | None = None) -> SwapResult:
        """See `Client.rollback`."""
        return await self._send(_rollback(variant))

    async def about(self) -> Json:
        """See `Client.about`."""
        return await self._send(_about())

    async def ready(self) -> Json:
        """See `Client.ready`."""
        return await self._send(_ready())
