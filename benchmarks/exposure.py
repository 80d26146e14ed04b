"""Exposure over requests on MovieLens 1M: a share of slots for the tail, beside a rule on each list and the optimum.

Positives are ratings of 4 and more; the tail are the least popular items with a fifth of them. EASE, fitted to a random
80 %, retrieves the 200 best unseen candidates of each user with a test positive, one request each, lists of 20. A rule
on each list needs the share in every list. Losses are of the sum of scores, against lists without a rule; the optimum
of the offline problem, which knows all requests, is bounded by its dual, so its loss is at least the figure given. The
ledger starts empty. The orders are random, and by the number of tail items among the best 20, rising and falling. With
two workers each request goes to one at random; each has multipliers of its own, and both add their counts to one SQLite
state after 20 lists, as services do. Times are of the choice and the count of one request, compiled: for one group, and
for 200 providers among which the films are dealt out at random. Exposure in expectation gives the tail its share of the
weighted exposure in each list by a draw; its time is of the programme of one request.

`python -m benchmarks.exposure REQUESTS` prints the figures for some requests, without limits on the losses.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, data_folder
from pasand.models.classical.ease import EASE
from pasand.reranking.exposure.expected_exposure import ExpectedExposure
from pasand.reranking.exposure.exposure_over_requests import ExposureOverRequests, moved, next_list, offline_multipliers
from pasand.reranking.exposure.provider_exposure import by_price, counted, max_min_prices
from pasand.reranking.rules.groups import Groups, Rule
from pasand.reranking.rules.rules import Rules
from pasand.serving.engine.shown_lists import LISTS
from pasand.serving.states import open_state
from pasand.sources import load
from pasand.types import Candidates, Queries

MEASURES = (
    "reranking/exposure/exposure_over_requests.py",
    "reranking/exposure/ledger.py",
    "reranking/exposure/mixed_rankings.py",
    "reranking/exposure/provider_exposure.py",
    "serving/states/sqlite_counts.py",
)
K, N, L2, HORIZON, PROVIDERS = 20, 200, 500.0, 1000, 200
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
            total, found, slots = 0.0, 0, 0
            stage = ExposureOverRequests(groups, horizon=HORIZON)
            for b in order.tolist():
                lists = shown(stage, queries, candidates, b)
                total += float(lists.scores.sum(dtype=np.float64))
                found, slots = found + int(tail[lists.items].sum()), slots + K
                if slots >= min(HORIZON, len(hits)) * K:
                    shares.append(found / slots)
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
        rows.append(two_workers(groups, queries, candidates, tail, share))
    return [*rows, step(values, member), *provider_steps(values, candidates), programme(groups, values, member)]


def shown(stage: ExposureOverRequests, queries: Queries, candidates: Candidates, b: int) -> Candidates:
    """Return the list that the stage chooses for one query, after it was counted."""
    one = Candidates(items=candidates.items[b : b + 1], scores=candidates.scores[b : b + 1])
    lists = stage(replace(queries.take(np.array([b])), k=K), one)
    stage.shown(lists.items, queries.time[b : b + 1])
    return lists


def two_workers(groups: Groups, queries: Queries, candidates: Candidates, tail: NDArray[np.bool_], share: float) -> Row:
    """Return the largest distance from the share from the horizon on, with two workers on one state."""
    workers, rng = [ExposureOverRequests(groups, horizon=HORIZON) for _ in range(2)], np.random.default_rng(1)
    found, slots, distances = 0, 0, []
    with TemporaryDirectory() as folder:
        state = open_state(str(Path(folder) / "state"))
        for b in rng.permutation(len(queries)).tolist():
            worker = workers[int(rng.integers(2))]
            lists = shown(worker, queries, candidates, b)
            found, slots = found + int(tail[lists.items].sum()), slots + K
            if worker.ledger.pending >= LISTS:
                worker.ledger.settle(state.add_counts(worker.ledger_key, worker.ledger.take()))
            if slots >= min(HORIZON, len(queries)) * K:
                distances.append(abs(found / slots - share))
        state.close()
    return Row(
        target=f"tail {100 * share:g} %: largest distance from the share after {HORIZON:,} requests, 2 workers",
        value=max(distances), limit=0.005, better="lower", detail="random order", reason="a property of the method",
    )  # fmt: skip


def chosen_scores(stage: Rules, queries: Queries, candidates: Candidates) -> float:
    """Return the sum of the scores that the chosen candidates have."""
    return float(stage(replace(queries, k=K), candidates).scores.sum(dtype=np.float64))


def step(values: NDArray[np.float64], member: NDArray[np.int64]) -> Row:
    """Return the microseconds of one step."""
    least, most, count, up, down, spent = (
        np.array([0.15]),
        np.ones(1),
        np.zeros(1, np.int64),
        np.zeros(1),
        np.zeros(1),
        [],
    )
    for b in range(len(values)):
        began = thread_time()
        _, _, found = next_list(values[b], member[b], least, most, count, b * K, up, down, 100.0, K)
        count += found
        moved(up, down, found, least, most, count, (b + 1) * K, K, 0.001, 0.003)
        spent.append(1e6 * (thread_time() - began))
    return Row(target="median step of one request, 1 group, 200 -> 20, microseconds", value=float(np.median(spent)),
               limit=None, better="lower")  # fmt: skip


def provider_steps(values: NDArray[np.float64], candidates: Candidates) -> list[Row]:
    """Return the microseconds of one step for each aim with many providers."""
    code = np.random.default_rng(2).integers(0, PROVIDERS, int(candidates.items.max()) + 1).astype(np.int32)
    share, rows = np.full(PROVIDERS, 1 / PROVIDERS), []
    for aim in ("share", "max-min"):
        count, up, spent = np.zeros(PROVIDERS, np.int64), np.zeros(PROVIDERS), []
        for b in range(len(values)):
            provider, least = code[candidates.items[b]], share * (0.5 if aim == "share" else 0.0)
            began = thread_time()
            price = up if aim == "share" else max_min_prices(provider, count, share, 5e-4, 1.0)
            best, _ = by_price(values[b], provider, price, K)
            counted(provider[best], count, (b + 1) * K, least, up, K, HORIZON, 0.1, 4.0)
            spent.append(1e6 * (thread_time() - began))
        rows.append(
            Row(target=f"median step of one request, {PROVIDERS} providers, {aim}, 200 -> 20, microseconds",
                value=float(np.median(spent)), limit=20, better="lower", detail="P-MMF's public step takes 350 ms",
                reason="an absolute limit, on one machine")
        )  # fmt: skip
    return rows


def programme(groups: Groups, values: NDArray[np.float64], member: NDArray[np.int64]) -> Row:
    """Return the microseconds of the programme of exposure in expectation for one request."""
    stage, spent = ExpectedExposure(groups), []
    for scores, inside in zip(values, member, strict=True):
        began = thread_time()
        stage.rankings(scores, inside, K)
        spent.append(1e6 * (thread_time() - began))
    return Row(target="median programme of exposure in expectation, 1 group, 200 -> 20, microseconds",
               value=float(np.median(spent)), limit=None, better="lower",
               detail=f"99th percentile {np.quantile(spent, 0.99):.0f}")  # fmt: skip


def run() -> list[Row]:
    """Return losses, shares and the time for all requests."""
    return measured(None)


if __name__ == "__main__":
    from benchmarks.__main__ import show

    show(measured(int(sys.argv[1])))
