"""Structured requests with extreme contents, for the benchmark `fuzz`: numbers beyond 64 bits, nesting, long lists."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from benchmarks.served import dataset
from pasand.data.dataset import Dataset
from pasand.data.features import Feature

NUMBERS = (
    *("0", "-0.0", "1", "-1", "0.5", "1999", "1700000000", "2147483648", "1e-320", "1e15", "1e300", "-1e308", "1e400"),
    *(str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1), str(2**64), "7" * 310, "-" + "7" * 310, "7" * 5000),
)
TEXTS = (
    *("", " ", "a", " a ", "events", "requests", "a/b/similar", "..", "%2F", "a\\nb", "\\u0000", "\\u0085", "\\ud800"),
    *("\\u202ea", "\U0001f469\u200d\U0001f680", "\u0915\u094d\u0937", "e" + "\u0301" * 200, "\ufeffa", "x" * 256),
    *("x" * 257, "x" * 20_000, "genre 3", "language 1", "Title 7", "i00000001", "u000001", "2020-01-01", "9999-12-31"),
)
FEATURES = ("title", "genre", "language", "year", "available_from", "tags", "taste", "unknown")
FIELDS = ("user_id", "history", "features", "k", "allow", "deny", "filters", "explain", "exclude_seen", "requests")

LONGEST = 200_000
"""Characters of a list, about."""

Request = tuple[str, str, str]
"""Method, path, body."""


def data(n_items: int) -> Dataset:
    """Return the log of the serving benchmarks, with item features of every kind."""
    base, rng = dataset(n_items), np.random.default_rng(1)
    tags = tuple(f"tag {n}" for n in range(50))
    return replace(
        base,
        item_features={
            **base.item_features,
            "available_from": Feature(kind="time", values=rng.integers(1_600_000_000, 1_731_000_000, n_items)),
            "tags": Feature(kind="bag", values=rng.integers(-1, 50, (n_items, 3)).astype(np.int32), names=tags),
            "taste": Feature(kind="vector", values=rng.normal(size=(n_items, 4)).astype(np.float32)),
        },
    )


def extreme(rng: random.Random) -> Request:
    """Return a request whose structure is right, for the most part, and whose contents are extreme."""
    kind = rng.randrange(20)
    if kind < 11:
        return "POST", "/v1/recommend", _batch(rng) if kind == 0 else _request(rng)
    if kind < 13:
        return "POST", "/v1/home", _object(rng, FIELDS[:3], _field)
    if kind < 16:
        event = _event(rng)
        return "POST", "/v1/events", event if rng.random() < 0.7 else f'{{"events":[{_list(rng, lambda: event)}]}}'
    if kind < 18:
        return "PUT", f"/v1/items/{_segment(rng)}", f'{{"features":{_object(rng, FEATURES, _value)}}}'
    if kind == 18:
        query = f"?k={quote(rng.choice(NUMBERS))}" if rng.random() < 0.5 else f"?search={_segment(rng)}"
        return "GET", rng.choice((f"/v1/items{query}", f"/v1/users/{_segment(rng)}/recommendations{query}")), ""
    ways = ("", "/view", "/home", "/similar", "/recommendations")
    return "GET", f"/v1/{rng.choice(('users', 'items'))}/{_segment(rng)}{rng.choice(ways)}", ""


def _request(rng: random.Random) -> str:
    return _object(rng, FIELDS[:-1], _field)


def _batch(rng: random.Random) -> str:
    request = _request(rng)
    return f'{{"requests":[{_list(rng, lambda: request)}]}}'


def _field(rng: random.Random, name: str) -> str:
    if rng.random() < 0.1:
        return _value(rng, name)
    if name in ("allow", "deny"):
        return f"[{_list(rng, lambda: _text(rng))}]"
    if name == "history":
        return f"[{_list(rng, lambda: _text(rng) if rng.random() < 0.5 else _object(rng, HISTORY, _value))}]"
    if name == "features":
        return _object(rng, FEATURES, _value)
    if name == "filters":
        return _object(rng, FEATURES, lambda rng, name: rng.choice((_value, _between))(rng, name))
    if name == "k":
        return rng.choice((*NUMBERS, "5", "20", "1000"))
    return rng.choice(("true", "false")) if name in ("explain", "exclude_seen") else _text(rng)


HISTORY = ("item_id", "time", "value")


def _between(rng: random.Random, name: str) -> str:
    return _object(rng, ("min", "max"), lambda rng, _: rng.choice(NUMBERS))


def _event(rng: random.Random) -> str:
    names = ("id", "time", "value", "request_id", "watched_seconds")
    more = _object(rng, names, _value)[1:-1]
    return f'{{"user_id":{_text(rng)},"item_id":{_text(rng)}{"," if more else ""}{more}}}'


def _value(rng: random.Random, name: str) -> str:
    if name == "item_id":
        return _text(rng)
    kind = rng.randrange(10)
    if kind < 5:
        return rng.choice(NUMBERS)
    if kind < 7:
        return _text(rng)
    if kind == 7:
        return f"[{_list(rng, lambda: rng.choice(NUMBERS) if rng.random() < 0.5 else _text(rng))}]"
    if kind == 8:
        depth = rng.choice((1, 50, 1000, 50_000))
        return "[" * depth + "]" * depth if rng.random() < 0.5 else '{"a":' * depth + "1" + "}" * depth
    return rng.choice(("null", "true", "{}", "[]"))


def _list(rng: random.Random, element: Callable[[], str]) -> str:
    """Return the elements of a list, mostly few; a long list repeats one element, up to `LONGEST` characters."""
    size = rng.choice((0, 1, 1, 2, 3, 3, 5, 30, 256, 257, 1000, 1001, 10_001))
    if size < 10:
        return ",".join(element() for _ in range(size))[:LONGEST]
    one = element()
    return ",".join([one] * min(size, LONGEST // (len(one) + 1) + 1))


def _object(rng: random.Random, names: tuple[str, ...], value: Callable[[random.Random, str], str]) -> str:
    chosen = rng.sample(names, rng.randrange(min(4, len(names)) + 1))
    return "{" + ",".join(f'"{name}":{value(rng, name)}' for name in chosen) + "}"


def _text(rng: random.Random) -> str:
    text = rng.choice(TEXTS) if rng.random() < 0.5 else f"{rng.choice('ui')}{rng.randrange(3000):08}"
    return f'"{text}"'


def _segment(rng: random.Random) -> str:
    text = rng.choice(TEXTS)[:300] if rng.random() < 0.7 else f"i{rng.randrange(3000):08}"
    return quote(text, safe="" if rng.random() < 0.8 else "/")
