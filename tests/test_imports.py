"""The diagram of docs/ARCHITECTURE.md: which package may import which, held as data."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pasand

SOURCE = Path(pasand.__file__).parent

LINES = [
    {"types", "errors", "progress"},
    {"heap", "mapped", "growable"},
    {"data"},
    {"simulation"},
    {"sources"},
    {"contracts", "layers"},
    {"features", "encoders"},
    {"training"},
    {"models", "index", "metrics", "stages", "reranking"},
    {"recommender"},
    {"recipe", "evaluation", "explanation"},
    {"bundle"},
    {"serving"},
    {"client", "cli"},
]
"""Each line may import only from the lines above it, and a package from itself; those of one line are strangers."""


def level(package: str) -> int:
    return next(i for i, line in enumerate(LINES) if package in line)


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """The parts of pasand that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("pasand.")}
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    own = package_of(path)
    for other in imported(path) - {own}:
        assert level(other) < level(own), f"{own} must not import {other}"


def test_models_answer_without_torch() -> None:
    """Only `layers` and `training` name torch at the top of a file, and what serves does not."""
    naming = {
        path.relative_to(SOURCE)
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name and name.split(".")[0] == "torch"
    }
    assert {path.parts[0] for path in naming} <= {"layers", "training"}
