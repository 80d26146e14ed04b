from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        schemas.decode_events(event + b'\n{"user_id": 3, "item_id": "b"}', True)
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
