"""Hashes of the code that a benchmark measures, which show whether a result is older than that code.

A hash is one of the syntax tree without docstrings, comments and formatting, so that prose makes no result old; that of
a TOML file is one of its content. Code is named by its file, relative to the repository, or by a definition in it:
"src/pasand/models/deep_model.py:DeepModel.fit".
"""

from __future__ import annotations

import ast
import hashlib
import tomllib
from collections.abc import Iterable
from pathlib import Path

from benchmarks.rows import ROOT

SOURCE = ROOT / "src" / "pasand"
SUFFIXES = (".py", ".toml")


def code_hash(name: str, text: str) -> str:
    """Return the hash of code, given its name and the text of its file; raises LookupError for a missing definition.

    >>> code_hash("a.py", 'x = 1  # one') == code_hash("a.py", '"A number."\\n\\nx = (1)')
    True
    """
    file, _, definition = name.partition(":")
    content: object = tomllib.loads(text) if file.endswith(".toml") else _canonical(_definition(text, definition))
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def names(paths: Iterable[str]) -> list[str]:
    """Return the names of the code of files, folders and definitions in `src/pasand`, sorted.

    Raises FileNotFoundError for a path that does not exist.
    """
    found = set()
    for path in paths:
        file, _, definition = path.partition(":")
        chosen = SOURCE / file
        if not chosen.exists():
            raise FileNotFoundError(f"{file} is not in {SOURCE}")
        inside = [part for part in chosen.rglob("*") if part.suffix in SUFFIXES] if chosen.is_dir() else [chosen]
        found |= {f"{part.relative_to(ROOT)}{':' if definition else ''}{definition}" for part in inside}
    return sorted(found)


def hashes(paths: Iterable[str]) -> dict[str, str]:
    """Return the hashes of files, folders and definitions in `src/pasand`, by their names."""
    return {name: code_hash(name, (ROOT / name.partition(":")[0]).read_text()) for name in names(paths)}


def texts(*folders: Path) -> dict[str, str]:
    """Return the texts of all files of code in these folders, by their paths relative to the repository."""
    found = [file for folder in folders for file in sorted(folder.rglob("*")) if file.suffix in SUFFIXES]
    return {str(file.relative_to(ROOT)): file.read_text() for file in found}


def _definition(text: str, name: str) -> ast.AST:
    """Return the syntax tree of Python source, or of the definition with this dotted name in it."""
    tree: ast.AST = ast.parse(text)
    for part in name.split(".") if name else ():
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [node for node in ast.iter_child_nodes(tree) if isinstance(node, kinds) and node.name == part]
        if not found:
            raise LookupError(f"{name} is not defined")
        tree = found[0]
    return tree


def _canonical(node: object) -> object:
    """Return a syntax tree as nested tuples that are the same in all versions of Python."""
    if isinstance(node, ast.AST):
        fields = [(name, _canonical(value)) for name, value in ast.iter_fields(node) if name != "kind"]
        return type(node).__name__, [(name, value) for name, value in fields if value not in (None, [])]
    if isinstance(node, list):
        return [_canonical(part) for part in node if not _is_text(part)]
    return node if node is None or isinstance(node, str) else repr(node)


def _is_text(node: object) -> bool:
    """Return whether a statement is a string alone: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
