"""Backs up and checks the SQLite file of a state, also while services use it."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from pasand.errors import InputError
from pasand.serving.private_files import make_private_file
from pasand.serving.states.sqlite import APPLICATION_ID, FORMAT
from pasand.serving.states.sqlite_acknowledged import Acknowledged, Numbers, numbers_of

NAME = "state.sqlite"
"""Name of the file in the folder of a service."""


def state_file(path: Path) -> Path:
    """Return the file of a state, given it or the folder of a service; raises InputError if it is no state."""
    file = (path / NAME if path.is_dir() else path).absolute()
    cure = "give the folder of a service, or the file that --state names"
    if not file.is_file():
        raise InputError(path, cause="there is no state", cure=cure)
    try:
        with closing(_connect(file)) as connection:
            found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    except sqlite3.Error as error:
        raise InputError(file, cause=f"cannot be read: {error}", cure=cure) from None
    if found != [APPLICATION_ID, FORMAT]:
        raise InputError(file, cause="it is a file, but not a state", cure=cure)
    return file


def backup(path: Path, out: Path) -> Numbers:
    """Copy the state to a new file that appears when it is complete, and return the numbers of its last rows.

    The copy holds everything that was acknowledged before the call. Services go on writing. Raises InputError if there
    is no state, if `out` exists, and if it cannot be written.
    """
    file = state_file(path)
    if out.exists():
        raise InputError(out, cause="exists already", cure="name a new file")
    part = out.with_name(f"{out.name}.{secrets.token_hex(4)}.part")
    try:
        make_private_file(part)
        with closing(_connect(file)) as connection, closing(sqlite3.connect(part)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # the copy is one file
            numbers = numbers_of(copy)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.rename(out)
        return numbers
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            part.unlink()
        raise InputError(out, cause=f"cannot be written: {error}", cure="name a file in a folder with space") from None


def check(path: Path) -> tuple[Numbers, list[str]]:
    """Return the numbers of the last rows of a state, and what is wrong with it, nothing if it is sound.

    Raises InputError if there is no state.
    """
    file = state_file(path)
    acknowledged = Acknowledged(file).read()  # before the database, to which others may write meanwhile
    try:
        with closing(_connect(file)) as connection:
            numbers = numbers_of(connection)
            faults = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    except sqlite3.Error as error:
        return Numbers(), [str(error)]
    if lost := acknowledged.lost_from(numbers):
        faults.append(f"{lost} were acknowledged and are missing")
    return numbers, faults


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=5)
