from __future__ import annotations

from pathlib import Path

import pytest

from pasand.errors import InputError
from pasand.serving.security import Keys, Rate, check_address
from pasand.serving.wire import Refused

READ, ADMIN = "reading-0123456789abcdef", "admin-0123456789abcdef"


def test_scopes_include_those_below() -> None:
    keys = Keys({READ: "read", ADMIN: "admin"})
    keys.check(READ, "read")
    for scope in ("read", "write", "admin"):
        keys.check(ADMIN, scope)
    with pytest.raises(Refused, match=r"scope is read, and write"):
        keys.check(READ, "write")
    for wrong in (None, "", READ[:-1], READ + "x", "é"):
        with pytest.raises(Refused, match="missing or unknown"):
            keys.check(wrong, "read")
    Keys().check(None, "admin")


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\nread {READ}\nadmin {ADMIN}\n")
    assert Keys.of_file(file).scope == {READ: "read", ADMIN: "admin"}
    for text, told in (
        ("read", "row 1.*SCOPE KEY"),
        (f"root {READ}", "root.*no such scope"),
        ("read short", "16 printable"),
        ("# none", "no key in it"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=told):
            Keys.of_file(file)
    with pytest.raises(InputError, match="cannot be read"):
        Keys.of_file(tmp_path / "nothing")


def test_a_caller_may_burst_and_then_waits() -> None:
    rate = Rate(2)
    for _ in range(4):
        rate.check("one")
    with pytest.raises(Refused, match="try again in"):
        rate.check("one")
    rate.check("another")
    unlimited = Rate(0)
    for _ in range(1000):
        unlimited.check("one")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_addresses_that_others_reach_ask_for_keys(host: str) -> None:
    with pytest.raises(InputError, match="no API key"):
        check_address(host, Keys())
    check_address(host, Keys({ADMIN: "admin"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machine_alone_asks_for_none(host: str) -> None:
    check_address(host, Keys())
