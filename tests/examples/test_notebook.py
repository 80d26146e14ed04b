"""The notebook of ten cells: every cell runs, and what a cell shows fits on a screen."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook" / "ten_cells.ipynb"
LINES, CHARACTERS = 40, 4000
"""What a screen shows."""


def test_every_cell_runs_and_shows_no_more_than_a_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 10
    names: dict[str, object] = {"__name__": "notebook"}
    for number, cell in enumerate(cells):
        tree = ast.parse("".join(cell["source"]), f"cell {number}")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        shown = capsys.readouterr().out + ("" if value is None else repr(value))
        assert bool(shown) == (last is not None), number
        assert len(shown.splitlines()) <= LINES, number
        assert len(shown) <= CHARACTERS, number
    for name in ("data", "board", "recommender", "again"):
        assert len(repr(names[name])) <= CHARACTERS, name
