"""What goes over the wire: requests and answers as typed structures, checked as they are read."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

MOST_ITEMS = 1000
"""Items of an answer at most."""
MOST_REQUESTS = 256
"""Requests in one call at most."""
MOST_HISTORY = 1000
"""Events of a history, or items of a list, at most."""

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=MOST_ITEMS)]
Time: TypeAlias = Annotated[int, Meta(ge=0, le=253_402_300_799, description="seconds since 1970, UTC")]
Plain: TypeAlias = str | int | float | bool
Value: TypeAlias = Plain | Annotated[list[Plain], Meta(max_length=MOST_HISTORY)]
Ids: TypeAlias = Annotated[list[Id], Meta(max_length=MOST_HISTORY)]
Features: TypeAlias = Annotated[dict[Id, Value], Meta(max_length=100)]


class RequestError(Exception):
    """A request that is not answered, and why: an HTTP status, a code for programs, a sentence, the field at fault."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field


class ErrorDetail(Struct, omit_defaults=True):
    """Why a request was not answered."""

    code: str
    message: str
    field: str | None = None


class ErrorResponse(Struct):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class HistoryItem(Struct, forbid_unknown_fields=True, frozen=True):
    """An item of a history."""

    item: Id
    time: Time | None = None
    value: float | None = None


class Between(Struct, forbid_unknown_fields=True, frozen=True):
    """Numbers or times from `min` to `max`, both included; either may be missing."""

    min: float | None = None
    max: float | None = None


class RecommendRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request for the k best items; without user and history it is answered by features, or by what is popular."""

    user: Id | None = None
    history: Annotated[list[Id | HistoryItem], Meta(max_length=MOST_HISTORY)] = []
    features: Features = {}
    k: Count = 10
    allow: Ids | None = None
    deny: Ids = []
    filters: Annotated[dict[Id, Plain | list[Plain] | Between], Meta(max_length=20)] = {}
    explain: bool = False
    exclude_seen: bool = True


class BatchRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """Several requests in one call."""

    requests: Annotated[list[RecommendRequest], Meta(min_length=1, max_length=MOST_REQUESTS)]


class ItemName(Struct):
    """An item and what it is called."""

    item: str
    title: str


class Recommended(Struct, omit_defaults=True):
    """An item of an answer."""

    item: str
    title: str
    rank: int
    score: float
    because: list[ItemName] | None = None
    """Items of the history that speak for it, strongest first; only where it was asked."""
    propensity: float | None = None
    """Probability with which it stands here, where it was drawn at random."""


class RecommendResponse(Struct):
    """The answer to one request."""

    request_id: str
    variant: str
    bundle: str
    """Digest of the bundle that answered."""
    known: bool
    """Whether the log knows the user."""
    degraded: bool
    """Whether the recent events could not be read, so that older ones were used, or none."""
    items: list[Recommended]
    notes: list[str] = []
    """What of the request was left aside, such as unknown items."""


class BatchResponse(Struct):
    """The answers to several requests, in their order."""

    answers: list[RecommendResponse]


class Event(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What somebody did: watched, bought, rated."""

    user: Id
    item: Id
    id: Id | None = None
    """An event of an id that is there already changes nothing; None: one is made."""
    time: Time | None = None
    """None: now."""
    value: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    """Rating or strength, in the units of the log."""
    request_id: Id | None = None
    """The answer that it came from."""
    watched_seconds: Annotated[float, Meta(ge=0, le=1e7)] | None = None


class Events(Struct, forbid_unknown_fields=True, frozen=True):
    """Several events in one call."""

    events: Annotated[list[Event], Meta(min_length=1, max_length=10_000)]


class Accepted(Struct):
    """Events that are kept from now on."""

    accepted: int
    duplicates: int
    unknown_items: int
    ids: list[str]


class Item(Struct, forbid_unknown_fields=True, frozen=True):
    """What is known of an item."""

    features: Features = {}


class CatalogueItem(Struct):
    """An item of the catalogue."""

    item: str
    title: str
    features: dict[str, Any]


class SimilarItems(Struct):
    """Items like another, best first."""

    item: str
    title: str
    method: str
    """How likeness was measured."""
    items: list[Recommended]


class SearchResult(Struct):
    """Items of the catalogue that were looked for."""

    items: list[CatalogueItem]


class Card(Struct, omit_defaults=True):
    """An item as a page shows it."""

    item: str
    title: str
    reason: str
    score: float
    language: str | None = None
    genres: list[str] = []
    year: int | None = None


class Row(Struct, omit_defaults=True):
    """A row of a home page."""

    kind: str
    """for_you, because, new, language or popular."""
    title: str
    items: list[Card]
    because: ItemName | None = None
    language: str | None = None


class Home(Struct):
    """A home page."""

    user: str | None
    known: bool
    """Whether anything is known of the user: by the log, or by what happened since."""
    variant: str
    bundle: str
    degraded: bool
    rows: list[Row]


class HomeRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Somebody who is asked what they like."""

    user: Id | None = None
    history: Annotated[list[Id | HistoryItem], Meta(max_length=MOST_HISTORY)] = []
    features: Features = {}


class ReloadRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """A bundle to be taken into use; None: what lies in the variant's folder by now."""

    bundle: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    variant: Id | None = None


class SwapResult(Struct):
    """Which bundle a variant answers from."""

    variant: str
    bundle: str
    before: str


class ChangeResult(Struct):
    """What came of a change."""

    done: str
    found: bool = True


T = TypeVar("T")
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def read(body: bytes, kind: type[T]) -> T:
    """Return a body as a structure; raises Refused, naming the field, where it is not one."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        found: T = decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        raise RequestError(422, "invalid", message, place.rstrip("`").removeprefix("$.") or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        told = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError(400, "not_json", f"the body is not JSON: {told}") from None
    return found


def read_requests(body: bytes) -> tuple[list[RecommendRequest], bool]:
    """Return the requests of a body, and whether they came as a list of several."""
    if b'"requests"' in body:
        return read(body, BatchRequest).requests, True
    return [read(body, RecommendRequest)], False


def read_events(body: bytes, lines: bool) -> list[Event]:
    """Return the events of a body: one, a list, or one a line; raises Refused naming the line or the place."""
    if not lines:
        return read(body, Events).events if b'"events"' in body else [read(body, Event)]
    found = []
    for number, line in enumerate(body.splitlines(), 1):
        if line.strip():
            try:
                found.append(read(line, Event))
            except RequestError as error:
                place = f"line {number}" + (f", {error.field}" if error.field else "")
                raise RequestError(error.status, error.code, error.message, place) from None
    if not found:
        raise RequestError(422, "invalid", "no events", None)
    return found
