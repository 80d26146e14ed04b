"""The layout of a text table: its delimiter, whether it has a header, and quotes that are not those of CSV."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import polars.exceptions

from pasand.data.encoding.text_files import encoding_error, unclosed_quote
from pasand.data.encoding.unpacking import Folder
from pasand.data.log import Options
from pasand.errors import InputError

DELIMITERS = "\t,;|"

NO_NAME = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?|\d{4}[-/]\d\d[-/]\d\d.*|\d{8}T\d{6}.*")
"""Numbers and dates: a first line with one is no header."""

QUOTED = re.compile(r'(^|[\t,;|])"(?:[^"]|"")*"', re.MULTILINE)
"""A quoted cell after its delimiter."""

SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n])"?[\t,;| ]*\r?\n', re.IGNORECASE)
"""First line by which Excel knows the delimiter."""

ROW = "row "
"""Column of row numbers; the space keeps it apart from a table's columns."""

MAX_LINES = 1_000
"""Lines of a quoted cell at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Delimiter and header of a text table."""

    delimiter: str
    has_header: bool
    names_separator: bool = False
    """Whether the first line is that of Excel which names the delimiter: sep=;"""
    surplus: int = 0
    """Empty cells at the end of rows, beyond those of the header."""


def layout(file: Path, path: Path, options: Options) -> Layout:
    """Return the layout of a text table; raises InputError where there are no columns."""
    text = _head(file, path)
    separator = SEPARATOR_LINE.match(text)
    text = text if separator is None else text[separator.end() :]
    lines, given = _lines(text), options.delimiter or (separator and separator[1])
    if not lines:
        raise InputError(path, cause="the file is empty", cure="give a file with a header and rows")
    # delimiters and line breaks in quoted cells do not count, unless the quotes are no quotes
    unquoted = _lines(QUOTED.sub(r"\1", text))
    if given is not None:
        if len(given.encode()) != 1:
            raise InputError(path, value=given, cause="a delimiter is one character", cure="give one ASCII character")
        delimiter = given
    else:
        delimiter = _delimiter(unquoted) or _delimiter(lines)
        if not delimiter:
            cause = "no delimiter splits the lines into columns: there is one column only, or the lines differ"
            cure = "put commas, tabs, semicolons or | between the columns of every line"
            raise InputError(path, row=1, value=lines[0][:80], cause=cause, cure=cure)
    cells = [cell.strip().strip('"') for cell in lines[0].split(delimiter)]
    named = not any(NO_NAME.fullmatch(cell) for cell in cells)
    has_header = named if options.header is None else options.header
    return Layout(
        delimiter=delimiter,
        has_header=has_header,
        names_separator=separator is not None,
        surplus=_surplus(unquoted, delimiter) if has_header and lines[0].count('"') % 2 == 0 else 0,
    )


def _surplus(lines: list[str], delimiter: str) -> int:
    """Return the most cells that a row has beyond those of the first line, 0 where one of them is not empty."""
    width = lines[0].count(delimiter) + 1
    beyond = [line.split(delimiter)[width:] for line in lines]
    return 0 if any(cell.strip() for cells in beyond for cell in cells) else max(map(len, beyond))


def mended_head(file: Path, path: Path, layout: Layout) -> tuple[Path, object, list[str]]:
    """Return a file (or the same file), an object that keeps it alive, and notes.

    It lacks the line that names the delimiter, and its header has empty names for the surplus cells. Raises InputError
    where there is no room for it.
    """
    if not layout.names_separator and not layout.surplus:
        return file, None, []
    folder, notes = Folder(), []
    out = folder.path / file.name
    try:
        with file.open("rb") as opened, out.open("wb") as target:
            if layout.names_separator:
                line = opened.readline().decode("utf-8-sig").strip()
                notes.append(f"the first line, {line}, names the separator and is not counted as a row")
            if layout.surplus:
                while not (header := opened.readline()).strip():
                    target.write(header)
                names = header.rstrip(b"\r\n")
                target.write(names + layout.delimiter.encode() * layout.surplus + header[len(names) :])
                cells = "an empty cell" if layout.surplus == 1 else f"up to {layout.surplus} empty cells"
                notes.append(f"rows end with {cells} beyond the columns of the header, left out")
            shutil.copyfileobj(opened, target)
    except OSError as error:
        cause = f"no mended copy can be written: {os.strerror(error.errno or 0)}"
        raise InputError(path, cause=cause, cure="make room in the folder for temporary files") from error
    return out, folder, notes


