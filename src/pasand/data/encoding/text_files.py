"""Opens text files of unknown quality: unpacks gzip, and checks encoding, quotes, line lengths and truncation."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import weakref
import zlib
from pathlib import Path

from pasand.errors import InputError
from pasand.progress import step

MAX_LINE_BYTES = 4 << 20
"""Lines of twice this length are always rejected; shorter lines than this never are."""


class Folder:
    """A temporary folder that is deleted with the object, at the latest when the program ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pasand-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def uncompressed(path: Path) -> tuple[Path, object]:
    """Return the path of the uncompressed file, and an object that keeps it alive; raises InputError for damaged gzip.

    A gzip file is unpacked in chunks into a temporary folder, which is deleted with that object. A file that is not
    compressed is returned as it is, with None.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        if not compressed:
            return path, None
        folder = Folder()
        out = folder.path / (path.name.removesuffix(".gz") or "unpacked")
        done = 0
        with gzip.open(path) as source, out.open("wb") as target:
            while chunk := source.read(1 << 22):
                target.write(chunk)
                done += len(chunk)
                step(f"unpacking {path.name}", done, None)
        step(f"unpacking {path.name}", done, done)
        return out, folder
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            path, cause=f"the gzip file is truncated or damaged ({error})", cure="download it again"
        ) from error
    except IsADirectoryError as error:
        raise InputError(path, cause="it is a folder, not a file", cure="name a file in it") from error
    except OSError as error:
        raise InputError(path, cause=f"it cannot be read: {error.strerror or error}", cure=CURE) from error


CURE = "check that it exists, that you may read it, and that the disk has room"


def check_lines(path: Path, where: object) -> None:
    """Raise InputError for an empty file, and for one with a line too long for memory; reads a sample of the file."""
    size = path.stat().st_size
    if size == 0:
        raise InputError(where, cause="the file is empty", cure="give a file with a header and rows")
    with path.open("rb") as file:
        for start in range(0, size, MAX_LINE_BYTES):
            file.seek(start)
            left = min(MAX_LINE_BYTES, size - start)
            if left < MAX_LINE_BYTES and start == 0:
                return
            while left > 0:
                chunk = file.read(min(left, 1 << 16))
                if b"\n" in chunk or not chunk:
                    break
                left -= len(chunk)
            else:
                if start + MAX_LINE_BYTES <= size:
                    raise InputError(
                        where,
                        cause=f"a line around byte {start:,} is longer than {MAX_LINE_BYTES >> 20} MiB",
                        cure="check that it is a text file with one row a line",
                    )


def encoding_error(head: bytes, at: int, where: object) -> InputError:
    """Return the error for a file that is not UTF-8 text, from its first bytes and the offset of the invalid byte."""
    row = head[:at].count(b"\n") + 1
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return InputError(where, cause="it is UTF-16 text", cure="convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW")
    if head.count(b"\0") > len(head) // 100:
        return InputError(where, cause="it is a binary file, not text", cure="give CSV, TSV, Parquet or JSON lines")
    start = head.rfind(b"\n", 0, at) + 1
    line = head[start : at + 40].split(b"\n")[0].decode("utf-8", "replace").strip()[:80]
    if head[at] == 0:
        return InputError(where, row=row, value=line, cause="it holds a zero byte", cure="mend or delete that row")
    return InputError(where, row=row, value=line, cause="not UTF-8 text", cure=f"convert it: {ICONV}")


ICONV = "iconv -f LATIN1 -t UTF-8 OLD > NEW"


def broken_row_error(file: Path, where: object, delimiter: str) -> InputError | None:
    """Return the error for the first row with an unclosed quote, or with more cells than the first; None if all fit.

    Rows are counted in lines; the first line of the file is row 1.
    """
    width, quote, quote_line = 0, 0, b""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            cells = line.count(delimiter.encode()) + 1
            if b'"' in line:
                if line.count(b'"') % 2:
                    quote, quote_line = (0, b"") if quote else (number, line)
            elif not quote and width and cells > width:
                cause = f"it has {cells} cells, and the first row has {width}"
                cure = f'put quotes around cells that hold "{delimiter}", or mend the row'
                return InputError(where, row=number, value=_start(line), cause=cause, cure=cure)
            width = width or cells
    if quote:
        cause, cure = "the quote that opens there is never closed", "close it, or delete the quote"
        return InputError(where, row=quote, value=_start(quote_line), cause=cause, cure=cure)
    return None


def _start(line: bytes) -> str:
    return line[:80].decode("utf-8", "replace").rstrip("\r\n")


def read_text(path: Path, *, encoding: str = "utf-8") -> str:
    """Return the text of a small file, gzip or plain; raises InputError where it is not in the encoding."""
    opened, _keep = uncompressed(path)
    try:
        return opened.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        cause = f"not {encoding} text"
        raise InputError(path, row=line, cause=cause, cure="convert it, for example with iconv") from error


def find_file(folder: Path, *names: str) -> Path | None:
    """Return the first of these files that is in the folder, as it is or with .gz; None if none is."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None
