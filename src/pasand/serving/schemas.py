"""Requests and responses of the HTTP API as typed structures, with limits that are checked while a body is decoded."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from pasand.data import ids

MAX_ITEMS = 1000
"""Largest number of items in a response."""
MAX_REQUESTS = 256
"""Largest number of requests in one call."""
MAX_CALL_ITEMS = 25_600
"""Largest sum of `k` over the requests of one call: the items that are in memory until its response is written."""
MAX_HISTORY = 1000
"""Largest number of events in a history, and of items in a list."""
MAX_EVENTS = 10_000
"""Largest number of events in one call."""
MAX_NAMES = 256
"""Largest number of names, such as tags, in one feature of an item or a user."""
MAX_NAME = 256
"""Largest number of characters of the name of a category or of a feature."""

MAX_GIVEN_ID = 8192
"""Largest number of characters in an id that is only looked up."""
MAX_VALUE = 1e9
"""Largest rating or strength of an event, and with a minus the smallest."""

ID_EXAMPLES: dict[str, Any] = {"examples": ["u1", 42]}
"""Part of the JSON schema of an id: a whole number is read as its digits."""

Id: TypeAlias = Annotated[
    str,
    Meta(min_length=1, max_length=ids.MAX_LENGTH, pattern=ids.PATTERN, extra_json_schema=ID_EXAMPLES),
]
"""An id that is stored."""
GivenId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_GIVEN_ID, extra_json_schema=ID_EXAMPLES)]
"""An id that is only looked up: bundles and states of earlier versions hold some that are outside the rule for ids."""
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
Time: TypeAlias = Annotated[int, Meta(ge=0, le=253_402_300_799, description="seconds since 1970, UTC")]
Integer: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Amount: TypeAlias = Annotated[float, Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
Scalar: TypeAlias = str | Integer | float | bool
Value: TypeAlias = Scalar | Annotated[list[Scalar], Meta(max_length=MAX_HISTORY)]
Ids: TypeAlias = Annotated[list[GivenId], Meta(max_length=MAX_HISTORY)]
Features: TypeAlias = Annotated[dict[Name, Value], Meta(max_length=100)]

RENAMED_FIELDS = {"user": "user_id", "item": "item_id"}
"""Field names of earlier versions, which are refused, and the names that replaced them."""


class RequestError(Exception):
    """Raised where a request cannot be served: HTTP status, code for programs, message for people, field at fault."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field


class ErrorDetail(Struct, omit_defaults=True):
    """Why a request failed."""

    code: str
    """For programs."""
    message: str
    """For people."""
    field: str | None = None
    """Path of the field at fault, such as `history[0].time`; absent where no field is."""


class ErrorResponse(Struct):
    """The body of every response with a status of 400 or more."""

    error: ErrorDetail


class HistoryItem(Struct, forbid_unknown_fields=True, frozen=True):
    """An item of a history, with its time and value where they are known."""

    item_id: GivenId
    time: Time | None = None
    value: Amount | None = None


class Between(Struct, forbid_unknown_fields=True, frozen=True):
    """A filter on numbers or times: the range from `min` to `max`, both included; either may be missing."""

    min: float | None = None
    max: float | None = None


class RecommendRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request for the k best items; without user and history, features or popularity decide."""

    user_id: GivenId | None = None
    history: Annotated[list[GivenId | HistoryItem], Meta(max_length=MAX_HISTORY)] = []
    """Items that the user consumed, oldest first, in addition to what the log and the state know of the user."""
    features: Features = {}
    """Features of the user by name."""
    k: Count = 10
    allow: Ids | None = None
    """Items that may be recommended; None: all."""
    deny: Ids = []
    """Items that may not be recommended."""
    filters: Annotated[dict[Name, Value | Between], Meta(max_length=20)] = {}
    """Conditions on item features, by name; an item must meet all of them."""
    explain: bool = False
    exclude_seen: bool = True
    request_id: Id | None = None
    """An id that the client makes, so that a request that it sends again draws the same random items; it becomes that
    of the response. None: the service makes one."""


class BatchRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """Several requests in one call."""

    requests: Annotated[list[RecommendRequest], Meta(min_length=1, max_length=MAX_REQUESTS)]


class ItemName(Struct):
    """An item's id and title."""

    item_id: str
    title: str


class Recommended(Struct, omit_defaults=True):
    """A recommended item."""

    item_id: str
    title: str
    rank: int
    """Position in the list; 1 is the first."""
    score: float
    """Comparable within one list only."""
    reason: list[ItemName] | None = None
    """Items of the history that support the recommendation, strongest first; present if `explain` was requested."""
    matches: list[str] | None = None
    """Features of the item that raise its score, such as "genres: Drama", strongest first; present if `explain` was
    requested, no item of the history is a reason, and a model scores the item by its features, as it does new items."""
    propensity: float | None = None
    """Probability with which the item is at this position given those above, where a stage draws items at random; 1 of
    an item that was not drawn."""
    slot_propensity: float | None = None
    """The same whatever the positions above show; absent where it is not known."""


