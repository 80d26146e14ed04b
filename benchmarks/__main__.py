"""Command line: `python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME [--json FILE]` runs one.

`python -m benchmarks --results` prints the committed results as the table of the README.

A benchmark is a file of this folder with a docstring and a function `run() -> list[Row]`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import pkgutil
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks.rows import Row

NOT_BENCHMARKS = {"extremes", "rows", "peers", "sequences", "served", "__main__"}


def names() -> list[str]:
    """Return the names of all benchmarks."""
    found = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - NOT_BENCHMARKS
    return sorted(name.replace("_", "-") for name in found)


def machine() -> dict[str, object]:
    """Return the processor, the number of cores and the Python version of this machine."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version()}


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


def results() -> str:
    """Return the committed results as a Markdown table, with a row for each figure with a limit."""
    lines = ["| benchmark | what | figure | limit | holds |", "|---|---|---:|---:|---|"]
    for file in sorted((Path(__file__).parent / "results").glob("*.json")):
        for row in json.loads(file.read_text())["rows"]:
            if row["limit"] is None:
                continue
            peer = f" ({row['peer']}: {row['peer_value']:.4g})" if row["peer"] and row["peer_value"] else ""
            holds = "yes" if row["holds"] else "**no**"
            lines.append(
                f"| `{file.stem}` | {row['target']}{peer} | {row['value']:.4g} | {row['limit']:.4g} | {holds} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the command line described above."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=names())
    parser.add_argument("--json", type=Path, help="also write the rows, the command, the machine and the date")
    parser.add_argument("--results", action="store_true", help="print the committed results as a table")
    options = parser.parse_args()
    if options.results:
        print(results())
        return
    if options.name is None:
        for name in names():
            module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
            print(f"{name:20} {(module.__doc__ or '').strip().splitlines()[0]}")
        return
    rows: list[Row] = importlib.import_module(f"benchmarks.{options.name.replace('-', '_')}").run()
    show(rows)
    if options.json:
        result = {
            "command": f"python -m benchmarks {options.name}",
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
            "rows": [row.as_json() for row in rows],
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