def without_surplus(frame: pl.LazyFrame, path: Path, layout: Layout) -> pl.LazyFrame:
    """Return a table of texts without its surplus columns; raises InputError at the first of their cells with text."""
    if not layout.surplus:
        return frame
    names = frame.collect_schema().names()[-layout.surplus :]
    has_text = [(pl.col(name).str.strip_chars() != "").fill_null(False) for name in names]
    filled = frame.with_row_index(ROW, offset=2).filter(pl.any_horizontal(has_text)).head(1).collect()
    if len(filled):
        cell = next(text for text in filled.select(names).row(0) if text and text.strip())
        cure = f'put quotes around cells that hold "{layout.delimiter}", or mend the row'
        cause = "it is beyond the columns of the header"
        raise InputError(path, row=filled[ROW][0], value=cell, cause=cause, cure=cure)
    return frame.drop(names)


def _head(file: Path, path: Path) -> str:
    """Return the first 64 KiB of a file as text; raises InputError for other encodings and line endings."""
    with file.open("rb") as opened:
        head = opened.read(1 << 16)
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < 1 << 16:
            raise encoding_error(head, error.start, path) from error
        text = head[: error.start].decode("utf-8-sig")
    if "\0" in text:
        raise encoding_error(head, head.index(b"\0"), path)
    if "\r" in text.rstrip("\r") and "\n" not in text:
        cause, cure = "its lines end with CR alone, as on very old Macs", "convert it, for example with mac2unix"
        raise InputError(path, cause=cause, cure=cure)
    return text


def _lines(text: str) -> list[str]:
    """Return up to 50 lines that are not blank."""
    return [line for line in text.splitlines()[:50] if line.strip()]


def _delimiter(lines: list[str]) -> str:
    """Return the delimiter that is most often in every line; "" where none is."""
    counts = {sign: min((line.count(sign) for line in lines[:20]), default=0) for sign in DELIMITERS + " "}
    best = max(counts, key=lambda sign: counts[sign] if sign != " " else min(counts[sign], 0.5))
    return best if counts[best] else ""


def mended_quotes(file: Path, path: Path, delimiter: str) -> tuple[Path, object, list[str]]:
    """Return a file whose quotes are those of CSV (or the same file), an object that keeps it alive, and notes.

    Quotes inside a cell, as in 12" or "Heroes" live, belong to its text. Cells with line breaks are counted. Raises
    InputError for a quote that begins a cell and is never closed.
    """
    sign = f"\\x{{{ord(delimiter):x}}}"  # as polars writes it
    cell = f'(?:"(?:[^"]|"")*"|[^"{sign}]*)'
    well_formed = f"^{cell}(?:{sign}{cell})*\\r?$"
    line = pl.col("line")
    lines = pl.scan_csv(
        file,
        separator="\x01" if delimiter != "\x01" else "\x02",
        has_header=False,
        new_columns=["line"],
        quote_char=None,
        infer_schema=False,
        truncate_ragged_lines=True,
        glob=False,
    )
    try:
        suspicious = lines.filter(line.str.contains('"', literal=True) & ~line.str.contains(well_formed)).head(1)
        if not len(suspicious.collect()):
            return file, None, []
    except polars.exceptions.PolarsError:
        return file, None, []
    folder = Folder()
    quotes = _Quotes(path, delimiter)
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as opened:
        out = folder.path / file.name
        with out.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target:
            target.writelines(quotes.mended(opened))
    return out, folder, quotes.notes()


