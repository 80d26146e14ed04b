"""Rivals side by side: FA*IR tables of LensKit and fairsearchcore, AIF360's re-ranker, and the step of P-MMF.

Tables are those of the 200 settings of `fair-topk`. The failure probability of each, the rivals' too, is computed by
`failure_probability`, which the first row compares with an enumeration of all rankings of 10. A table fails its test if
this probability is above the significance. fairsearchcore needs an old Python to make adjusted tables, and has 5 s for
each; LensKit needs Python 3.13 for its current version. A rival that cannot be installed is named on the error output.

Re-ranking is 200 -> 20 by shares of the groups of one attribute, as AIF360's four methods have it: at least floor(p j)
and at most ceil(p j) of a group on the first j positions. A list with an item twice keeps no rule. Scores are normal,
with a mean that differs by group; losses are shares of the DCG of the list without rules, over the lists without
repetition. Ours is the compiled search, AIF360's time is that of `fit_predict` with its data frame.

`PASAND_RIVAL_LENGTHS` (such as "10,20") and `PASAND_RIVAL_CASES` in the environment make a smaller run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any

import numpy as np

from benchmarks.fair_topk import LENGTHS, SHARES, SIGNIFICANCES
from benchmarks.rows import Row, interpreter, peer_python, run_peer
from pasand.reranking.rules.fair_topk import failure_probability, minimum_counts
from pasand.reranking.rules.prefix_rules import best_order
from pasand.types import Array

MEASURES = ("reranking/rules/fair_topk.py", "reranking/rules/prefix_rules.py")
SECONDS = 5
"""Time of fairsearchcore for one table."""
N, K, BUDGET = 200, 20, 100_000
WEIGHTS = 1 / np.log2(np.arange(K) + 2.0)
GROUPS = (2, 3, 4)
PROVIDERS = (10, 50, 200)
Setting = tuple[int, float, float]


def peer(name: str, *packages: str, version: str | None = None) -> Path | None:
    """Return the Python of a rival, or None, with a message, where it cannot be installed."""
    base = sys.executable if version is None else interpreter(version)
    if base is None:
        print(f"{name} cannot be installed: there is no Python {version}", file=sys.stderr)
        return None
    try:
        return peer_python(name, *packages, base=base)
    except subprocess.CalledProcessError as error:
        print(f"{name} cannot be installed: {error}", file=sys.stderr)
        return None


def settings() -> list[Setting]:
    """Return k, p and significance of each table."""
    chosen = os.environ.get("PASAND_RIVAL_LENGTHS")
    lengths = LENGTHS if chosen is None else tuple(map(int, chosen.split(",")))
    return list(product(lengths, SHARES, SIGNIFICANCES))


def enumerated(table: Array, share: float) -> float:
    """Return the failure probability by enumeration of all rankings."""
    ones = np.arange(2 ** len(table))[:, None] >> np.arange(len(table)) & 1
    members = ones.sum(axis=1)
    chance = share**members * (1 - share) ** (len(table) - members)
    return float(chance[(np.cumsum(ones, axis=1) < table).any(axis=1)].sum())


def tables() -> list[Row]:
    """Return the rows of FA*IR."""
    wanted, failures, difference = settings(), [], 0.0
    began = thread_time()
    ours = [minimum_counts(*one) for one in wanted]
    seconds = thread_time() - began
    for (k, share, significance), (table, failure) in zip(wanted, ours, strict=True):
        failures.append(failure / significance)
        if k <= 10:
            difference = max(difference, abs(enumerated(table, share) - failure_probability(table, share)))
    rows = [
        Row(
            target="failure probability of the tables of 10 against enumeration, largest difference",
            value=difference,
            limit=1e-12,
            better="lower",
            reason="exactness is a property of the method, not of data",
        )
    ]
    lenskit = peer("lenskit", "torch==2.13.0", "lenskit", version="3.13")
    if lenskit is not None:
        found = run_peer(lenskit, "lenskit_fair_tables.py", json.dumps(wanted))
        rows += compared("LensKit", wanted, found, failures, seconds)
    old = ("fairsearchcore==1.0.4", "pandas<1.2", "scipy<1.6", "numpy<1.20")
    fairsearch = peer("fairsearchcore", *old, version="3.8")
    if fairsearch is not None:
        found = run_peer(fairsearch, "fairsearch_tables.py", json.dumps(wanted), SECONDS)
        rows += compared("fairsearchcore", wanted, found, failures, seconds)
    return rows


def compared(name: str, wanted: list[Setting], found: Any, ours: list[float], seconds: float) -> list[Row]:
    """Return the rows of a rival's tables; `ours` are our failure probabilities divided by the significance."""
    ratios = {}
    for one, made in zip(wanted, found, strict=True):
        if made["table"] is not None:
            ratios[one] = failure_probability(np.array(made["table"]), one[1]) / one[2]
    if not ratios:
        print(f"{name} made no table: {found[0].get('error')}", file=sys.stderr)
        return []
    above = sum(ratio > 1 + 1e-9 for ratio in ratios.values())
    worst = max(ratios, key=lambda one: ratios[one])
    detail = f"{len(ratios)} of {len(wanted)} tables made by {name}, {above} above; worst at k = {worst[0]}, "
    detail += f"p = {worst[1]:g}, significance {worst[2]:g}; median ratio {np.median(list(ratios.values())):.3f}, "
    detail += f"ours {np.median(ours):.3f}"
    return [
        Row(
            target="tables that fail more often than the significance, share of those made",
            value=float(np.mean([ratio > 1 + 1e-9 for ratio in ours])),
            limit=0.0,
            better="lower",
            peer=name,
            peer_value=above / len(ratios),
            detail=detail,
            comparable=True,
        ),
        Row(
            target="failure probability divided by the significance, largest",
            value=max(ours),
            limit=1.0,
            better="lower",
            peer=name,
            peer_value=ratios[worst],
            comparable=True,
        ),
        Row(
            target="seconds of all tables",
            value=seconds,
            limit=None,
            better="lower",
            peer=name,
            peer_value=sum(made["seconds"] for made in found),
            detail=f"{name}: {SECONDS} s at most for each" if name == "fairsearchcore" else "",
            comparable=True,
        ),
    ]


