"""Clients of the HTTP service, synchronous and asynchronous, with the same methods and typed responses.

Calls that are safe to repeat are retried where the service is busy or unreachable: requests that change nothing, and
events, which get their ids here so that one that arrives twice is stored once. Events are retried after a timeout, too.
Changes of the catalogue, of users and of bundles are sent once.
"""

from __future__ import annotations

import asyncio
import random
import re
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
    OnboardingItems,
    OnboardingRequest,
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
    "OnboardingItems",
    "OnboardingRequest",
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

RETRY_STATUSES = (429, 503)
"""HTTP statuses after which a safe call is retried."""
RETRY_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""Errors after which a safe call is retried; not a read timeout, except for events, since a retry adds to the load."""
FIRST_WAIT, MAX_WAIT = 0.1, 5.0
"""Seconds before the first retry, and the most before any; the wait doubles each time."""
MAX_RETRY_AFTER = 60.0
"""Longest wait in seconds that the service may demand by Retry-After; a longer one ends the retries."""


class ServiceError(Exception):
    """Raised where a call fails."""

    def __init__(self, status: int | None, code: str, message: str, field: str | None = None) -> None:
        where = f" ({field})" if field else ""
        super().__init__(f"{code}{f' [{status}]' if status else ''}: {message}{where}")
        self.status = status
        """HTTP status; None where no response arrived."""
        self.code = code
        """For programs: the code of the service, or unreachable, timeout or invalid_response."""
        self.message = message
        """For people."""
        self.field = field
        """Field of the request at fault; None where no field is."""
        self.events: list[Event] = []
        """The events of a call that failed, with their ids: those that were stored are not stored again."""


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A request and the type of its response."""

    method: str
    path: str
    response_type: Any
    """T, as a runtime value."""
    body: Any = None
    """Structure of the request body; None: there is no body."""
    query: Mapping[str, Any] = field(default_factory=dict)
    safe: bool = True
    """Whether a repetition does no harm."""

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        query = {name: value for name, value in self.query.items() if value is not None}
        content = None if self.body is None else msgspec.json.encode(self.body)
        headers = {} if content is None else {"content-type": "application/json"}
        return client.build_request(self.method, self.path, params=query, content=content, headers=headers)


def _recommend_one(request: RecommendRequest) -> _Call[RecommendResponse]:
    return _Call("POST", "/v1/recommend", RecommendResponse, request)


def _recommend_many(requests: Sequence[RecommendRequest]) -> _Call[BatchResponse]:
    return _Call("POST", "/v1/recommend", BatchResponse, BatchRequest(list(requests)))


def _recommendations(user_id: str, k: int, explain: bool) -> _Call[RecommendResponse]:
    query = {"k": k, "explain": int(explain)}
    return _Call("GET", f"/v1/users/{_escaped(user_id)}/recommendations", RecommendResponse, query=query)


def _home(visitor: str | HomeRequest) -> _Call[Home]:
    if isinstance(visitor, str):
        return _Call("GET", f"/v1/users/{_escaped(visitor)}/home", Home)
    return _Call("POST", "/v1/home", Home, visitor)


def _onboarding(visitor: OnboardingRequest) -> _Call[OnboardingItems]:
    return _Call("POST", "/v1/onboarding", OnboardingItems, visitor)


def _view(user_id: str) -> _Call[Json]:
    return _Call("GET", f"/v1/users/{_escaped(user_id)}/view", Json)


def _similar(item_id: str, k: int) -> _Call[SimilarItems]:
    return _Call("GET", f"/v1/items/{_escaped(item_id)}/similar", SimilarItems, query={"k": k})


def _item(item_id: str) -> _Call[CatalogueItem]:
    return _Call("GET", f"/v1/items/{_escaped(item_id)}", CatalogueItem)


def _items(search: str | None, language: str | None, k: int) -> _Call[SearchResult]:
    return _Call("GET", "/v1/items", SearchResult, query={"search": search or None, "language": language, "k": k})


def _explain(item_id: str, user_id: str | None, k: int) -> _Call[Json]:
    return _Call("GET", "/v1/explain", Json, query={"item_id": item_id, "user_id": user_id, "k": k})


