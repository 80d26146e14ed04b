"""SQLite and PostgreSQL give the same dataset as a CSV file of the same events."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from hashlib import md5
from pathlib import Path

import pytest

from pasand.errors import InputError
from pasand.sources import load
from tests.resources import program

ROWS = [(7, "a", 4.5, 978300762), (7, "ब", 1.0, 978300760), (12, "a", 5.0, 978300761), (7, "c", 3.0, 978300761)]
CREATE = "create table ratings (user_id integer, item_id text, rating {}, timestamp bigint)"
CSV = "user_id,item_id,rating,timestamp\n" + "".join(f"{u},{i},{v},{t}\n" for u, i, v, t in ROWS)


@pytest.fixture
def fingerprint(tmp_path: Path) -> str:
    path = tmp_path / "same.csv"
    path.write_text(CSV)
    return load(path).fingerprint


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(CREATE.format("real"))
        connection.executemany("insert into ratings values (?, ?, ?, ?)", ROWS)
    return path


def test_sqlite_equals_csv(base: Path, fingerprint: str) -> None:
    assert load(base).fingerprint == fingerprint
    assert load(f"sqlite:///{base}", table="ratings").fingerprint == fingerprint
    assert load(base, query="select item_id, user_id, rating, timestamp from ratings").fingerprint == fingerprint
    assert len(load(base, query="select * from ratings where rating > 2")) == 3


def test_errors_of_a_database_are_reported(base: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"query": "select nought from ratings"}, "no such column: nought"),
        ({"table": "absent"}, "no such table: absent"),
        ({"query": "select * from ratings where rating > 9"}, "no rows"),
    ):
        with pytest.raises(InputError, match=message):
            load(base, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such file"):
        load(f"sqlite:///{tmp_path / 'absent.db'}")
    with closing(sqlite3.connect(base)) as connection, connection:
        connection.execute("create table more (id integer)")
    with pytest.raises(InputError, match="2 tables: more, ratings"):
        load(base)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a temporary PostgreSQL server behind a socket; it does not run as root, so root runs it as `postgres`."""
    pytest.importorskip("psycopg")
    initdb, control = program("initdb"), program("pg_ctl")
    with tempfile.TemporaryDirectory(prefix="pasand-") as folder:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if as_user:
            subprocess.run(["chown", "postgres", folder], check=True)
        data = f"{folder}/data"
        start = [f"--options=-c listen_addresses='' -k {folder} -c fsync=off", f"--log={folder}/log", "start"]
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
        subprocess.run([*as_user, initdb, "-A", "trust", "-U", "tester", "-E", "UTF8", data], **quiet)  # type: ignore[call-overload]
        subprocess.run([*as_user, control, "-w", "-D", data, *start], **quiet)  # type: ignore[call-overload]
        try:
            yield f"postgresql://tester:secret@/postgres?host={folder}"
        finally:
            subprocess.run([*as_user, control, "-D", data, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]


def test_postgresql_equals_csv(server: str, fingerprint: str) -> None:
    import psycopg

    with psycopg.connect(server) as connection:
        connection.execute(CREATE.format("numeric(3, 1)"))
        connection.cursor().executemany("insert into ratings values (%s, %s, %s, %s)", ROWS)
    data = load(server)
    assert data.fingerprint == fingerprint
    assert "secret" not in data.name
    assert load(server, table="public.ratings").fingerprint == fingerprint
    typed = (
        "select md5(n::text)::uuid as user_id, decode(lpad(to_hex(n), 2, '0'), 'hex') as item_id, n % 3 = 0 as rating, "
        "array[n] as tags, jsonb_build_object('n', n) as facts from generate_series(97, 126) n"
    )
    uuids = load(server, query=typed)
    assert uuids.users.series.to_list() == sorted(
        str(uuid.UUID(md5(str(n).encode()).hexdigest())) for n in range(97, 127)
    )
    assert uuids.items.series.to_list() == [chr(n) for n in range(97, 127)]
    assert (uuids.values, int(uuids.is_positive.sum())) == ("rating", 10)
    datetimes = "select user_id, item_id, rating, to_timestamp(timestamp) as timestamp from ratings"
    assert load(server, query=datetimes).fingerprint == fingerprint
    with pytest.raises(InputError, match=r"the database reports: .*absent") as error:
        load(server, table="absent")
    assert "secret" not in str(error.value)
