"""Output of commands: results on standard output, progress and errors on standard error, JSON to files.

Ids, titles and file names come from others, so text is printed literally: without markup, and with control characters
as escape codes such as \\x1b. Styles are given as `rich.text.Text`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from shutil import which
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pasand.errors import InputError
from pasand.progress import listening

if TYPE_CHECKING:
    from rich.progress import Progress

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters other than line breaks and tabs, marks that reorder text, and bytes that are not text."""


class LiteralConsole(Console):
    """Prints text as it is: it interprets no markup and no emoji codes, and shows control characters as codes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed, without control characters in their text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; on a terminal that shows progress on standard error, remove that meanwhile."""
        shown = _shown[-1] if _shown and not self.stderr and self.is_terminal else None
        if shown is not None:
            shown.stop()
        super().print(*objects, **options)
        if shown is not None:
            shown.start()


def printable(text: str, *, lines: bool = True) -> str:
    """Return a text with control characters as codes; without `lines`, line breaks and tabs as well.

    >>> print(printable("a\\x1b[2J"), printable("b\\nc", lines=False))
    a\\x1b[2J b\\nc
    """
    text = UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return text if lines else text.replace("\n", "\\n").replace("\t", "\\t")


_shown: list[Progress] = []
"""The progress that is shown now, if any."""
output = LiteralConsole(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 140)
errors = LiteralConsole(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def progress() -> Iterator[None]:
    """Show the progress of long work with the remaining time, if standard error is a terminal."""
    if not errors.is_terminal:
        yield
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as shown:
        tasks: dict[str, Any] = {}

        def listener(label: str, done: int, total: int | None) -> None:
            if label not in tasks:
                tasks[label] = shown.add_task(label, total=total)
            shown.update(tasks[label], completed=done, total=total)
            if total is not None and done >= total:
                shown.remove_task(tasks.pop(label))

        _shown.append(shown)
        try:
            with listening(listener):
                yield
        finally:
            _shown.remove(shown)


def write_json(path: Path | None, content: Any) -> None:
    """Write a result as JSON to a file, completely or not at all; "-" is standard output, None writes nothing."""
    if path is None:
        return
    text = json_text(content, indent=1)
    if str(path) == "-":
        print(text)
        return
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(path, cause=f"cannot be written: {error.strerror or error}", cure=NO_SPACE_CURE) from None
    finally:
        part.unlink(missing_ok=True)


def json_text(content: Any, *, indent: int | None = None) -> str:
    """Return a result as JSON in which a terminal finds no control characters."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


NO_SPACE_CURE = "free some space, or name another file"


def check_writable(*paths: Path | None) -> None:
    """Raise InputError for a path that a result cannot be written to; called before the work begins."""
    for path in paths:
        if path is None or str(path) == "-":
            continue
        if path.is_dir():
            raise InputError(path, cause="it is a folder", cure="name a file in it")
        if not path.absolute().parent.is_dir():
            raise InputError(path, cause="its folder does not exist", cure="make the folder, or name another file")
        _try_to_write(path.absolute().parent, path)


def check_folder(path: Path) -> None:
    """Raise InputError for a folder that cannot be made or written to; called before the work begins."""
    nearest = path.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(path, cause=f"{nearest} is a file", cure="name another folder")
    _try_to_write(nearest, path)


def _try_to_write(folder: Path, path: Path) -> None:
    from tempfile import TemporaryFile

    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        cause = f"{folder} cannot be written to: {error.strerror or error}"
        raise InputError(path, cause=cause, cure="name a path that you may write to") from None


def program() -> str:
    """Return how this program is started from here: pasand, or the path of the script where the shell finds another."""
    script = Path(sys.argv[0])
    found = which("pasand")
    if script.name != "pasand" or not script.exists() or (found and Path(found).resolve() == script.resolve()):
        return "pasand"
    path = script.absolute()
    return quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def quiet(path: Path | None) -> bool:
    """Return whether standard output is reserved for JSON."""
    return path is not None and str(path) == "-"


def assignments(texts: list[str], option: str) -> Mapping[str, str]:
    """Return `name=value` texts as a mapping; raises InputError for a text without "="."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise InputError(option, value=text, cause="not of the form NAME=VALUE", cure=f"write {option} name=value")
        pairs[name.strip()] = value.strip()
    return pairs
