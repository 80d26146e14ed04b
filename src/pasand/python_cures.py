"""Errors and notes with the options of the command line as the arguments of Python's functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pasand.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")

NAMES = {"value-as": "values", "time-format": "time_format", "positive-from": "positive_from"}
"""Arguments of `pasand.load` by option, where only the spelling differs or the name does."""
NUMBERS = {"positive-from"}
WORD = r"'[^']*'|[^\s,;.:)]+(?:\.\w+)*"
"""A quoted text, or a word without the sign that ends it."""
QUOTED = r"'[^']*'"
WEIGHTS = rf"{QUOTED}|[^\s='\"]+=[^\s;:)]*\d"
"""Types of events with their weights."""


def in_python(text: str) -> str:
    """Return a message with options of the command line written as arguments of Python's functions.

    >>> in_python("name the columns: --column user=client --column item=NAME")
    'name the columns: user="client", item="NAME"'
    >>> in_python("weigh them, --events 'view=1,cart=2', or keep one, --where 'event = cart'; or --no-header.")
    'weigh them, events={"view": 1, "cart": 2}, or keep one, where="event = cart"; or header=False.'
    >>> in_python("change --where or --events")
    'change where or events'
    >>> in_python("name it: --column items.id=sku")
    'name it: id_columns={"items": "sku"}'
    """
    text = re.sub(r"(--column \S+) (?=--column)", r"\1, ", text)
    text = re.sub(
        rf"--column (items|users)\.id=({WORD})",
        lambda found: f'id_columns={{"{found[1]}": {_quoted(found[2])}}}',
        text,
    )
    text = re.sub(rf"--column (\w+)=({WORD})", lambda found: f"{found[1]}={_quoted(found[2])}", text)
    text = re.sub(rf"--events ({WEIGHTS})", lambda found: f"events={_weights(found[1])}", text)
    text = text.replace("--no-header", "header=False").replace("--keep-duplicates", "keep_duplicates=True")
    text = text.replace("--events", "events")
    for option in (
        "where",
        "time-format",
        "value-as",
        "positive-from",
        "items",
        "users",
        "impressions",
        "query",
        "protocol",
    ):
        name = NAMES.get(option, option)
        number = option in NUMBERS
        value = QUOTED if option == "where" else WORD

        def argument(found: re.Match[str], name: str = name, number: bool = number) -> str:
            return f"{name}={found[1] if number else _quoted(found[1])}"

        text = re.sub(rf"--{option} ((?!=|or\b|and\b)(?:{value}))", argument, text)
        text = re.sub(rf"--{option}\b", name, text)
    return text


def speaks_python(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function with errors whose cures name arguments rather than options."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except InputError as error:
            error.args = (in_python(str(error)),)
            raise

    return called


def _quoted(text: str) -> str:
    return '"' + text.strip("'").replace('"', '\\"') + '"'


def _weights(text: str) -> str:
    pairs = [pair.partition("=") for pair in text.strip("'").split(",")]
    return "{" + ", ".join(f'"{name}": {weight}' for name, _, weight in pairs) + "}"
