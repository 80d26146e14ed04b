"""Files as they come: compressed, cut off, not text, with lines that no memory holds."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import weakref
import zlib
from pathlib import Path

from pasand.errors import InputError
from pasand.progress import step

LONGEST_LINE = 4 << 20
"""Bytes; lines of twice this length are refused, shorter than this they never are."""


class Folder:
    """A temporary folder that goes when the object does, at the latest when the program ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pasand-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def plain(path: Path) -> tuple[Path, object]:
    """Return the path of the uncompressed file, and a thing that keeps it alive; raises InputError if gzip is broken.

    A gzip file is unpacked in pieces into a temporary folder that goes when the thing does.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if not packed:
            return path, None
        folder = Folder()
        out = folder.path / (path.name.removesuffix(".gz") or "unpacked")
        done = 0
        with gzip.open(path) as source, out.open("wb") as target:
            while piece := source.read(1 << 22):
                target.write(piece)
                done += len(piece)
                step(f"unpacking {path.name}", done, None)
        step(f"unpacking {path.name}", done, done)
        return out, folder
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(path, cause=f"the gzip file is cut off or damaged ({error})", cure="fetch it again") from error
    except IsADirectoryError as error:
        raise InputError(path, cause="it is a folder, not a file", cure="name a file in it") from error
    except OSError as error:
        raise InputError(path, cause=f"it cannot be read: {error.strerror or error}", cure=CURE) from error


CURE = "check that it exists, that you may read it, and that the disk has room"


def check_lines(path: Path, where: object) -> None:
    """Raise InputError for an empty file and for one with a line too long for memory; reads a sliver of the file."""
    size = path.stat().st_size
    if size == 0:
        raise InputError(where, cause="the file is empty", cure="give a file with a header and rows")
    with path.open("rb") as file:
        for start in range(0, size, LONGEST_LINE):
            file.seek(start)
            left = min(LONGEST_LINE, size - start)
            if left < LONGEST_LINE and start == 0:
                return
            while left > 0:
                piece = file.read(min(left, 1 << 16))
                if b"\n" in piece or not piece:
                    break
                left -= len(piece)
            else:
                if start + LONGEST_LINE <= size:
                    raise InputError(
                        where,
                        cause=f"a line around byte {start:,} is longer than {LONGEST_LINE >> 20} MiB",
                        cure="check that it is a text file with one row a line",
                    )


def encoded_otherwise(head: bytes, at: int, where: object) -> InputError:
    """Return the refusal of a file whose byte at this place is not UTF-8 text, from its first bytes."""
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


def broken_row(file: Path, where: object, delimiter: str) -> InputError | None:
    """Return the refusal that names the first row with an unclosed quote, or with more cells than the first.

    None where there is no such row. The row is counted in lines, the first line of the file being row 1.
    """
    width, quote, text_of_quote = 0, 0, b""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            cells = line.count(delimiter.encode()) + 1
            if b'"' in line:
                if line.count(b'"') % 2:
                    quote, text_of_quote = (0, b"") if quote else (number, line)
            elif not quote and width and cells > width:
                cause = f"it has {cells} cells, and the first row has {width}"
                cure = f'put quotes around cells that hold "{delimiter}", or mend the row'
                return InputError(where, row=number, value=_start(line), cause=cause, cure=cure)
            width = width or cells
    if quote:
        cause, cure = "the quote that opens there is never closed", "close it, or delete the quote"
        return InputError(where, row=quote, value=_start(text_of_quote), cause=cause, cure=cure)
    return None


def _start(line: bytes) -> str:
    return line[:80].decode("utf-8", "replace").rstrip("\r\n")


def text(path: Path, *, encoding: str = "utf-8") -> str:
    """Return the text of a small file, gzip or plain; raises InputError where it is not in the encoding."""
    opened, _keep = plain(path)
    try:
        return opened.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        cause = f"not {encoding} text"
        raise InputError(path, row=line, cause=cause, cure="convert it, for example with iconv") from error


def found(folder: Path, *names: str) -> Path | None:
    """Return the first of the names that is a file of the folder, as it is or with .gz."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None
