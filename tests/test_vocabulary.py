"""The field's words: no file, help text or page speaks the private dialect that pasand once had.

`python -m tests.test_vocabulary [PATH ...]` lists the lines that would fail.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READ = (".py", ".toml", ".md", ".js", ".html", ".css", ".j2")
FOLDERS = ("src", "docs", "examples", "benchmarks", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")

INSTEAD = {
    r"likings?": "positive (interaction), liked item, preference",
    r"foresee(s|n|ing)?|foresight|foresaw": "predict, prediction, predicted",
    r"opinions?": "scores; base models",
    r"told|tells?|telling": "given, known, passed in (inputs); print, show, report, log (outputs)",
    r"asks?|asked|asking": "request, query",
    r"questions?": "test query, query, request",
    r"answer(s|ed|ing|able)?": "response, recommendation; respond, return, score",
    r"said|says": "cached item embeddings; states, returns, names, reports",
    r"withheld|withholds?": "validation split, held out",
    r"anew": "again, from scratch, retrain",
    r"fading|fades?|faded": "decay, half-life, discount",
    r"strangers?": "id dropout; unknown",
    r"barred|bars|barring": "excluded, blocked",
    r"places?": "position (of an item in a list); row, path, folder, location",
    r"moments?": "time, timestamp",
    r"ladders?|rungs?": "fallback chain, step of it",
    r"pasts": "recent events",
    r"nobody": "anonymous user; no user",
    r"somebody|someone|whoever|whomever|everybody|anybody": "a user, users who",
    r"those who|whom": "users who",
    r"stands?|stood": "is ranked, is at, is, lies",
    r"come(s)? true|came true": "match, are correct",
    r"taken|took": "clicked, consumed; used, read",
    r"what is known of": "item features, catalogue metadata",
    r"of old|of late": "older, recent",
    r"so many": "that many, a number of, the first n",
}
"""Words of the dialect, as regular expressions of whole words, and what the field says."""

ALLOWED = re.compile(
    r"in place of|in[- ]place\b|takes? place|taken (from|in|out|as|into|apart)\b|place-items|placeholder|question mark"
    r"|as many",
    re.IGNORECASE,
)
"""Uses that are plain English or another term of the field."""

LEGITIMATE: dict[str, tuple[str, ...]] = {
    "src/pasand/evaluation/tune.py": ("_study.ask(", "_study.tell("),
    "src/pasand/renamed.py": ('"strangers":', '"questions":', '"fading":', '"taken":', '"likings":'),
    "src/pasand/sources/impression_tables.py": ('"position pos place', '"taken clicked'),
    "README.md": ('(पसंद, "liking")',),
}
"""Parts of lines, by file, in which such a word is legitimate: a column name of foreign logs, a method of a library."""

WORDS = re.compile(rf"(?<![a-z])({'|'.join(INSTEAD)})(?![a-z])", re.IGNORECASE)


def hits(text: str, legitimate: tuple[str, ...] = ()) -> Iterator[tuple[int, str, str]]:
    """Yield the number of each line that holds a word of the dialect, the word and the line."""
    for number, line in enumerate(text.splitlines(), 1):
        if any(part in line for part in legitimate):
            continue
        spelt = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", ALLOWED.sub("", line))  # names are words, too
        for found in WORDS.finditer(spelt):
            yield number, found.group(), line.strip()


def files(*paths: str) -> list[Path]:
    """Return all files of these paths that people read."""
    found: list[Path] = []
    for path in paths or FOLDERS:
        whole = ROOT / path
        found += [whole] if whole.is_file() else sorted(file for file in whole.rglob("*") if file.suffix in READ)
    return found


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_words_are_those_of_the_field(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    found = list(hits(path.read_text(), LEGITIMATE.get(name, ())))
    assert not found, "\n".join(f"{name}:{number}: {word!r} in: {line}" for number, word, line in found)


def test_hits_are_found_in_prose_and_in_names() -> None:
    text = "the liked item\nwhat somebody likes\ndef is_told(x): ...\nclass ForeseenMinutes: ...\nin place of the old"
    assert [(number, word) for number, word, _ in hits(text)] == [(2, "somebody"), (3, "told"), (4, "Foreseen")]


if __name__ == "__main__":
    for file in files(*sys.argv[1:]):
        where = str(file.relative_to(ROOT))
        for number, word, line in hits(file.read_text(), LEGITIMATE.get(where, ())):
            print(f"{where}:{number}: {word}: {line[:140]}")
