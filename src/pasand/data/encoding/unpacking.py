"""Unpacks gzip, bzip2, xz and zip files in bounded size into temporary folders, and standard input."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import sys
import tempfile
import weakref
import zipfile
import zlib
from contextlib import closing
from pathlib import Path
from typing import IO, cast

from pasand.errors import InputError
from pasand.progress import step

MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\0", "zip": b"PK\x03\x04", "zstd": b"\x28\xb5\x2f\xfd"}
"""First bytes of compressed files; those of bzip2 are `BZIP2`."""
BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")

ENDINGS = (".gz", ".bz2", ".xz", ".zip")
"""Endings of the names of compressed files."""

MAX_FILES = 1_000
"""Files in a zip file above which it is refused unread."""
MAX_RATIO = 300
"""Size of a file in sizes of the compressed one, above which unpacking stops, beyond `FREE_SIZE`."""
FREE_SIZE = 1 << 30
"""Bytes that any compressed file may unpack to."""

BESIDE = re.compile(r"(__MACOSX|\.|read_?me|licen[cs]e|copying|changelog)", re.IGNORECASE)
"""Beginnings of the names of files in a zip file that are no tables."""

CURE = "check that it exists, that you may read it, and that the disk has room"


class Folder:
    """A temporary folder that is deleted with the object, at the latest when the program ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pasand-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def compression(path: Path) -> str:
    """Return "gzip", "bzip2", "xz", "zip" or "zstd" by the first bytes of a file; "" for any other file."""
    with path.open("rb") as file:
        head = file.read(10)
    if BZIP2.fullmatch(head):
        return "bzip2"
    if head.startswith(b"PK\5\6"):  # without files
        return "zip"
    return next((name for name, magic in MAGIC.items() if head.startswith(magic)), "")


def inner_name(path: Path) -> str:
    """Return the name of the uncompressed file: without the ending, or that of the one table in a zip file.

    For a zip file that has several, and for one that cannot be read, it is the name without the ending.
    """
    if path.suffix.lower() == ".zip" and path.is_file():
        try:
            return Path(_member(path).filename).name
        except (InputError, OSError):
            pass
    return path.stem if path.suffix.lower() in ENDINGS else path.name


def uncompressed(path: Path) -> tuple[Path, object]:
    """Return the path of the uncompressed file, and an object that keeps it alive.

    A compressed file is unpacked in chunks into a temporary folder, which is deleted with that object. A file that is
    not compressed is returned as it is, with None. Raises InputError for a damaged file, for one that grows beyond
    `MAX_RATIO`, and for a zip file that is encrypted or has several tables.
    """
    try:
        kind = compression(path)
        if not kind:
            return path, None
        if kind == "zstd":
            raise InputError(path, cause="it is compressed with zstd", cure="unpack it first: unzstd FILE")
        folder = Folder()
        name = inner_name(path) if kind == "zip" or path.suffix.lower() in ENDINGS else path.name
        out = folder.path / (name or "unpacked")
        with closing(_opened(path, kind)) as source, out.open("wb") as target:
            _copy(source, target, path)
        return out, folder
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        cause = f"the {compression(path)} file is truncated or damaged ({error})"
        raise InputError(path, cause=cause, cure="download it again") from error
    except IsADirectoryError as error:
        raise InputError(path, cause="it is a folder, not a file", cure="name a file in it") from error
    except OSError as error:
        if "Invalid data stream" in str(error):  # what bz2 raises
            cause = f"the bzip2 file is truncated or damaged ({error})"
            raise InputError(path, cause=cause, cure="download it again") from error
        raise InputError(path, cause=f"it cannot be read: {error.strerror or error}", cure=CURE) from error


def _opened(path: Path, kind: str) -> IO[bytes]:
    """Return the uncompressed bytes of a file as a stream."""
    if kind == "zip":
        return zipfile.ZipFile(path).open(_member(path))
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(path))
    return cast(IO[bytes], bz2.open(path) if kind == "bzip2" else lzma.open(path))


def _copy(source: IO[bytes], target: IO[bytes], path: Path) -> None:
    """Copy a stream in chunks; raises InputError where it is too large for its file."""
    done, limit = 0, max(FREE_SIZE, MAX_RATIO * path.stat().st_size)
    while chunk := source.read(1 << 22):
        done += len(chunk)
        if done > limit:
            cause = f"it unpacks to more than {limit:,} bytes, {MAX_RATIO} times its size; it may be a bomb"
            raise InputError(path, cause=cause, cure="if you trust it, unpack it and name the file")
        target.write(chunk)
        step(f"unpacking {path.name}", done, None)
    step(f"unpacking {path.name}", done, done)


def _member(path: Path) -> zipfile.ZipInfo:
    """Return the one table of a zip file; raises InputError where there is none, or several."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16) - 22))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    count = int.from_bytes(tail[end + 10 : end + 12], "little") if end >= 0 else 0
    if count > MAX_FILES:
        raise InputError(path, cause=f"it holds more than {MAX_FILES:,} files", cure="unpack it, and name the folder")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except zipfile.BadZipFile as error:
        cause = f"the zip file is truncated or damaged ({error})"
        raise InputError(path, cause=cause, cure="download it again") from error
    tables = [one for one in members if not any(BESIDE.match(part) for part in one.filename.split("/"))]
    if len(tables) != 1:
        names = ", ".join(Path(one.filename).name for one in tables[:5])
        cause = f"it holds {len(tables)} files: {names}" if tables else "there is no table in it"
        raise InputError(path, cause=cause, cure="unpack it, and name the folder or the file of events")
    if tables[0].flag_bits & 1:
        raise InputError(path, cause="it is encrypted", cure="unpack it with its password, and name the file")
    return tables[0]


def standard_input() -> tuple[Path, object]:
    """Return a file with all of standard input, uncompressed, whose name fits its format, and what keeps it alive.

    Raises InputError where standard input is a terminal.
    """
    if sys.stdin.isatty():
        cause = "standard input is a terminal"
        raise InputError("-", cause=cause, cure="pipe a log into the command, or name a file")
    folder = Folder()
    received = folder.path / "standard_input"
    with received.open("wb") as target:
        shutil.copyfileobj(sys.stdin.buffer, target, 1 << 22)
    file, keep_alive = uncompressed(received)
    with file.open("rb") as opened:
        head = opened.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    formats = {b"PAR1": ".parquet", b"SQLite format 3\0": ".db", b"{": ".jsonl", b"[": ".json"}
    ending = next((ending for start, ending in formats.items() if head.startswith(start)), ".csv")
    return file.rename(file.with_name(f"standard_input{ending}")), (folder, keep_alive)