class _Quotes:
    """Mends the lines of a file, and counts what it mended."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path, self._delimiter = path, delimiter
        sign = re.escape(delimiter)
        self._whole = re.compile(f'"(?:[^"]|"")*"(?={sign}|\r?\n?$)')
        self._open = re.compile('"(?:[^"]|"")*')
        self._plain = re.compile(f"[^{sign}\r\n]*")
        self._width = 0
        self._literal = self._breaks = self._joined = 0
        self._first_literal = self._first_break = 0

    def mended(self, lines: Iterator[str]) -> Iterator[str]:
        """Yield the lines with all quotes as in CSV."""
        number = 0
        waiting: list[str] = []
        while True:
            line = waiting.pop(0) if waiting else next(lines, None)
            if line is None:
                return
            number += 1
            if '"' not in line:
                self._width = self._width or line.count(self._delimiter) + 1
                yield line
                continue
            cells, literal = self._cells(line)
            record, extra = line, 0
            while cells is None and not literal and extra < MAX_LINES:
                while len(waiting) <= extra and (more := next(lines, None)) is not None:
                    waiting.append(more)
                if len(waiting) <= extra:
                    break
                record += waiting[extra]
                extra += 1
                if '"' in waiting[extra - 1]:
                    cells, literal = self._cells(record)
                    if cells is not None and self._width and len(cells) != self._width:
                        cells = None
                        break
            if cells is None:
                cells, literal, extra, record = self._literal_cells(line, number), True, 0, line
            self._width = self._width or len(cells)
            if literal:
                self._literal += 1
                self._first_literal = self._first_literal or number
            if extra:
                self._breaks, self._joined = self._breaks + 1, self._joined + extra
                self._first_break = self._first_break or number
                del waiting[:extra]
                number += extra
            ending = record[len(record.rstrip("\r\n")) :]
            yield self._delimiter.join(cells) + ending

    def _cells(self, record: str) -> tuple[list[str] | None, bool]:
        """Return the cells of a record, quoted as in CSV, and whether a quote was literal.

        None: a quote that begins a cell is still open, or, if it was literal, is not closed where a cell ends.
        """
        cells: list[str] = []
        at, literal = 0, False
        end = len(record.rstrip("\r\n"))
        while True:
            found = self._whole.match(record, at)
            if found is None:
                if record.startswith('"', at):
                    is_open = self._open.fullmatch(record, at) is not None
                    return None, not is_open
                found = self._plain.match(record, at)
                assert found is not None
            cell = found.group()
            if '"' in cell and not cell.startswith('"'):
                cell, literal = _quoted(cell), True
            cells.append(cell)
            at = found.end()
            if at >= end:
                return cells, literal
            at += 1

    def _literal_cells(self, line: str, number: int) -> list[str]:
        """Return the cells of a line in which pairs of quotes at the beginning of a cell are text, too."""
        cells, at = [], 0
        end = len(line.rstrip("\r\n"))
        while True:
            found = self._whole.match(line, at) or self._plain.match(line, at)
            assert found is not None
            cell = found.group()
            if not self._whole.fullmatch(cell) and '"' in cell:
                if cell.startswith('"') and cell.count('"') % 2:
                    raise unclosed_quote(self._path, number, line)
                cell = _quoted(cell)
            cells.append(cell)
            at = found.end()
            if at >= end:
                return cells
            at += 1

    def notes(self) -> list[str]:
        """Return what was mended."""
        notes = []
        if self._literal:
            lines = "1 line has" if self._literal == 1 else f"{self._literal:,} lines have"
            notes.append(f"{lines} quotes inside a cell, which are read as text (first: row {self._first_literal})")
        if self._breaks:
            cells = "1 quoted cell holds" if self._breaks == 1 else f"{self._breaks:,} quoted cells hold"
            notes.append(
                f"{cells} line breaks, {self._joined:,} in all (first: row {self._first_break}); if these are rows of "
                "their own, delete the quote before them"
            )
        return notes


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'
