"""Text files in other encodings than UTF-8, rewritten as UTF-8."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

from pasand.data.encoding.text_files import encoding_error
from pasand.data.encoding.unpacking import Folder
from pasand.errors import InputError

CHUNK = 1 << 24
"""Bytes read at a time."""
HEAD = 1 << 16
"""First bytes, in which a zero byte shows a file that is no text."""
UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
"""Bytes that Windows-1252 does not define."""


def as_utf8(file: Path, where: object) -> tuple[Path, object, list[str]]:
    """Return the file itself if it is UTF-8, else a copy in UTF-8; an object that keeps the copy; and notes.

    UTF-16 is known by its byte order mark. Other text is Windows-1252, or Latin-1 where it has bytes that Windows-1252
    lacks. Raises InputError for text of which most is UTF-8 but not all, at the first wrong byte, and where there is no
    room for the copy. A file with zero bytes is returned as it is.
    """
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    mark = head[:2]
    if mark in UTF_16 and head[2:4] != b"\0\0":
        return _rewritten(file, UTF_16[mark], where)
    if b"\0" in head:
        return file, None, []
    wrong = _first_wrong_byte(file)
    if wrong is None:
        return file, None, []
    n_valid, n_wrong, undefined = _count(file)
    if n_valid > n_wrong:
        raise _wrong_byte(file, wrong, where)
    return _rewritten(file, "latin-1" if undefined else "cp1252", where)


def _first_wrong_byte(file: Path) -> int | None:
    """Return the offset of the first byte that is not UTF-8; None if all are."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with file.open("rb") as opened:
        while True:
            chunk = opened.read(CHUNK)
            kept = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return offset - kept + error.start
            if not chunk:
                return None
            offset += len(chunk)


def _count(file: Path) -> tuple[int, int, bool]:
    """Return how many characters beyond ASCII are UTF-8, how many bytes are not, and whether Windows-1252 lacks one."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    n_valid, n_wrong, undefined = 0, 0, False
    with file.open("rb") as opened:
        while True:
            chunk = opened.read(CHUNK)
            text = decoder.decode(chunk, final=not chunk)
            beyond = len(re.findall("[^\x00-\x7f]", text))
            escaped = len(re.findall("[\udc80-\udcff]", text))
            n_valid, n_wrong = n_valid + beyond - escaped, n_wrong + escaped
            undefined = undefined or UNDEFINED.search(chunk) is not None
            if not chunk:
                return n_valid, n_wrong, undefined


def _wrong_byte(file: Path, at: int, where: object) -> InputError:
    row, begin = 1, max(0, at - HEAD)
    with file.open("rb") as opened:
        for position in range(0, begin, CHUNK):
            row += opened.read(min(CHUNK, begin - position)).count(b"\n")
        head = opened.read(2 * HEAD)
    return encoding_error(head, at - begin, where, first_row=row)


def _rewritten(file: Path, encoding: str, where: object) -> tuple[Path, object, list[str]]:
    folder = Folder()
    out = folder.path / file.name
    name = {"cp1252": "Windows-1252 (Latin-1)", "latin-1": "Latin-1"}.get(encoding, "UTF-16")
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with file.open("rb") as opened, out.open("w", encoding="utf-8", newline="") as target:
            opened.seek(2 if name == "UTF-16" else 0)
            while True:
                chunk = opened.read(CHUNK)
                target.write(decoder.decode(chunk, final=not chunk))
                if not chunk:
                    break
    except UnicodeDecodeError as error:
        cause = f"it begins as {name} text, and is none: {error.reason}"
        raise InputError(where, cause=cause, cure="convert it, for example with iconv") from error
    except OSError as error:
        cause = f"no copy in UTF-8 can be written: {os.strerror(error.errno or 0)}"
        raise InputError(where, cause=cause, cure="make room in the folder for temporary files") from error
    return out, folder, [f"not UTF-8 text: read as {name}"]
