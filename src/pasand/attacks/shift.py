"""What an attack gains: the rank and the hit rate of its target before and after, for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator

from pasand.attacks.injection import Attack, inject
from pasand.attacks.weighing import weighed
from pasand.contracts import Retriever
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.compare import Entry
from pasand.evaluation.intervals import Interval, ratio_intervals
from pasand.progress import track
from pasand.types import Array, Rows

FEWEST, MOST = 5, 20
"""Events of an item that is drawn as a target: known, and not popular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How a recommender ranks a target, over users who have no event with it."""

    rank: float
    """Mean rank, from 1; the number of items where it is not ranked."""
    hit_rate: float
    """Share of the users' lists of k that hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetShift:
    """The effect of an attack on one target in one model."""

    target: str
    clean: Exposure
    attacked: Exposure
    robust: Exposure | None
    """With training weights; None: not fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShift:
    """The effect of an attack in one model, over targets."""

    model: str
    targets: tuple[TargetShift, ...]
    rank: Interval
    """Mean of the ranks gained, higher is worse for the platform; the interval is over targets."""
    hit_rate: Interval
    """Mean of the gain in hit rate."""
    robust_rank: Interval | None
    """The same with training weights."""
    robust_hit_rate: Interval | None
    cut: Interval | None
    """Share of the ranks gained that training weights undo, 1 is all; nan where the attack gains nothing."""


def draw_targets(data: Dataset, n: int, rng: Generator) -> Rows:
    """Return n items drawn from those with `FEWEST` to `MOST` events and a positive one.

    Items without a positive event have no score in models of positives, so no rank to gain. Raises InputError where
    there are fewer.
    """
    count = np.bincount(data.item, minlength=data.n_items)
    positives = np.bincount(data.item[data.is_positive], minlength=data.n_items)
    eligible = np.flatnonzero((count >= FEWEST) & (count <= MOST) & (positives > 0))
    if len(eligible) < n:
        cause = f"only {len(eligible):,} items have {FEWEST} to {MOST} events, one of them positive; {n:,} are needed"
        raise InputError("--targets", value=str(n), cause=cause, cure="name the items: --target ID")
    return rng.choice(eligible, n, replace=False).astype(np.int32)


def shifts(
    data: Dataset,
    entries: Sequence[Entry],
    attack: Attack,
    targets: Rows,
    *,
    robust: bool = False,
    k: int = 10,
    n_users: int = 500,
    seed: int = 0,
) -> list[ModelShift]:
    """Return the effect of the attack on each target in each model; every target is attacked alone.

    The same profiles attack every model. Ranks are among the items that a user has no event with, over at most
    `n_users` genuine users without an event with the target.
    """
    sampled = np.random.default_rng([seed, 1]).permutation(data.n_users).astype(np.int32)
    clean = {entry.name: _fitted(entry, data, seed) for entry in entries}
    results: dict[str, list[TargetShift]] = {entry.name: [] for entry in entries}
    for target in track([int(t) for t in targets], "attacking"):
        attacked = inject(data, attack, target, rng=np.random.default_rng([seed, 2, target])).data
        down = weighed(attacked).data if robust else None
        users = sampled[~np.isin(sampled, data.user[data.item == target])][:n_users]
        for entry in entries:
            results[entry.name].append(
                TargetShift(
                    target=data.items.ids([target])[0],
                    clean=_exposure(clean[entry.name], data, users, target, k),
                    attacked=_exposure(_fitted(entry, attacked, seed), data, users, target, k),
                    robust=None if down is None else _exposure(_fitted(entry, down, seed), data, users, target, k),
                )
            )
    return [_summary(name, of_targets, seed) for name, of_targets in results.items()]


def _fitted(entry: Entry, data: Dataset, seed: int) -> Retriever:
    return entry.build(data, np.random.default_rng([seed, 3])).recommender


def _exposure(recommender: Retriever, data: Dataset, users: Rows, target: int, k: int) -> Exposure:
    """Return how a recommender ranks the target for these users."""
    ranks = np.full(len(users), data.n_items, np.float64)
    for begin in range(0, len(users), 256):
        batch = users[begin : begin + 256]
        items = recommender(data.queries(batch, k=data.n_items)).items
        found = items == target
        ranks[begin : begin + len(batch)] = np.where(found.any(axis=1), 1 + found.argmax(axis=1), data.n_items)
    return Exposure(rank=float(ranks.mean()), hit_rate=float((ranks <= k).mean()))


def _summary(name: str, targets: Sequence[TargetShift], seed: int) -> ModelShift:
    gained = np.array([[t.clean.rank - t.attacked.rank, t.attacked.hit_rate - t.clean.hit_rate] for t in targets])
    rank, hits = _means(gained, seed)
    if any(t.robust is None for t in targets):
        return ModelShift(
            model=name,
            targets=tuple(targets),
            rank=rank,
            hit_rate=hits,
            robust_rank=None,
            robust_hit_rate=None,
            cut=None,
        )
    still = np.array(
        [[t.clean.rank - t.robust.rank, t.robust.hit_rate - t.clean.hit_rate] for t in targets if t.robust]
    )
    robust_rank, robust_hits = _means(still, seed)
    return ModelShift(
        model=name,
        targets=tuple(targets),
        rank=rank,
        hit_rate=hits,
        robust_rank=robust_rank,
        robust_hit_rate=robust_hits,
        cut=share_cut(gained[:, 0], still[:, 0], seed),
    )


def share_cut(gained: Array, still: Array, seed: int = 0) -> Interval:
    """Return the share of the sum of the ranks gained by targets that is not gained any more; (n,) each.

    A target that falls behind its clean rank counts as far from it as one that is ahead of it by as much. nan where the
    attack gains nothing in sum.
    """
    if not gained.sum() > 0:
        return Interval(np.nan)
    drawn = np.random.default_rng(seed).integers(0, len(gained), (1000, len(gained)))
    total, left = gained[drawn].sum(axis=1), np.abs(still)[drawn].sum(axis=1)
    cuts = 1 - left[total > 0] / total[total > 0]
    low, high = np.percentile(cuts, (2.5, 97.5)) if len(gained) > 1 else (np.nan, np.nan)
    return Interval(float(1 - np.abs(still).sum() / gained.sum()), float(low), float(high))


def _means(values: Array, seed: int) -> tuple[Interval, Interval]:
    """Return the means of two columns over targets."""
    ends = ratio_intervals(values, np.ones_like(values), np.random.default_rng(seed))
    first, second = (Interval(*(float(end[column]) for end in ends)) for column in (0, 1))
    return first, second


def as_json(shift: ModelShift) -> dict[str, object]:
    """Return the effect in one model as values that JSON can hold."""
    intervals = {
        name: None if one is None else one.as_json()
        for name in ("rank", "hit_rate", "robust_rank", "robust_hit_rate", "cut")
        for one in [getattr(shift, name)]
    }
    return {"model": shift.model, **intervals, "targets": [asdict(target) for target in shift.targets]}