def cases(n_groups: int, n: int) -> list[dict[str, Any]]:
    """Return scores in descending order, the group of each item, and shares that are exact in binary and sum to 1."""
    rng, found = np.random.default_rng(n_groups), []
    for _ in range(n):
        group = rng.integers(0, n_groups, N)
        group[:n_groups] = np.arange(n_groups)
        scores = rng.normal(size=N) + 0.5 * group
        order = np.argsort(-scores)
        sixteenths = 1 + rng.multinomial(16 - n_groups, np.full(n_groups, 1 / n_groups))
        found.append({"scores": scores[order].tolist(), "group": group[order].tolist(), "share": sixteenths / 16})
    return [{**one, "share": one["share"].tolist()} for one in found]


def held(group: Array, share: Array) -> tuple[bool, bool]:
    """Return whether a list keeps the minima of all prefixes, and the maxima as well."""
    count = np.cumsum(group[:, None] == np.arange(len(share)), axis=0)
    slots = np.arange(1, len(group) + 1)[:, None]
    low, high = np.floor(slots * share) <= count, count <= np.ceil(slots * share)
    return bool(low.all()), bool(low.all() and high.all())


def reranked(python: Path) -> list[Row]:
    """Return the rows of re-ranking."""
    rows = []
    for n_groups in GROUPS:
        some = cases(n_groups, int(os.environ.get("PASAND_RIVAL_CASES", 100)))
        with TemporaryDirectory() as folder:
            file = Path(folder, "cases.json")
            file.write_text(json.dumps(some))
            found = run_peer(python, "aif360_reranker.py", file, K)
        slots = np.arange(1, K + 1)
        for upper, what in ((False, "minima"), (True, "minima and maxima")):
            ours = []
            for one in some:
                scores, share = np.array(one["scores"]), np.array(one["share"])[:, None]
                member = np.left_shift(1, np.array(one["group"]))
                low = np.floor(share * slots).astype(np.int64)
                high = np.ceil(share * slots).astype(np.int64) if upper else np.full_like(low, K)
                best_order(scores, member, WEIGHTS, low, high, BUDGET)
                began = thread_time()
                chosen, _, _ = best_order(scores, member, WEIGHTS, low, high, BUDGET)
                ours.append({"positions": chosen.tolist(), "ms": 1000 * (thread_time() - began)})
            rows += beside(f"{n_groups} groups, {what} on every prefix", some, ours, found, upper)
    return rows


