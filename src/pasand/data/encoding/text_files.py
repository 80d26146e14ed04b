"""Reads text files of unknown quality: checks encoding, quotes and line lengths."""

from __future__ import annotations

from pathlib import Path

from pasand.data.encoding.unpacking import uncompressed
from pasand.errors import InputError

MAX_LINE_BYTES = 4 << 20
"""Lines of twice this length are always rejected; shorter lines than this never are."""


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


def encoding_error(head: bytes, at: int, where: object, *, first_row: int = 1) -> InputError:
    """Return the error for a file that is not UTF-8 text, from some of its bytes and the offset of the invalid one.

    `first_row` is the row in which these bytes begin.
    """
    row = head[:at].count(b"\n") + first_row
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
                if not b"".join(line.rstrip(b"\r\n").split(delimiter.encode())[width:]).strip():
                    cure = f"delete the delimiters at the end: sed -E 's/[{delimiter}]+\\r?$//' OLD > NEW"
                    return InputError(where, row=number, value=_start(line), cause=cause, cure=cure)
                cure = f'put quotes around cells that hold "{delimiter}", or mend the row'
                return InputError(where, row=number, value=_start(line), cause=cause, cure=cure)
            width = width or cells
    if quote:
        return unclosed_quote(where, quote, quote_line.decode("utf-8", "replace"))
    return None


def unclosed_quote(where: object, row: int, line: str) -> InputError:
    """Return the error for a quote that is never closed in a line or after it."""
    cause, cure = "the quote that opens there is never closed", "close it, or delete the quote"
    return InputError(where, row=row, value=line[:80].rstrip("\r\n"), cause=cause, cure=cure)


def _start(line: bytes) -> str:
    return line[:80].decode("utf-8", "replace").rstrip("\r\n")


def read_text(path: Path, *, encoding: str = "utf-8") -> str:
    """Return the text of a small file, compressed or plain; raises InputError where it is not in the encoding."""
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
