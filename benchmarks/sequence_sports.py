"""SASRec and its blend with item kNN on S3-Rec's Sports: HR@10 and NDCG@10; see `sequences` for the protocol."""

from __future__ import annotations

from benchmarks import sequences
from benchmarks.rows import Row

MEASURES, SEEDS = sequences.MEASURES, sequences.SEEDS
CONTEST = sequences.Contest(
    file="Sports_and_Outdoors",
    limits={
        sequences.WITHOUT: {"one tower": (0.0612, 0.0360), "best recommender": (0.0612, 0.0360)},
        sequences.WITH: {"one tower": (0.0570, 0.0325), "best recommender": (0.0600, 0.0345)},
    },
    peer="BSARec",
    published="SASRec with sampled softmax .0569 / .0314, eSASRec .0560 / .0323",
    settings=sequences.TOWER,
    neighbours={"neighbours": 200, "shrinkage": 40.0, "history_decay": 0.8},
    weight=0.05,
)


def run() -> list[Row]:
    """Measure one tower, the best recommender and its parts in both settings."""
    return sequences.run(CONTEST)
