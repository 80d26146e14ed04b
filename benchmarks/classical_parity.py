"""Accuracy of EASE and item kNN against RecTools on `ml-1m-2999-users`: equal data and settings give equal metrics.

Leave-last-out: the last event of each user in time is the test item (of events with equal timestamps, the last in the
file). The models are fitted to the other events, and every event is a positive. Each side recommends its ten best
unseen items, and the same code evaluates both.

RecTools 0.18.0 ranks by the transpose of EASE's weights, x B' instead of the paper's x B. The rows with a limit compare
with lists for which we transposed its weights back. The lists of unchanged RecTools are reported for information.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.classical_speed import dataset, fit, ndcg, pairs, recall, top_ten
from benchmarks.rows import Row, data_folder, peer_python, run_peer
from pasand.contracts import Model
from pasand.models.classical.ease import EASE
from pasand.models.classical.item_knn import ItemKNN

MEASURES = (
    "features/strengths.py",
    "models/classical/ease.py",
    "models/classical/item_knn.py",
    "models/classical/neighbours.py",
)
L2 = 500.0
NEIGHBOURS = 50
TOLERANCE = 1e-3
UNCHANGED = "RecTools ranks by the transpose of the paper's weights"


def run() -> list[Row]:
    """Compare the metrics of both sides' lists."""
    frame = pairs(data_folder("ml-1m-2999-users") / "ratings.dat.gz")
    shape = (frame["user"].n_unique(), frame["item"].n_unique())
    ordered = frame.sort("time", maintain_order=True)
    held = ordered.unique("user", keep="last", maintain_order=True).sort("user")
    data = dataset(ordered.join(held, on=["user", "item"], how="anti", maintain_order="left"), shape)
    users, truth = held["user"].to_numpy(), held["item"].to_numpy()
    python = peer_python("rectools", "rectools==0.18.0")
    contests: list[tuple[str, Model, str, float, str]] = [
        ("EASE", EASE(l2=L2), "ease", L2, f"l2 {L2:g}"),
        ("EASE", EASE(l2=L2), "ease_transposed", L2, f"l2 {L2:g}"),
        (
            "item kNN, cosine",
            ItemKNN(neighbours=NEIGHBOURS, shrinkage=0),
            "item_knn",
            NEIGHBOURS + 1,
            f"{NEIGHBOURS} neighbours (RecTools' {NEIGHBOURS + 1} include the item itself)",
        ),
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "pairs.npz"), Path(folder, "out.npy")
        np.savez(source, user=data.user, item=data.item, users=users)
        for name, model, kind, value, detail in contests:
            how = {"ease": "whose weights we transposed", "ease_transposed": "unchanged"}.get(kind, "")
            result = run_peer(python, "rectools_fit.py", kind, source, out, f"{value:g}")
            seconds = fit(model, data)
            ours, theirs = top_ten(model, data, users), np.load(out)
            same = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ours, theirs, strict=True)])
            for metric, mean in (("NDCG@10", ndcg), ("recall@10", recall)):
                own_value, peer_value = mean(ours, truth), mean(theirs, truth)
                rows.append(
                    Row(
                        target=f"{name}: difference of {metric} from RecTools'{', ' + how if how else ''}",
                        value=abs(own_value - peer_value),
                        limit=None if kind == "ease_transposed" else TOLERANCE,
                        better="lower",
                        peer=f"RecTools {result['version']}",
                        comparable=kind != "ease_transposed",
                        reason=UNCHANGED if kind == "ease_transposed" else "",
                        detail=f"{own_value:.5f} against {peer_value:.5f}, {detail}; lists share {same:.1%}; fitted in "
                        f"{seconds:.2f} s against {result['seconds']:.2f} s",
                    )
                )
    return rows
