"""Calibration of genres on MovieLens 1M: reduction of KL divergence by loss of recall, beside Steck's greedy method.

Positives are ratings of 4 and more, a random 80 % of them for training, 3 seeds. EASE retrieves the best unseen
candidates of each user with a test positive: 100, and 200 for lists of 50. The target is the user's training history
without shrinkage; the divergence is that of Steck (RecSys 2018) with q~ = .99 q + .01 p. Each method is run with a
number of strengths. A figure is the reduction of the mean divergence at the largest strength up to which mean recall
falls by at most the stated share, with a 95 % interval over users. `Calibration` is measured beside its greedy part,
and beside the greedy method of the paper, which divides the mass of a genre by the number of items chosen so far.

The times are of `Calibration` on one thread, one request at a time: its candidates have genres of MovieLens 1M and
random scores, and the rules are those of `rules-speed`.

`python -m benchmarks.calibration USERS` prints the figures for some users of one seed, without limits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import thread_time

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.rows import Row, data_folder
from benchmarks.rules_speed import set_case
from pasand.data.dataset import Dataset
from pasand.evaluation.intervals import ratio_intervals
from pasand.metrics.miscalibration import hellinger, kl_divergence
from pasand.models.classical.ease import EASE
from pasand.reranking.calibration.attributes import Attributes
from pasand.reranking.calibration.calibrated_set import SMOOTHING, Aim, Shares, greedy_set, of_candidates
from pasand.reranking.calibration.calibration import Calibration
from pasand.reranking.rules.groups import Groups, Rule
from pasand.reranking.rules.rules import Rules
from pasand.reranking.scale import spread
from pasand.sources import load
from pasand.types import Array, Candidates, Queries, Rows

Values = NDArray[np.float64]
MEASURES = (
    "metrics/miscalibration.py",
    "reranking/calibration/attributes.py",
    "reranking/calibration/calibrated_set.py",
    "reranking/calibration/calibration.py",
    "reranking/scale.py",
)
SEEDS, L2 = (0, 1, 2), 500.0
N_CANDIDATES, N_USERS = {10: 100, 50: 200}, {10: 3000, 50: 600}
"""Candidates, and users of each seed, by length of list."""
LIMITS = {10: {0.005: 0.30, 0.024: 0.52, 0.05: 0.65}, 50: {0.024: 0.80}}
"""Least reduction of the divergence by length of list and loss of recall."""
STRENGTHS = {10: np.geomspace(0.03, 0.6, 40), 50: np.geomspace(0.3, 3.0, 8)}
TIMES = 1000


@dataclass(frozen=True)
class Case:
    """The candidates of users and what is measured with them."""

    queries: Queries
    candidates: Candidates
    relevant: Array
    """(B, n) whether a candidate is a test positive."""
    n_relevant: Array
    attributes: Attributes
    target: Values

    def measured(self, positions: Array) -> dict[str, Values]:
        """Return recall, divergence and distance of the lists at these positions of the candidates, (B,) each."""
        items = np.take_along_axis(self.candidates.items, positions, axis=1)
        hits = np.take_along_axis(self.relevant, positions, axis=1).sum(axis=1)
        shown = self.attributes.shown(items)
        kl, distance = kl_divergence(self.target, shown), hellinger(self.target, shown)
        return {"recall": hits / self.n_relevant, "kl": kl, "hellinger": distance, "user": self.queries.users * 1.0}


def cases_of(data: Dataset, seed: int, n_users: dict[int, int]) -> dict[int, Case]:
    """Return the candidates of a number of users of one seed, by length of list."""
    rng = np.random.default_rng(seed)
    test = rng.random(len(data)) < 0.2
    train, hidden = data.select(~test), data.select(test)
    model, attributes = EASE(l2=L2).fit(train, rng=rng), Attributes(["genres"], shrinkage=0).fit(train, rng=rng)
    order = rng.permutation(np.unique(hidden.user)).astype(np.int32)
    found = {}
    for k, n in N_CANDIDATES.items():
        users = np.sort(order[: n_users[k]])
        queries = train.queries(users, k=k)
        scores = model.score(queries, None)
        scores[train.matrix()[users].toarray() > 0] = -np.inf
        top = np.argsort(-scores, axis=1, kind="stable")[:, :n].astype(np.int32)
        positive = hidden.matrix()[users].toarray() > 0
        found[k] = Case(
            queries=queries,
            candidates=Candidates(items=top, scores=np.take_along_axis(scores, top, axis=1)),
            relevant=np.take_along_axis(positive, top, axis=1),
            n_relevant=positive.sum(axis=1),
            attributes=attributes,
            target=attributes.target(queries),
        )
    return found


def calibrated(one: Case, strength: float) -> Array:
    """Return the positions that the stage chooses, (B, k)."""
    stage = Calibration(one.attributes, strength=strength)
    return stage.positions(one.queries, one.candidates, one.queries.k)


def greedily(one: Case, strength: float) -> Array:
    """Return the positions that the greedy part of the stage chooses, (B, k)."""
    known, k = one.attributes, one.queries.k
    shares = Shares(known.codes, known.share, known.start)
    found = np.empty((len(one.target), k), np.int64)
    for b, (items, scores) in enumerate(zip(one.candidates.items, one.candidates.scores, strict=True)):
        values = scores.astype(np.float64)
        values = values / spread(values) / k
        aim = Aim(one.target[b], strength, k)
        found[b] = greedy_set(values, of_candidates(items, shares, aim), aim)
    return found


def of_the_paper(one: Case, strength: float) -> Array:
    """Return the positions that the greedy method of the paper chooses with the scores of the model, (B, k)."""
    known, k = one.attributes, one.queries.k
    scores = one.candidates.scores.astype(np.float64)
    scores /= np.median(scores[:, 0] - scores[:, scores.shape[1] // 2])  # one scale for all users: as raw scores
    return np.stack(
        [
            _of_the_paper(values, items, known.codes, known.share, known.start, target, k * strength, k)
            for values, items, target in zip(scores, one.candidates.items, one.target, strict=True)
        ]
    )


@njit(cache=True)
def _of_the_paper(
    scores: Values, items: Rows, codes: Rows, share: Values, start: Array, target: Values, strength: float, k: int
) -> Array:
    """Add k times the item with the best score less strength x divergence of the list with it; (k,)."""
    mass, before, chosen = np.zeros(len(target)), np.zeros(len(target)), np.empty(k, np.int64)
    scores = scores.copy()
    for j in range(k):
        for c in range(len(target)):
            before[c] = _log(mass[c] / (j + 1), target[c], strength)
        best, best_value = -1, -np.inf
        for i in range(len(scores)):
            value = scores[i]
            for t in range(start[items[i]], start[items[i] + 1]):
                c = codes[t]
                value += _log((mass[c] + share[t]) / (j + 1), target[c], strength) - before[c]
            if value > best_value:
                best, best_value = i, value
        scores[best], chosen[j] = -np.inf, best
        for t in range(start[items[best]], start[items[best] + 1]):
            mass[codes[t]] += share[t]
    return chosen


@njit(cache=True)
def _log(shown: float, target: float, strength: float) -> float:
    if target <= 0:
        return 0.0
    return float(strength * target * np.log((1 - SMOOTHING) * shown + SMOOTHING * target))


METHODS: dict[str, Callable[[Case, float], Array]] = {
    "Calibration": calibrated,
    "its greedy part": greedily,
    "Steck's greedy method": of_the_paper,
}


def pooled(parts: Sequence[dict[str, Values]]) -> dict[str, Values]:
    """Return the figures of all seeds, means by user."""
    user = np.concatenate([part["user"] for part in parts])
    _, position, n = np.unique(user, return_inverse=True, return_counts=True)
    names = ("recall", "kl", "hellinger")
    return {name: np.bincount(position, np.concatenate([part[name] for part in parts])) / n for name in names}


def rows_of(cases: Sequence[Case], k: int, *, sampled: bool) -> list[Row]:
    """Return a row for each loss of recall, and for each method without a limit."""
    free = pooled([one.measured(np.tile(np.arange(k), (len(one.target), 1))) for one in cases])
    curves: dict[str, list[tuple[float, dict[str, Values]]]] = {
        name: [(strength, pooled([one.measured(choose(one, strength)) for one in cases])) for strength in STRENGTHS[k]]
        for name, choose in METHODS.items()
    }
    found: dict[tuple[str, float], tuple[float, str]] = {}
    for name, curve in curves.items():
        for most in LIMITS[k]:
            found[name, most] = figure(free, curve, most)
    rows = []
    for most, limit in LIMITS[k].items():
        peer = "Steck's greedy method"
        what = f"reduction of the KL divergence of genres @{k} at a loss of recall of at most {100 * most:g} %"
        rows.append(
            Row(
                target=what,
                value=found["Calibration", most][0],
                limit=None if sampled else limit,
                better="higher",
                peer=peer,
                peer_value=found[peer, most][0],
                detail=f"{found['Calibration', most][1]}; {peer}: {found[peer, most][1]}; KL {free['kl'].mean():.3f} "
                f"and recall {free['recall'].mean():.4f} without; {len(free['kl']):,} users, {len(cases)} seeds",
                comparable=True,
            )
        )
        value, detail = found["its greedy part", most]
        rows.append(Row(target=f"{what}, without swaps", value=value, limit=None, better="higher", detail=detail))
    return rows


def figure(free: dict[str, Values], curve: Sequence[tuple[float, dict[str, Values]]], most: float) -> tuple[float, str]:
    """Return the reduction at the largest strength with at most this loss of recall, and its details."""
    chosen = None
    for strength, values in curve:
        loss = 1 - values["recall"].mean() / free["recall"].mean()
        if loss > most:
            break
        chosen = strength, values, loss
    if chosen is None:
        return 0.0, "no strength loses as little"
    strength, values, loss = chosen
    rng = np.random.default_rng(0)
    ratio, low, high = (float(end[0]) for end in ratio_intervals(values["kl"][:, None], free["kl"][:, None], rng))
    distance = 1 - values["hellinger"].mean() / free["hellinger"].mean()
    detail = (
        f"[{1 - high:.3f}, {1 - low:.3f}], loss {100 * loss:.2f} %, strength {strength:.3g}, Hellinger -{distance:.3f}"
    )
    return 1 - ratio, detail


def times(data: Dataset, attributes: Attributes) -> list[Row]:
    """Return the times of one request, 200 -> 20: calibration, and calibration within 3 rules."""
    rows, k = [], 20
    for n_rules, limit in ((0, None), (3, 0.5)):
        rng, spent, free = np.random.default_rng(0), [], Calibration(attributes, strength=0.3)
        for number in range(TIMES + 20):
            items = rng.permutation(data.n_items)[None, :200].astype(np.int32)
            scores, member, low, high = set_case(rng, max(1, n_rules))
            stage = replace(free, rules=rules_of(items[0], member, low, high, k)) if n_rules else free
            request = data.queries(np.array([number % data.n_users], np.int32), k=k)
            candidates = Candidates(items=items, scores=scores[None].astype(np.float32))
            if stage.rules is not None:
                stage.rules.bounds(k)  # kept from one request to the next
            began = thread_time()
            stage(request, candidates)
            spent.append(1000 * (thread_time() - began))
        what = f"calibration, 200 -> {k}" + (f", within {n_rules} rules" if n_rules else "")
        for name, value in (("median", np.median(spent[20:])), ("99th percentile", np.percentile(spent[20:], 99))):
            bound = limit if name == "median" else None
            rows.append(
                Row(
                    target=f"{name}, {what}, ms",
                    value=float(value),
                    limit=bound,
                    better="lower",
                    reason="" if bound is None else "an absolute limit, on random groups and scores",
                    synthetic=True,
                )
            )
    return rows


def rules_of(items: Rows, member: Array, low: Array, high: Array, k: int) -> Rules:
    """Return rules whose groups are given as bits of the candidates."""
    names = [str(r) for r in range(len(low))]
    groups = Groups(
        [
            Rule(name=name, where={"genres": name}, min_count=int(least), max_count=int(most))
            for name, least, most in zip(names, low, high, strict=True)
        ]
    )
    bits = np.zeros(int(items.max()) + 1, np.int64)
    bits[items] = member
    groups.load_state({"member": bits, "times": np.empty((len(bits), 0), np.int64)})
    rules = Rules(groups)
    rules.bounds(k)  # as after the first request
    return rules


def run() -> list[Row]:
    """Return the reductions for lists of 10 and 50, and the times."""
    return measured(SEEDS, N_USERS, sampled=False)


def measured(seeds: Sequence[int], n_users: dict[int, int], *, sampled: bool) -> list[Row]:
    """Return the rows for a number of users of each seed by length of list; `sampled`: without limits."""
    data = load(data_folder("ml-1m")).positives()
    cases = [cases_of(data, seed, n_users) for seed in seeds]
    rows = [row for k in N_CANDIDATES for row in rows_of([one[k] for one in cases], k, sampled=sampled)]
    return rows + times(data, cases[0][10].attributes)


if __name__ == "__main__":
    from benchmarks.__main__ import show

    number = int(sys.argv[1])
    show(measured(SEEDS[:1], dict.fromkeys(N_CANDIDATES, number), sampled=True))
