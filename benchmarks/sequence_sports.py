"""SASRec and its blend with item kNN on S3-Rec's Sports: HR@10 and NDCG@10; see `sequences` for the protocol."""

from __future__ import annotations

from benchmarks import sequences
from benchmarks.rows import Row

CONTEST = sequences.Contest(
    file="Sports_and_Outdoors",
    tower=(0.0570, 0.0325),
    best=(0.0600, 0.0345),
    published="published: SASRec with sampled softmax .0569 / .0314, eSASRec .0560 / .0323",
    settings=sequences.TOWER,
    neighbours={"neighbours": 200, "shrinkage": 40.0, "history_decay": 0.8},
    weight=0.05,
)


def run() -> list[Row]:
    """Measure one tower, the best recommender and its parts."""
    return sequences.run(CONTEST)