class RecommendResponse(Struct):
    """The response to one request."""

    request_id: str
    """To be sent along with the events that result from this response."""
    variant: str
    bundle: str
    """Digest of the bundle that made the list."""
    known: bool
    """Whether the log, the state or the request holds a history of the user."""
    degraded: bool
    """Whether the state could not be read, so that older recent events were used, or none."""
    items: list[Recommended]
    notes: list[str] = []
    """Parts of the request that were ignored, such as unknown items."""
    list_propensity: float | UnsetType = UNSET
    """Probability of all drawn items of the list together, where a stage draws items at random."""


class BatchResponse(Struct):
    """The responses to several requests, in the order of the requests."""

    responses: list[RecommendResponse]


class Event(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An interaction of a user with an item: watched, bought, rated."""

    user_id: Id
    item_id: Id
    id: Id | None = None
    """An event whose id is stored already is ignored; None: the server makes an id."""
    time: Time | None = None
    """None: now."""
    value: Amount | None = None
    """Rating or strength, in the units of the log; a rating must be on the scale of the log."""
    request_id: Id | None = None
    """The response in which the item was recommended."""
    watched_seconds: Annotated[float, Meta(ge=0, le=1e7)] | None = None
    disliked: bool = False
    """Whether the user rejects the item: with ratings the lowest one unless `value` is given, else it is only kept out
    of the user's lists."""
    undoes: Id | None = None
    """Id of an earlier event of the user that no longer counts, such as one sent by mistake."""


class Events(Struct, forbid_unknown_fields=True, frozen=True):
    """Several events in one call."""

    events: Annotated[list[Event], Meta(min_length=1, max_length=MAX_EVENTS)]


class Accepted(Struct):
    """How many events were stored."""

    accepted: int
    duplicates: int
    """Events whose ids were stored before."""
    unknown_items: int
    """Events of items that are not in the catalogue; they are stored, too."""
    ids: list[str]
    """Ids of the events, in the order of the request."""


class Item(Struct, forbid_unknown_fields=True, frozen=True):
    """The features of an item, by name."""

    features: Features = {}


class CatalogueItem(Struct):
    """An item of the catalogue."""

    item_id: str
    title: str
    features: dict[str, Any]


class SimilarItems(Struct):
    """Items similar to a given one, most similar first."""

    item_id: str
    title: str
    method: str
    """How similarity was measured."""
    items: list[Recommended]


class SearchResult(Struct):
    """Items of the catalogue that match a search."""

    items: list[CatalogueItem]


class RatedValue(Struct, forbid_unknown_fields=True, frozen=True):
    """A value of an item feature, such as a language or a genre, that a new user rated."""

    feature: Name
    value: Name
    liked: bool | None = None
    """None: no preference."""


class OnboardingRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request for what a new user should rate next; responses are the user's events, the history and the values."""

    user_id: GivenId | None = None
    history: Annotated[list[GivenId | HistoryItem], Meta(max_length=MAX_HISTORY)] = []
    """Items rated so far, in addition to the user's events."""
    skipped: Ids = []
    """Items that were shown and that the user does not know."""
    values: Annotated[list[RatedValue], Meta(max_length=MAX_NAMES)] = []
    """Languages, genres and the like that were rated; items have one of the liked values of each feature."""
    languages: Annotated[list[Name], Meta(max_length=MAX_NAMES)] = []
    """Languages that the user likes, in place of `values`; no other language is to be rated then."""
    k: Count = 5


class ValueToRate(Struct):
    """A value of an item feature to rate."""

    feature: str
    value: str


class OnboardingItems(Struct):
    """What to rate: a value, if its rating is expected to gain more than that of the first item, or the items.

    The first `n_chosen` items are those by the gain expected of the responses, the others by popularity.
    """

    items: list[CatalogueItem]
    n_chosen: int
    value: ValueToRate | None = None


class Card(Struct, omit_defaults=True):
    """An item of a home page."""

    item_id: str
    title: str
    reason: str
    """A sentence such as "Because you watched Sholay"."""
    score: float
    language: str | None = None
    genres: list[str] = []
    year: int | None = None
    price: float | None = None


class RuleOutcome(Struct):
    """What a rule of the policy did in a list."""

    name: str
    count: int
    """Items of the rule's group among the slots that it concerns."""
    slots: int
    low: int
    """Number of these items that the rule requires."""
    high: int
    """Number of these items that the rule admits."""
    holds: bool
    text: str
    """The same as a sentence."""


class Row(Struct, omit_defaults=True):
    """A row of a home page."""

    kind: str
    """for_you, because_you_watched, new, language or popular."""
    title: str
    items: list[Card]
    reason_item: ItemName | None = None
    """The watched item that the row is based on, in rows of kind because_you_watched."""
    language: str | None = None
    rules: list[RuleOutcome] = []
    """What each rule of the policy did in this row."""


class Home(Struct):
    """A home page."""

    user_id: str | None
    known: bool
    """Whether the log, the state or the request holds a history of the user."""
    variant: str
    bundle: str
    degraded: bool
    rows: list[Row]


class HomeRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request for the home page of a visitor, described by a history and features."""

    user_id: GivenId | None = None
    history: Annotated[list[GivenId | HistoryItem], Meta(max_length=MAX_HISTORY)] = []
    features: Features = {}
    liked: Annotated[dict[Name, Annotated[list[Name], Meta(max_length=MAX_NAMES)]], Meta(max_length=20)] = {}
    """Values of item features that the visitor likes, by feature: items recommended to the visitor have one of those of
    each feature, if at least four items have."""


class ReloadRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The bundle that a variant should serve from; None: load the variant's folder again."""

    bundle: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    variant: Name | None = None


class SwapResult(Struct):
    """The bundle that a variant serves from now on, and the one before it, both by digest."""

    variant: str
    bundle: str
    previous: str


class ChangeResult(Struct):
    """The result of a change of the catalogue or of a user's data."""

    message: str
    found: bool = True
    """Whether there was anything to change."""


T = TypeVar("T")
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def decode(body: bytes, kind: type[T]) -> T:
    """Return a JSON body as a structure of this kind; raises RequestError, naming the field, where it is not one."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        decoded: T = decoder.decode(body)
    except msgspec.ValidationError as error:
        if "got `int`" in str(error) and (texts := _ids_as_texts(body)) != body:
            return decode(texts, kind)
        message, _, path = str(error).partition(" - at `")
        field = path.rstrip("`").removeprefix("$.") or None
        raise RequestError(422, "invalid", _explained(message), field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError(400, "not_json", f"the body is not JSON: {cause}") from None
    return decoded


ID_FIELDS = {"user_id", "item_id", "id", "request_id", "undoes", "allow", "deny", "history", "skipped"}
"""Fields whose whole numbers are ids, alone or in a list."""
VALUE_FIELDS = {"features", "filters"}
"""Fields that hold values by name, in which no name is that of an id."""


def _ids_as_texts(body: bytes) -> bytes:
    """Return a JSON body with the whole numbers that are ids as texts, as ids are texts in pasand."""

    def walked(value: object, is_id: bool) -> object:
        if isinstance(value, dict):
            fields = value.items()
            return {key: each if key in VALUE_FIELDS else walked(each, key in ID_FIELDS) for key, each in fields}
        if isinstance(value, list):
            return [walked(each, is_id) for each in value]
        return str(value) if is_id and type(value) is int else value

    try:
        return msgspec.json.encode(walked(msgspec.json.decode(body), False))
    except (msgspec.MsgspecError, RecursionError):
        return body


def _explained(message: str) -> str:
    """Return msgspec's message, with the rule for ids, or the new name of a renamed field, where it is about these."""
    if "matching regex" in message:
        return ids.RULE
    unknown = re.search(r"unknown field `(\w+)`", message)
    if unknown is None or unknown[1] not in RENAMED_FIELDS:
        return message
    return f"{message}: this field is called `{RENAMED_FIELDS[unknown[1]]}`"


class _Keys(Struct):
    """The keys of a body that decide its kind, whatever else it holds."""

    requests: Raw | UnsetType = UNSET
    events: Raw | UnsetType = UNSET


def _has_key(body: bytes, name: str) -> bool:
    """Return whether a body is an object with this key; of a body that is not JSON, what it seems to be."""
    try:
        return getattr(decode(body, _Keys), name) is not UNSET
    except RequestError:  # decoding it as what it should be gives a better message
        return f'"{name}"'.encode() in body


def decode_requests(body: bytes) -> tuple[list[RecommendRequest], bool]:
    """Return the requests of a body, and whether the body is a batch: whether it has the key `requests`.

    Raises RequestError as `decode`, and where the requests of a batch want more than `MAX_CALL_ITEMS` together.
    """
    if _has_key(body, "requests"):
        requests = decode(body, BatchRequest).requests
        wanted = sum(request.k for request in requests)
        if wanted > MAX_CALL_ITEMS:
            cause = f"the requests want {wanted:,} items together, more than the {MAX_CALL_ITEMS:,} of one call"
            raise RequestError(422, "invalid", f"{cause}; send fewer requests in one call, or a smaller k", "requests")
        return requests, True
    return [decode(body, RecommendRequest)], False


def decode_events(body: bytes, lines: bool) -> list[Event]:
    """Return the events of a body: a single event or those under the key `events`, or, with `lines`, one event a line.

    Raises RequestError naming the line or the field; a body of no lines is refused, too.
    """
    if not lines:
        return decode(body, Events).events if _has_key(body, "events") else [decode(body, Event)]
    events: list[Event] = []
    for number, line in enumerate(body.splitlines(), 1):
        if line.strip():
            if len(events) == MAX_EVENTS:
                raise RequestError(422, "invalid", f"the body has more than {MAX_EVENTS:,} events", f"line {number}")
            try:
                events.append(decode(line, Event))
            except RequestError as error:
                field = f"line {number}" + (f", {error.field}" if error.field else "")
                raise RequestError(error.status, error.code, error.message, field) from None
    if not events:
        raise RequestError(422, "invalid", "the body has no events", None)
    return events
