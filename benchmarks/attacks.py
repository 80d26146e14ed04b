"""Shilling attacks on ML-100K and ML-1M: precision and recall of the detector, genuine users flagged, gain undone.

Attackers are 3 % of the users, 10 targets have 5 to 20 events, one of them positive, and take turns with a filler of
3, 5 and 10 % of the items. The detector is not given the number of attackers. The peer is PCA-VarSelect
(Mehta and Nejdl, UMUAI 19, 2009), which is given it: ratings as deviations of each user over all items, three
components, and the users of least contribution. Precision and recall are means over logs; a log without a flagged user
has a precision of 0. The detector was developed with the seeds 1000 to 1004, and nothing was changed after a run of
this file.

The gain is that in rank, over 500 genuine users who have no event with the target: what training weights leave of it,
where the attack gains a rank at all. A target that ends behind its clean rank counts as one that is ahead by as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from benchmarks.rows import Row, data_folder
from pasand import models
from pasand.attacks.detection import detect
from pasand.attacks.injection import Attack, Attacked, inject
from pasand.attacks.kinds import KINDS
from pasand.attacks.shift import draw_targets, share_cut, shifts
from pasand.data.dataset import Dataset
from pasand.evaluation.compare import model_entry
from pasand.sources import load
from pasand.types import Array, Mask

MEASURES = (
    "attacks",
    "features/training_weights.py",
    "models/classical/ease.py",
    "models/classical/item_knn.py",
    "models/classical/popularity.py",
)
SEED, N_TARGETS, SHARE = 20_261_128, 10, 0.03
FILLERS = (0.03, 0.05, 0.1)
LIMITS = {"random": 0.9, "average": 0.9, "love-hate": 0.9, "bandwagon": 0.8, "average-over-popular": 0.8}
MODELS = ("popularity", "item_knn", "ease")
PCA = "PCA-VarSelect, given the number"


class Found(NamedTuple):
    """Precision and recall on one attacked log, and the share of genuine users flagged."""

    precision: float
    recall: float
    genuine: float
    peer: float
    """Precision of the peer, which equals its recall."""
    target_first: float
    """Whether the most suspicious item is the target."""


def pca_flagged(data: Dataset, n: int) -> Mask:
    """Return the n users that contribute least to the first three components of the users' deviations, (U,)."""
    assert data.value is not None
    value = data.value.astype(np.float64)
    matrix = sparse.csr_array((value, (data.user, data.item)), shape=(data.n_users, data.n_items))
    ratings: Array = np.asarray(matrix.toarray(), np.float64)
    ratings -= ratings.mean(axis=1, keepdims=True)
    ratings /= np.maximum(ratings.std(axis=1, keepdims=True), 1e-9)
    loadings = svds(ratings, k=3, random_state=0)[0]
    flagged = np.zeros(data.n_users, np.bool_)
    flagged[np.argsort((loadings**2).sum(axis=1), kind="stable")[:n]] = True
    return flagged


def measured(attacked: Attacked) -> Found:
    """Return what the detector and the peer find in an attacked log."""
    data, is_attacker = attacked.data, np.zeros(attacked.data.n_users, np.bool_)
    is_attacker[attacked.attackers] = True
    found = detect(data)
    true = int((found.flagged & is_attacker).sum())
    n = len(attacked.attackers)
    return Found(
        precision=true / max(int(found.flagged.sum()), 1),
        recall=true / n,
        genuine=int((found.flagged & ~is_attacker).sum()) / (data.n_users - n),
        peer=float((pca_flagged(data, n) & is_attacker).sum() / n),
        target_first=float(bool(found.items) and found.items[0].item == data.items.ids([attacked.target])[0]),
    )


def logs(data: Dataset, kind: str, share: float, targets: Array) -> Iterator[Attacked]:
    """Yield the attacked logs, of every target with one of the fillers in turn."""
    for at, target in enumerate(targets):
        filler = FILLERS[at % len(FILLERS)]
        rng = np.random.default_rng([SEED, int(target), round(1000 * filler)])
        yield inject(data, Attack(kind=kind, share=share, filler=filler), int(target), rng=rng)