def _events(events: Event | Sequence[Event]) -> _Call[Accepted]:
    several = [events] if isinstance(events, Event) else events
    with_ids = [event if event.id else msgspec.structs.replace(event, id=secrets.token_hex(12)) for event in several]
    return _Call("POST", "/v1/events", Accepted, Events(with_ids))


def _put_item(item_id: str, features: Mapping[str, Any]) -> _Call[ChangeResult]:
    return _Call("PUT", f"/v1/items/{_escaped(item_id)}", ChangeResult, Item(dict(features)), safe=False)


def _remove_item(item_id: str) -> _Call[ChangeResult]:
    return _Call("DELETE", f"/v1/items/{_escaped(item_id)}", ChangeResult, safe=False)


def _forget(user_id: str) -> _Call[ChangeResult]:
    return _Call("DELETE", f"/v1/users/{_escaped(user_id)}", ChangeResult, safe=False)


def _reload(bundle: str | None, variant: str | None) -> _Call[SwapResult]:
    return _Call("POST", "/v1/admin/reload", SwapResult, ReloadRequest(bundle, variant), safe=False)


def _rollback(variant: str | None) -> _Call[SwapResult]:
    return _Call("POST", "/v1/admin/rollback", SwapResult, ReloadRequest(None, variant), safe=False)


def _about() -> _Call[Json]:
    return _Call("GET", "/v1/about", Json)


def _ready() -> _Call[Json]:
    return _Call("GET", "/readyz", Json, safe=False)


def _escaped(text: str) -> str:
    """Return an id as a segment of a path; an id of dots alone would otherwise mean a parent folder."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _wait(call: _Call[Any], outcome: httpx.Response | httpx.RequestError, tries: int, retries: int) -> float | None:
    """Return the seconds to wait before a call is retried after that many tries; None: it is not retried."""
    if not call.safe or tries > retries:
        return None
    retry_after = 0.0
    if isinstance(outcome, httpx.Response):
        if outcome.status_code not in RETRY_STATUSES:
            return None
        retry_after = _retry_after(outcome.headers.get("retry-after", ""))
    elif not isinstance(outcome, (*RETRY_ERRORS, httpx.TimeoutException) if _has_events(call) else RETRY_ERRORS):
        return None
    if retry_after > MAX_RETRY_AFTER:
        return None
    # with jitter, so that clients that were refused together do not return together
    return max(retry_after, random.uniform(0.5, 1) * min(FIRST_WAIT * 2.0 ** (tries - 1), MAX_WAIT))


def _retry_after(text: str) -> float:
    """Return the seconds that a Retry-After header demands, as a number or a date; 0 where it is neither.

    >>> _retry_after("2"), _retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), _retry_after("soon"), _retry_after("²")
    (2.0, 0.0, 0.0, 0.0)
    """
    if text.isascii() and text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _has_events(call: _Call[Any]) -> bool:
    return isinstance(call.body, Events)


def _read(call: _Call[T], outcome: httpx.Response | httpx.RequestError) -> T:
    """Return the response as its structure; raises ServiceError, with the events of the call, where it failed."""
    try:
        return _parsed(call, outcome)
    except ServiceError as error:
        error.events = call.body.events if _has_events(call) else []
        raise


def _parsed(call: _Call[T], outcome: httpx.Response | httpx.RequestError) -> T:
    if isinstance(outcome, httpx.RequestError):
        code = "timeout" if isinstance(outcome, httpx.TimeoutException) else "unreachable"
        if isinstance(outcome, httpx.DecodingError):
            code = "invalid_response"
        raise ServiceError(None, code, str(outcome) or type(outcome).__name__) from outcome
    try:
        if outcome.is_success:
            result: T = msgspec.json.decode(outcome.content, type=call.response_type)
            return result
        error = msgspec.json.decode(outcome.content, type=ErrorResponse).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        message = f"{call.method} {call.path} returned no valid response of pasand: {outcome.text[:200]}"
        raise ServiceError(outcome.status_code, "invalid_response", message) from None
    raise ServiceError(outcome.status_code, error.code, error.message, error.field)


def _address(url: str) -> httpx.URL:
    """Return the address of a service; raises ValueError for one that is none."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not an address: {error}. Cure: write http://HOST:PORT") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError(f"{url!r} is not an address of a service. Cure: write http://HOST:PORT")
    return address


