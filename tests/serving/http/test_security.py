from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from pasand.errors import InputError
from pasand.serving.http import security
from pasand.serving.http.security import GROUPS, LOCAL_KEY, MIN_LENGTH, WAYS, Keys, Rate, check_address, local_key
from pasand.serving.schemas import RequestError
from tests.serving.states.servers import python

READ, ADMIN = "reading-0123456789abcdef", "admin-0123456789abcdef"


def test_scopes_include_lower_scopes() -> None:
    keys = Keys({READ: "read", ADMIN: "admin"})
    keys.check(READ, "read")
    for scope in ("read", "write", "admin"):
        keys.check(ADMIN, scope)
    with pytest.raises(RequestError, match=r"has scope read; this operation needs scope write"):
        keys.check(READ, "write")
    for wrong in (None, "", READ[:-1], READ + "x", "é"):
        with pytest.raises(RequestError, match="missing or unknown"):
            keys.check(wrong, "read")
    Keys().check(None, "write")


def test_without_keys_administration_needs_the_local_key(tmp_path: Path) -> None:
    local = local_key(tmp_path)
    assert local == local_key(tmp_path)
    assert len(local) >= MIN_LENGTH
    assert [file.name for file in tmp_path.iterdir()] == [LOCAL_KEY]
    keys = Keys(local=local)
    keys.check(None, "write")
    keys.check(local, "admin")
    for wrong in (None, "", local[:-1]):
        for each in (keys, Keys()):
            with pytest.raises(RequestError, match="the file admin-key"):
                each.check(wrong, "admin")


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch(0o600)
    file.write_text(f"# comment\n\nread {READ}\nadmin {ADMIN}\n")
    assert Keys.of_file(file).scope == {READ: "read", ADMIN: "admin"}
    for text, message in (
        ("read", "row 1.*SCOPE KEY"),
        (f"root {READ}", "root.*no such scope"),
        ("read short", "16 printable"),
        ("# none", "has no keys"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            Keys.of_file(file)
    with pytest.raises(InputError, match="cannot be read"):
        Keys.of_file(tmp_path / "nothing")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_keys_that_others_can_read_are_refused_with_a_cure(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "the keys"
    file.write_text(f"admin {ADMIN}\n")
    file.chmod(mode)
    with pytest.raises(InputError) as error:
        Keys.of_file(file)
    subprocess.run(shlex.split(str(error.value).partition("Cure: ")[2].rstrip(".")), check=True)
    assert Keys.of_file(file).scope == {ADMIN: "admin"}


def test_secrets_of_containers_may_be_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets").mkdir()
    mounted, link = tmp_path / "secrets" / "keys", tmp_path / "keys"
    mounted.write_text(f"admin {ADMIN}\n")
    link.symlink_to(mounted)
    mounted.chmod(0o444)
    for path in (mounted, link):
        with pytest.raises(InputError, match="may be readable, in /run/secrets"):
            Keys.of_file(path)
    monkeypatch.setattr(security, "SECRETS", tmp_path / "secrets")
    for path in (mounted, link):
        assert Keys.of_file(path).scope == {ADMIN: "admin"}
    for mode in (0o464, 0o446, 0o666):
        mounted.chmod(mode)
        with pytest.raises(InputError, match="chmod 600"):
            Keys.of_file(mounted)


def test_a_caller_may_burst_and_then_waits() -> None:
    rate = Rate(2)
    for _ in range(4):
        rate.check("one")
    with pytest.raises(RequestError, match="try again in"):
        rate.check("one")
    rate.check("another")
    unlimited = Rate(0)
    for _ in range(1000):
        unlimited.check("one")


def test_a_rate_below_one_per_second() -> None:
    rate = Rate(0.0001)
    rate.check("one")
    with pytest.raises(RequestError, match=r"again in (9|10)\d{3}\.\d s"):
        rate.check("one")


def test_processes_that_share_a_file_count_together(tmp_path: Path) -> None:
    one, other = Rate(0.001, tmp_path / "rates"), Rate(0.001, tmp_path / "rates")
    for number in range(500):
        (one, other)[number % 2].check(f"caller {number}")
    for number in range(500):
        with pytest.raises(RequestError):
            (other, one)[number % 2].check(f"caller {number}")


PROCESS = """
import sys
from pathlib import Path
from pasand.serving.http.security import Rate
from pasand.serving.schemas import RequestError
rate, allowed = Rate(0.0001, Path(sys.argv[1])), 0
for number in range(2000):
    try:
        rate.check(f"caller {number % 1000}")
        allowed += 1
    except RequestError:
        pass
print(allowed)
"""


def test_no_call_is_counted_twice_or_lost_among_processes(tmp_path: Path) -> None:
    running = [python(PROCESS, str(tmp_path / "rates")) for _ in range(3)]
    assert sum(int(process.communicate(timeout=60)[0]) for process in running) == 1000


def test_new_callers_replace_old_ones() -> None:
    rate = Rate(0.001)
    for number in range(4 * GROUPS * WAYS):
        rate.check(f"caller {number}")
    with pytest.raises(RequestError):
        rate.check(f"caller {4 * GROUPS * WAYS - 1}")
    rate.check("caller 0")  # replaced meanwhile


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_addresses_that_other_machines_reach_need_keys(host: str) -> None:
    with pytest.raises(InputError, match="no API key"):
        check_address(host, Keys())
    check_address(host, Keys({ADMIN: "admin"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_addresses_need_no_keys(host: str) -> None:
    check_address(host, Keys())
