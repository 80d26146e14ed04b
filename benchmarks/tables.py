"""The tables of figures in documents: all in docs/benchmarks.md, and those that matter most in the README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks import provenance
from benchmarks.rows import ROOT

HEAD = ["| benchmark | what | figure | limit | holds |", "|---|---|---:|---:|---|"]
KEY = (
    ("start", "make demo once installed"),
    ("classical-parity", "EASE: difference of NDCG@10"),
    ("classical-speed", "implicit ALS: fit time"),
    ("rating", "RMSE of biased MF"),
    ("features", "ml-1m-2999-users: AUC"),
    ("ncf", "HR@10, NCF split of ML-1M, best recommender"),
    ("sequence-movielens", "temporal: NDCG@10 minus"),
    ("calibration", "reduction of the KL divergence of genres @10 at a loss of recall of at most 2.4 %"),
    ("index", "IVF, 5% allowed, at random: recall@100"),
    ("serve", "1,000,000 items, 16 connections: 99th percentile"),
)
"""Benchmark and beginning of the target of the rows of the README, whether they hold or not."""


def results(folder: Path = provenance.RESULTS) -> str:
    """Return the results of a folder as a Markdown table, with a row for each figure that is marked as comparable."""
    return "\n".join([*HEAD, *(line for _, _, line in _lines(folder))])


def key_results(folder: Path = provenance.RESULTS) -> str:
    """Return the rows of `KEY` as a Markdown table; raises KeyError for one without a comparable figure."""
    lines = list(_lines(folder))
    found = []
    for name, beginning in KEY:
        rows = [line for benchmark, target, line in lines if benchmark == name and target.startswith(beginning)]
        if len(rows) != 1:
            raise KeyError(f"{name}: {len(rows)} comparable figures begin with {beginning!r}")
        found.append(rows[0])
    return "\n".join([*HEAD, *found])


def write(root: Path = ROOT) -> list[Path]:
    """Replace the tables in docs/benchmarks.md and the README, and return the files."""
    files = {root / "docs" / "benchmarks.md": results(), root / "README.md": key_results()}
    for file, table in files.items():
        before, _, after = file.read_text("utf-8").partition(HEAD[0])
        rest = after.splitlines()
        end = next((n for n, line in enumerate(rest) if n and not line.startswith("|")), len(rest))
        file.write_text(before + "\n".join([table, *rest[end:]]).rstrip("\n") + "\n", "utf-8")
    return list(files)


def _lines(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield benchmark, target and line of the table of each comparable row."""
    for file in sorted(folder.glob("*.json")):
        for row in json.loads(file.read_text())["rows"]:
            if not row.get("comparable"):
                continue
            what = f"{row['target']}{', synthetic data' if row.get('synthetic') else ''}"
            peer = f" ({row['peer']}: {row['peer_value']:.4g})" if row["peer"] and row["peer_value"] else ""
            limit = "" if row["limit"] is None else f"{row['limit']:.4g}"
            holds = {None: "", True: "yes", False: "**no**"}[row["holds"]]
            line = f"| `{file.stem}` | {what}{peer} | {row['value']:.4g} | {limit} | {holds} |"
            yield file.stem, row["target"], line