def beside(what: str, some: list[dict[str, Any]], ours: Any, found: Any, upper: bool) -> list[Row]:
    """Return the share of lists that keep the rules, the loss of DCG and the time, beside the rival's best method."""
    mine, theirs = figures(some, ours, upper), {kind: figures(some, lists, upper) for kind, lists in found.items()}
    usable = {kind: figure for kind, figure in theirs.items() if figure is not None}
    if mine is None or not usable:
        print(f"AIF360 made no list of {what}: {next(iter(found.values()))[0]['error']}", file=sys.stderr)
        return []
    best = max(usable, key=lambda kind: (usable[kind][0], -usable[kind][1]))
    detail = "; ".join(f"{kind}: kept {a:.3f}, lost {b:.4f}, {c:.1f} ms" for kind, (a, b, c) in usable.items())
    names = ("lists that keep them, share", "loss of DCG, share", "median, ms")
    return [
        Row(
            target=f"{what}: {name}",
            value=mine[i],
            limit=1.0 if i == 0 else None,
            better="higher" if i == 0 else "lower",
            peer=f"AIF360 {best}",
            peer_value=usable[best][i] if np.isfinite(usable[best][i]) else None,
            detail=detail if i == 0 else "",
            reason="random scores and groups; AIF360's time includes its data frames",
            synthetic=True,
        )
        for i, name in enumerate(names)
    ]


def figures(some: list[dict[str, Any]], lists: Any, upper: bool) -> tuple[float, float, float] | None:
    """Return the share of lists that keep the rules, the mean loss of DCG (inf: none), and the median time in ms."""
    kept, lost, spent = [], [], []
    for one, made in zip(some, lists, strict=True):
        if made["positions"] is None:
            continue
        scores = np.array(one["scores"]) - one["scores"][-1]
        at = np.array(made["positions"])
        whole = len(set(made["positions"])) == K
        kept.append(whole and held(np.array(one["group"])[at], np.array(one["share"]))[upper])
        if whole:
            lost.append(1 - WEIGHTS @ scores[at] / (WEIGHTS @ scores[:K]))
        spent.append(made["ms"])
    loss = float(np.mean(lost)) if lost else np.inf
    return (float(np.mean(kept)), loss, float(np.median(spent))) if kept else None


def run() -> list[Row]:
    """Return the rows of the tables, of re-ranking, and of the step of P-MMF."""
    rows = tables()
    aif360 = peer("aif360", "aif360==0.6.1")
    if aif360 is not None:
        rows += reranked(aif360)
    cvxpy = peer("cvxpy", "cvxpy")
    if cvxpy is None:
        return rows
    for providers in PROVIDERS:
        spent = float(run_peer(cvxpy, "pmmf_step.py", providers, 5))
        rows.append(Row(target=f"step of P-MMF's code for {providers} providers, median ms", value=spent, limit=None,
                        better="lower", detail="`exposure` has the time of our step"))  # fmt: skip
    return rows