def _headers(key: str | None) -> dict[str, str]:
    """Return the headers of every request; raises ValueError for a key that no header can have."""
    if key is None:
        return {}
    if not re.fullmatch("[!-~]+", key):  # the key is a secret, so the message leaves it out
        raise ValueError(
            "the key is empty or has spaces, line breaks or letters beyond ASCII. Cure: pass the key alone"
        )
    return {"authorization": f"Bearer {key}"}


class Client:
    """Client of a service, safe to use from several threads; every method raises ServiceError where the call fails."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare a client of the service at an address; connects at the first call.

        `key`: API key; `timeout`: seconds to wait for a connection, or for the next bytes; `retries`: most retries of
        a safe call; `transport`: replaces the HTTP transport, for a proxy, say. Raises ValueError for an invalid
        address or key.
        """
        self._retries = retries
        self._http = httpx.Client(base_url=_address(url), headers=_headers(key), timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, call: _Call[T]) -> T:
        outcome: httpx.Response | httpx.RequestError
        for tries in count(1):
            try:
                outcome = self._http.send(call.request(self._http))
            except httpx.RequestError as error:
                outcome = error
            wait = _wait(call, outcome, tries, self._retries)
            if wait is None:
                break
            time.sleep(wait)
        return _read(call, outcome)

    @overload
    def recommend(self, requests: RecommendRequest) -> RecommendResponse: ...
    @overload
    def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse]: ...
    def recommend(
        self, requests: RecommendRequest | Sequence[RecommendRequest]
    ) -> RecommendResponse | list[RecommendResponse]:
        """Return the response to a request, or the responses to several (at most 256) in their order."""
        if isinstance(requests, RecommendRequest):
            return self._send(_recommend_one(requests))
        return self._send(_recommend_many(requests)).responses if requests else []

    def recommendations(self, user_id: str, *, k: int = 10, explain: bool = False) -> RecommendResponse:
        """Return the k best items for a user; `explain`: with the items of the history that support each of them."""
        return self._send(_recommendations(user_id, k, explain))

    def home(self, visitor: str | HomeRequest) -> Home:
        """Return the rows of a home page, for a user's id or for a visitor with a history and features."""
        return self._send(_home(visitor))

    def onboarding(self, visitor: OnboardingRequest | None = None) -> OnboardingItems:
        """Return what a new user should rate next, given the responses so far; without a request, what is first."""
        return self._send(_onboarding(visitor or OnboardingRequest()))

    def view(self, user_id: str) -> Json:
        """Return how a user's list was made: history, candidates of each source, rank and score after each stage."""
        return self._send(_view(user_id))

    def similar(self, item_id: str, *, k: int = 10) -> SimilarItems:
        """Return the k items most similar to one."""
        return self._send(_similar(item_id, k))

    def item(self, item_id: str) -> CatalogueItem:
        """Return the title and the features of an item."""
        return self._send(_item(item_id))

    def items(self, search: str | None = None, *, language: str | None = None, k: int = 20) -> list[CatalogueItem]:
        """Return items whose title contains a text, or popular items."""
        return self._send(_items(search, language, k)).items

    def explain(self, item_id: str, *, user_id: str | None = None, k: int = 10) -> Json:
        """Return how an item got its rank in the list of a user, or of an anonymous user."""
        return self._send(_explain(item_id, user_id, k))

    def events(self, events: Event | Sequence[Event]) -> Accepted:
        """Store events, all or none; those without an id get one.

        An event that is sent again with its id is stored once. Where the call fails, `ServiceError.events` are the
        events with their ids: send those, as some responses are lost after the events were stored.
        """
        return self._send(_events(events)) if events else Accepted(0, 0, 0, [])

    def put_item(self, item_id: str, features: Mapping[str, Any]) -> ChangeResult:
        """Add an item to the catalogue, or update its features."""
        return self._send(_put_item(item_id, features))

    def remove_item(self, item_id: str) -> ChangeResult:
        """Remove an item from the catalogue."""
        return self._send(_remove_item(item_id))

    def forget(self, user_id: str) -> ChangeResult:
        """Delete the data of a user: events, history, logs."""
        return self._send(_forget(user_id))

    def reload(self, bundle: str | None = None, *, variant: str | None = None) -> SwapResult:
        """Make a variant serve the bundle in a folder of the service's machine; None: reload its own folder."""
        return self._send(_reload(bundle, variant))

    def rollback(self, variant: str | None = None) -> SwapResult:
        """Make a variant serve its previous bundle again."""
        return self._send(_rollback(variant))

    def about(self) -> Json:
        """Return a description of the service: bundles, catalogue and latency."""
        return self._send(_about())

    def ready(self) -> Json:
        """Return the readiness of the service and its active bundles; never retried."""
        return self._send(_ready())


