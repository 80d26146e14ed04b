"""Messages name only commands and options that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer

import pasand
from pasand.cli.main import application

SOURCES = Path(pasand.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
COMMAND = re.compile(r"(?:`|with: |try: )pasand ([a-z]+)(?: ([a-z]+))?([^`\n]*)")
"""A command in backquotes, or after a colon."""

OF_PIP = {"--no-deps"}
"""Options of `pip install` that messages name."""


def options() -> dict[str, set[str]]:
    """Return the options of every command by its name, such as "data check"; those of `pasand` itself by ""."""
    found: dict[str, set[str]] = {}

    def collect(command: object, words: tuple[str, ...]) -> None:
        members = getattr(command, "commands", None)
        parameters = getattr(command, "params", [])
        found[" ".join(words)] = {o for p in parameters for o in [*p.opts, *p.secondary_opts] if o.startswith("-")}
        if members is not None:
            for name, member in members.items():
                collect(member, (*words, name))

    collect(typer.main.get_command(application()), ())
    return found


def messages() -> Iterator[tuple[str, str]]:
    """Yield every text in the source code that is not a docstring, with its file; values of f-strings become X."""
    for file in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(file.read_text())
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in bare or id(node) in inside:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(file.relative_to(SOURCES)), node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values]
                yield str(file.relative_to(SOURCES)), "".join(parts)


def test_options_in_messages_exist() -> None:
    known = options()
    every = {option for own in known.values() for option in own} | {"--help"}
    named = [(file, text, option) for file, text in messages() for option in OPTION.findall(text)]
    assert len(named) > 40
    wrong = [(file, option, text) for file, text, option in named if option not in every | OF_PIP]
    assert not wrong


def test_commands_in_messages_exist_and_have_the_options_named_with_them() -> None:
    known = options()
    found = [(file, command) for file, text in messages() for command in COMMAND.finditer(text)]
    assert len(found) > 8
    for file, command in found:
        name = next((name for name in (f"{command[1]} {command[2]}", command[1]) if name in known), None)
        assert name is not None, (file, command[0])
        for option in OPTION.findall(command[3]):
            assert option in known[name], (file, command[0])
