"""Command line: `python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME [--json FILE]` runs one.

`--results` prints the committed results as a table: the rows that are marked as comparable. `--tables` writes it into
docs/benchmarks.md, and the figures that matter most into the README.
`--stale` lists the committed results whose code has changed since, and exits with status 1 if there are any.

A benchmark is a file of this folder with a docstring and a function `run() -> list[Row]`. Its result carries hashes of
the code that it measures (`provenance`): what the benchmark declares as `MEASURES`, narrowly, so that it gets old only
by changes of what it is about. The path that all of them share, such as reading, encoding and evaluating, is covered by
`smoke`, which declares nothing, depends on all that it loads, and repeats to the digit on one kind of processor, once
kernels are compiled.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import provenance, tables
from benchmarks.rows import Row


def names() -> dict[str, str]:
    """Return the names of all benchmarks with the first lines of their docstrings, without importing them."""
    found = {}
    for file in sorted(provenance.FOLDER.glob("*.py")):
        tree = ast.parse(file.read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
        if functions and len(functions[0].args.args) == len(functions[0].args.defaults):
            found[file.stem.replace("_", "-")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def show(rows: list[Row]) -> None:
    """Print the rows as a table."""
    table = Table("target", "value", "limit", "holds", "peer", "peer value", "ratio", "detail")
    for row in rows:
        value, limit, peer = (
            "" if v is None else f"{v:.4g}" if abs(v) < 1e4 else f"{v:,.0f}"
            for v in (row.value, row.limit, row.peer_value)
        )
        holds = {None: "", True: "yes", False: "NO"}[row.holds]
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.target, value, limit, holds, row.peer, peer, ratio, row.detail)
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def main() -> None:
    """Run the command line described above."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=list(names()))
    parser.add_argument("--json", type=Path, help="also write the rows and their origin")
    parser.add_argument("--results", action="store_true", help="print the comparable committed results as a table")
    parser.add_argument(
        "--stale", action="store_true", help="list the committed results that are older than their code"
    )
    parser.add_argument("--tables", action="store_true", help="write the tables of docs/benchmarks.md and the README")
    options = parser.parse_args()
    if options.results:
        print(tables.results())
    elif options.tables:
        print(*tables.write(), sep="\n")
    elif options.stale:
        found = provenance.stale()
        for name, why in found.items():
            print(f"{name:20} {why}")
        sys.exit(1 if found else 0)
    elif options.name is None:
        for name, what in names().items():
            print(f"{name:20} {what}")
    else:
        run(options.name, options.json)


def run(name: str, file: Path | None) -> None:
    """Run a benchmark, print its rows, and write them with their origin to a file."""
    before = provenance.all_texts()
    module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    rows: list[Row] = module.run()
    show(rows)
    for row in rows:
        if not row.is_marked:
            print(f"{row.target}: neither marked as comparable nor with a reason why not", file=sys.stderr)
    if file:
        origin = provenance.provenance(module, before)
        result = {"command": f"python -m benchmarks {name}", **origin, "rows": [row.as_json() for row in rows]}
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
