"""The import rules of docs/ARCHITECTURE.md: which package may import which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pasand

SOURCE = Path(pasand.__file__).parent

LINES = [
    {"types", "errors", "progress", "renamed"},
    {"python_cures"},
    {"heap", "mapped", "growable", "bundle_files"},
    {"data", "layouts"},
    {"simulation"},
    {"sources"},
    {"contracts", "layers"},
    {"following"},
    {"features", "encoders"},
    {"training"},
    {"models", "index", "metrics", "stages", "reranking"},
    {"recommender"},
    {"recipe", "default_recipe", "attribution"},
    {"evaluation", "explanation"},
    {"bundle"},
    {"audit", "attacks"},
    {"off_policy", "closed_loop"},
    {"serving"},
    {"client", "cli", "api"},
]
"""Packages by level. A package may import from itself and from the levels above its own, not from its own level."""


def level(package: str) -> int:
    return next(i for i, line in enumerate(LINES) if package in line)


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Return the packages of pasand that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            whole = node.module == "pasand"  # from pasand import recipe
            names = [f"pasand.{alias.name}" for alias in node.names] if whole else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("pasand.")}
    return found - {"__version__"}


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    own = package_of(path)
    for other in imported(path) - {own}:
        assert level(other) < level(own), f"{own} must not import {other}"


def test_serving_needs_no_torch() -> None:
    """Only files of `layers` and `training` import torch at their top; serving imports neither there."""
    importing = {
        path.relative_to(SOURCE)
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name and name.split(".")[0] == "torch"
    }
    assert {path.parts[0] for path in importing} <= {"layers", "training"}
