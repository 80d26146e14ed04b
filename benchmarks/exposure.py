"""Exposure over requests on MovieLens 1M: a share of slots for the tail, beside a rule on each list and the optimum.

Positives are ratings of 4 and more; the tail are the least popular items with a fifth of them. EASE, fitted to a random
80 %, retrieves the 200 best unseen candidates of each user with a test positive, one request each, lists of 20. A rule
on each list needs the share in every list. Losses are of the sum of scores, against lists without a rule; the optimum
of the offline problem, which knows all requests, is bounded by its dual, so its loss is at least the figure given. The
ledger starts empty. The orders are random, and by the number of tail items among the best 20, rising and falling. The
time is of the compiled step of one request.

`python -m benchmarks.exposure REQUESTS` prints the figures for some requests, without limits on the losses.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, data_folder
from pasand.models.classical.ease import EASE
from pasand.reranking.exposure_over_requests import ExposureOverRequests, next_list, offline_multipliers
from pasand.reranking.groups import Groups, Rule
from pasand.reranking.rules import Rules
from pasand.sources import load
from pasand.types import Candidates, Queries

MEASURES = ("reranking/exposure_over_requests.py",)
K, N, L2, HORIZON = 20, 200, 500.0, 1000
SHARES = (0.10, 0.15, 0.20)


def requests(n: int | None) -> tuple[Queries, Candidates, NDArray[np.bool_]]:
    """Return the queries, their candidates, and which items are of the tail, (N,)."""
    data, rng = load(data_folder("ml-1m")).positives(), np.random.default_rng(0)
    test = rng.random(len(data)) < 0.2
    train, users = data.select(~test), np.unique(data.user[test])
    users = rng.permutation(users)[:n].astype(np.int32)
    count = np.bincount(train.item, minlength=train.n_items)
    rising = np.argsort(count, kind="stable")
    tail = np.zeros(train.n_items, np.bool_)
    tail[rising[np.cumsum(count[rising]) <= 0.2 * count.sum()]] = True
    queries = train.queries(users, k=K)
    scores = EASE(l2=L2).fit(train, rng=rng).score(queries, None)
    scores[train.matrix()[users].toarray() > 0] = -np.inf
    top = np.argsort(-scores, axis=1, kind="stable")[:, :N].astype(np.int32)
    return queries, Candidates(items=top, scores=np.take_along_axis(scores, top, axis=1)), tail


def groups_of(tail: NDArray[np.bool_], share: float) -> Groups:
    """Return a rule with the tail as its group."""
    groups = Groups([Rule(name="tail", where={"tail": True}, min_share=share)])
    groups.load_state({"member": tail.astype(np.int64), "times": np.empty((len(tail), 0), np.int64)})
    return groups


def measured(n: int | None) -> list[Row]:
    """Return the rows for a number of requests; None: all, with limits on the losses."""
    queries, candidates, tail = requests(n)
    best, inside, rows = float(candidates.scores[:, :K].sum()), tail[candidates.items], []
    hits = inside[:, :K].sum(axis=1)
    orders = (np.arange(len(hits)), np.argsort(hits, kind="stable"), np.argsort(-hits, kind="stable"))
    for share in SHARES:
        groups = groups_of(tail, share)
        each = best - float(chosen_scores(Rules(groups, discount="none"), queries, candidates))
        values, member = candidates.scores.astype(np.float64), inside.astype(np.int64)
        bound = offline_multipliers(values, member, np.array([share]), K, 200)[1]
        losses, shares = [], []
        for order in orders:
            stage = ExposureOverRequests(groups, horizon=HORIZON)
            total = 0.0
            for part in np.array_split(order, max(1, len(order) // 100)):
                some = Candidates(items=candidates.items[part], scores=candidates.scores[part])
                total += chosen_scores(stage, queries.take(part), some)
                if int(stage.state()["slots"]) >= min(HORIZON, len(hits)) * K:
                    shares.append(float(stage.shares[0]))
            losses.append(best - total)
        detail = f"{len(hits):,} requests, {hits.mean() / K:.3f} of the slots without a rule; loss of scores "
        detail += f"{100 * losses[0] / best:.2f} % over requests, {100 * each / best:.2f} % with a rule on each list, "
        detail += f"{100 * (1 - bound / best):.2f} % at the optimum"
        ratios = ("the optimum", losses[0] / (best - bound), 1.02), ("a rule on each list", losses[0] / each, 0.65)
        for name, value, limit in ratios:
            rows.append(
                Row(
                    target=f"tail {100 * share:g} %: loss of scores over requests divided by that of {name}",
                    value=value,
                    limit=limit if n is None else None,
                    better="lower",
                    detail=detail,
                    reason="" if n is not None else "a property of the method",
                )
            )
        rows.append(
            Row(
                target=f"tail {100 * share:g} %: least share after {HORIZON:,} requests and later, 3 orders",
                value=min(shares),
                limit=share - 0.005,
                better="higher",
                detail=f"losses by order {', '.join(f'{100 * loss / best:.2f} %' for loss in losses)}; "
                f"largest share in the random order {max(shares[: len(shares) // 3]):.4f}",
                reason="a property of the method",
            )
        )
    return [*rows, step(values, member)]


def chosen_scores(stage: Rules | ExposureOverRequests, queries: Queries, candidates: Candidates) -> float:
    """Return the sum of the scores that the chosen candidates have."""
    return float(stage(replace(queries, k=K), candidates).scores.sum(dtype=np.float64))


def step(values: NDArray[np.float64], member: NDArray[np.int64]) -> Row:
    """Return the microseconds of one step."""
    target, count, multiplier, spent = np.array([0.15]), np.zeros(1, np.int64), np.zeros(1), []
    for b in range(len(values)):
        began = thread_time()
        next_list(values[b], member[b], target, count, b * K, multiplier, 0.001, 0.003, 100.0, K)
        spent.append(1e6 * (thread_time() - began))
    return Row(target="median step of one request, 1 group, 200 -> 20, microseconds", value=float(np.median(spent)),
               limit=None, better="lower")  # fmt: skip


def run() -> list[Row]:
    """Return losses, shares and the time for all requests."""
    return measured(None)


if __name__ == "__main__":
    from benchmarks.__main__ import show

    show(measured(int(sys.argv[1])))
