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
    """Return what is told of a body: 200, or the status of its refusal."""
    try:
        read(body)
    except RequestError as error:
        return error.status
    return 200


@given(ANYTHING | st.fixed_dictionaries({}, optional={name: ANYTHING for name in RecommendRequest.__struct_fields__}))
def test_any_json_is_a_request_or_refused(told: object) -> None:
    try:
        body = msgspec.json.encode(told)
    except (UnicodeEncodeError, OverflowError):
        return
    assert status(schemas.read_requests, body) in (200, 400, 422)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    assert status(schemas.read_requests, body) in (200, 400, 422)
    for lines in (False, True):
        assert status(lambda body, lines=lines: schemas.read_events(body, lines), body) in (200, 400, 422)  # type: ignore[misc]


def test_events_come_alone_in_a_list_or_one_a_line() -> None:
    one = b'{"user": "a", "item": "b"}'
    assert len(schemas.read_events(one, False)) == 1
    assert len(schemas.read_events(b'{"events": [' + one + b"," + one + b"]}", False)) == 2
    assert len(schemas.read_events(one + b"\n\n" + one + b"\r\n", True)) == 2
    with pytest.raises(RequestError, match="no events"):
        schemas.read_events(b"\n\n", True)
    with pytest.raises(RequestError) as refused:
        schemas.read_events(one + b'\n{"user": 3, "item": "b"}', True)
    assert refused.value.field == "line 2, user"