def detection_rows(name: str, data: Dataset, targets: Array) -> Iterator[Row]:
    """Yield precision and recall by kind, and the share of genuine users flagged."""
    clean, worst = detect(data), 0.0
    for kind in KINDS:
        found = np.array([measured(one) for one in logs(data, kind, SHARE, targets)])
        precision, recall, _, peer, first = found.mean(axis=0)
        worst = max(worst, float(found[:, 2].max()))
        for measure, value in (("precision", precision), ("recall", recall)):
            yield Row(
                target=f"{name}, {kind} attack, {measure}",
                value=float(value),
                limit=LIMITS[kind],
                better="higher",
                peer=PCA,
                peer_value=float(peer),
                detail=f"{len(found)} logs, target ranked first in {first:.0%}, least precision "
                f"{found[:, 0].min():.2f}, least recall {found[:, 1].min():.2f}",
                comparable=True,
            )
    for which, flagged in (("clean log", float(clean.flagged.mean())), ("attacked logs, largest", worst)):
        yield Row(
            target=f"{name}, genuine users flagged, {which}",
            value=flagged,
            limit=0.01,
            better="lower",
            detail=f"{data.n_users:,} users",
            comparable=True,
        )


def other_rows(name: str, data: Dataset, targets: Array) -> Iterator[Row]:
    """Yield recall and precision with fewer and more attackers, and with targets of 50 to 100 events."""
    count = np.bincount(data.item, minlength=data.n_items)
    known = np.random.default_rng(SEED).choice(np.flatnonzero((count >= 50) & (count <= 100)), 5, replace=False)
    cases = [("1 % attackers", 0.01, targets[:5]), ("5 % attackers", 0.05, targets[:5])]
    for label, share, chosen in [*cases, ("targets of 50 to 100 events", SHARE, known)]:
        for kind in ("bandwagon", "average-over-popular"):
            found = np.array([measured(one) for one in logs(data, kind, share, chosen)])
            for at, measure in enumerate(("precision", "recall")):
                yield Row(
                    target=f"{name}, {kind} attack, {label}, {measure}",
                    value=float(found[:, at].mean()),
                    limit=None,
                    better="higher",
                    detail=f"{len(found)} logs; {PCA}: {found[:, 3].mean():.2f}",
                )


def shift_rows(name: str, data: Dataset, targets: Array, kinds: tuple[str, ...]) -> Iterator[Row]:
    """Yield what attacks gain in each model, and the share that training weights undo."""
    entries = [model_entry(model, models.find(model)()) for model in MODELS]
    gained: dict[str, list[tuple[float, float]]] = {model: [] for model in MODELS}
    for kind in kinds:
        for one in shifts(data, entries, Attack(kind=kind, share=SHARE, filler=0.05), targets, robust=True, seed=SEED):
            for of in one.targets:
                assert of.robust is not None
                gained[one.model].append((of.clean.rank - of.attacked.rank, of.clean.rank - of.robust.rank))
            left = one.robust_rank.mean if one.robust_rank is not None else np.nan
            hits = one.robust_hit_rate if one.robust_hit_rate is not None else one.hit_rate
            yield Row(
                target=f"{name}, {kind} attack, ranks gained in {one.model}",
                value=one.rank.mean,
                limit=None,
                better="lower",
                detail=f"[{one.rank.low:.0f}, {one.rank.high:.0f}], {len(targets)} targets; with weights {left:.0f}; "
                f"hit rate@10 {one.hit_rate.mean:+.4f}, with weights {hits.mean:+.4f}",
            )
    for model, values in gained.items():
        before, after = np.array(values).T
        gains = before > 0
        cut = share_cut(before[gains], after[gains])
        yield Row(
            target=f"{name}, share of the ranks gained that training weights undo, {model}",
            value=cut.mean,
            limit=0.8,
            better="higher",
            detail=f"[{cut.low:.2f}, {cut.high:.2f}] over {int(gains.sum())} of {len(gains)} attacks that gain a rank",
            comparable=True,
        )


def run() -> list[Row]:
    """Return the rows of both data sets."""
    rows: list[Row] = []
    for name, small in (("ml-100k", True), ("ml-1m", False)):
        data = load(data_folder(name))
        targets = draw_targets(data, N_TARGETS, np.random.default_rng(SEED))
        rows += detection_rows(name, data, targets)
        if small:
            rows += other_rows(name, data, targets)
        kinds = tuple(KINDS) if small else ("bandwagon",)
        rows += shift_rows(name, data, targets[: 5 if small else 3], kinds)
    return rows
