from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data import ids
from pasand.serving import schemas
from pasand.serving.schemas import RecommendRequest, RequestError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


def status(read: Callable[[bytes], object], body: bytes) -> int:
    """Return 200 for a valid body, else the status of its error."""
    try:
        read(body)
    except RequestError as error:
        return error.status
    return 200


@given(ANYTHING | st.fixed_dictionaries({}, optional={name: ANYTHING for name in RecommendRequest.__struct_fields__}))
def test_any_json_is_a_request_or_refused(value: object) -> None:
    try:
        body = msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return
    assert status(schemas.decode_requests, body) in (200, 400, 422)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    assert status(schemas.decode_requests, body) in (200, 400, 422)
    for lines in (False, True):
        assert status(lambda body, lines=lines: schemas.decode_events(body, lines), body) in (200, 400, 422)  # type: ignore[misc]


def test_events_are_read_singly_from_a_list_or_from_lines() -> None:
    event = b'{"user_id": "a", "item_id": "b"}'
    assert len(schemas.decode_events(event, False)) == 1
    assert len(schemas.decode_events(b'{"events": [' + event + b"," + event + b"]}", False)) == 2
    assert len(schemas.decode_events(event + b"\n\n" + event + b"\r\n", True)) == 2
    with pytest.raises(RequestError, match="has no events"):
        schemas.decode_events(b"\n\n", True)
    with pytest.raises(RequestError) as refused:
        schemas.decode_events(event + b'\n{"user_id": true, "item_id": "b"}', True)
    assert refused.value.field == "line 2, user_id"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"user": "a", "item_id": "b"}', "unknown field `user`: this field is called `user_id`"),
        (b'{"user_id": "a", "item": "b"}', "unknown field `item`: this field is called `item_id`"),
        (b'{"user_id": "a", "item_id": "b", "when": 3}', "unknown field `when`$"),
    ],
)
def test_renamed_fields_are_refused_with_their_new_names(body: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        schemas.decode_events(body, False)
    assert refused.value.status == 422


@pytest.mark.parametrize("name", ["events", "requests", "user_id", "a/b/similar", "é" * 256, "a b", '"', "<script>"])
def test_any_id_that_follows_the_rule_is_an_id(name: str) -> None:
    event = {"user_id": name, "item_id": name, "id": name}
    assert schemas.decode_events(msgspec.json.encode(event), False)[0].item_id == name
    assert schemas.decode_events(msgspec.json.encode({"events": [event, event]}), False)[1].user_id == name
    assert schemas.decode_events(msgspec.json.encode(event), True)[0].user_id == name
    request = {"user_id": name, "history": [name, {"item_id": name}], "deny": [name]}
    assert schemas.decode_requests(msgspec.json.encode(request)) == (
        [msgspec.convert(request, RecommendRequest)],
        False,
    )
    batch = {"requests": [request, {"user_id": "requests"}]}
    requests, is_batch = schemas.decode_requests(msgspec.json.encode(batch))
    assert (len(requests), is_batch) == (2, True)
    assert ids.fault(name) is None


@pytest.mark.parametrize("name", ["", "a\nb", "a\n", "\x00", "a\x7f", "a\u0085", " a", "a ", "\u3000a", "x" * 257])
def test_other_ids_are_refused_where_they_would_be_stored(name: str) -> None:
    for body in (
        {"user_id": name, "item_id": "a"},
        {"user_id": "a", "item_id": name},
        {"user_id": "a", "item_id": "a", "id": name},
        {"events": [{"user_id": "a", "item_id": name}]},
    ):
        assert status(lambda body: schemas.decode_events(body, False), msgspec.json.encode(body)) == 422
    for request in ({"user_id": name}, {"history": [name]}, {"history": [{"item_id": name}]}, {"allow": [name]}):
        assert status(schemas.decode_requests, msgspec.json.encode(request)) == (200 if name else 422)
    assert ids.fault(name) is not None


def test_the_rule_for_ids_is_in_the_message() -> None:
    with pytest.raises(RequestError, match="no control characters") as refused:
        schemas.decode_events(b'{"user_id": "a\\nb", "item_id": "b"}', False)
    assert refused.value.field == "user_id"


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "7" * 310, "7" * 5000, "1e400"])
@pytest.mark.parametrize(
    "body",
    [
        '{"filters": {"available_from": NUMBER}}',
        '{"filters": {"available_from": [1, NUMBER]}}',
        '{"features": {"age": NUMBER}}',
        '{"features": {"age": [NUMBER]}}',
        '{"k": NUMBER}',
        '{"history": [{"item_id": "a", "time": NUMBER}]}',
        '{"history": [{"item_id": "a", "value": NUMBER}]}',
    ],
)
def test_numbers_beyond_64_bits_are_refused(body: str, number: str) -> None:
    assert status(schemas.decode_requests, body.replace("NUMBER", number).encode()) == 422


def test_lists_are_bounded() -> None:
    numbers = list(range(1001))
    for body in ({"filters": {"year": numbers}}, {"features": {"years": numbers}}, {"allow": ["a"] * 1001}):
        assert status(schemas.decode_requests, msgspec.json.encode(body)) == 422
    line = b'{"user_id": "a", "item_id": "b"}\n'
    assert len(schemas.decode_events(line * 10_000, True)) == 10_000
    assert status(lambda body: schemas.decode_events(body, True), line * 10_001) == 422
    assert status(schemas.decode_requests, b'{"history": ' + b"[" * 100_000) in (400, 422)


def test_the_items_of_a_call_are_bounded() -> None:
    def call(count: int, k: int) -> bytes:
        return msgspec.json.encode({"requests": [{"k": k}] * count})

    for count, k in ((256, 100), (25, 1000), (1, 1000)):
        assert len(schemas.decode_requests(call(count, k))[0]) == count
    for count, k in ((256, 101), (26, 1000)):
        with pytest.raises(RequestError, match=f"want {count * k:,} items together, more than the 25,600"):
            schemas.decode_requests(call(count, k))