class AsyncClient:
    """Client of a service for asyncio: the methods of `Client`, to be awaited."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare a client; see `Client`."""
        self._retries = retries
        self._http = httpx.AsyncClient(
            base_url=_address(url), headers=_headers(key), timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, call: _Call[T]) -> T:
        outcome: httpx.Response | httpx.RequestError
        for tries in count(1):
            try:
                outcome = await self._http.send(call.request(self._http))
            except httpx.RequestError as error:
                outcome = error
            wait = _wait(call, outcome, tries, self._retries)
            if wait is None:
                break
            await asyncio.sleep(wait)
        return _read(call, outcome)

    @overload
    async def recommend(self, requests: RecommendRequest) -> RecommendResponse: ...
    @overload
    async def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse]: ...
    async def recommend(
        self, requests: RecommendRequest | Sequence[RecommendRequest]
    ) -> RecommendResponse | list[RecommendResponse]:
        """See `Client.recommend`."""
        if isinstance(requests, RecommendRequest):
            return await self._send(_recommend_one(requests))
        return (await self._send(_recommend_many(requests))).responses if requests else []

    async def recommendations(self, user_id: str, *, k: int = 10, explain: bool = False) -> RecommendResponse:
        """See `Client.recommendations`."""
        return await self._send(_recommendations(user_id, k, explain))

    async def home(self, visitor: str | HomeRequest) -> Home:
        """See `Client.home`."""
        return await self._send(_home(visitor))

    async def onboarding(self, visitor: OnboardingRequest | None = None) -> OnboardingItems:
        """See `Client.onboarding`."""
        return await self._send(_onboarding(visitor or OnboardingRequest()))

    async def view(self, user_id: str) -> Json:
        """See `Client.view`."""
        return await self._send(_view(user_id))

    async def similar(self, item_id: str, *, k: int = 10) -> SimilarItems:
        """See `Client.similar`."""
        return await self._send(_similar(item_id, k))

    async def item(self, item_id: str) -> CatalogueItem:
        """See `Client.item`."""
        return await self._send(_item(item_id))

    async def items(
        self, search: str | None = None, *, language: str | None = None, k: int = 20
    ) -> list[CatalogueItem]:
        """See `Client.items`."""
        return (await self._send(_items(search, language, k))).items

    async def explain(self, item_id: str, *, user_id: str | None = None, k: int = 10) -> Json:
        """See `Client.explain`."""
        return await self._send(_explain(item_id, user_id, k))

    async def events(self, events: Event | Sequence[Event]) -> Accepted:
        """See `Client.events`."""
        return await self._send(_events(events)) if events else Accepted(0, 0, 0, [])

    async def put_item(self, item_id: str, features: Mapping[str, Any]) -> ChangeResult:
        """See `Client.put_item`."""
        return await self._send(_put_item(item_id, features))

    async def remove_item(self, item_id: str) -> ChangeResult:
        """See `Client.remove_item`."""
        return await self._send(_remove_item(item_id))

    async def forget(self, user_id: str) -> ChangeResult:
        """See `Client.forget`."""
        return await self._send(_forget(user_id))

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
