"""SASRec and its blend with item kNN on S3-Rec's Beauty: HR@10 and NDCG@10; see `sequences` for the protocol."""

from __future__ import annotations

from benchmarks import sequences
from benchmarks.rows import Row

MEASURES, SEEDS = sequences.MEASURES, sequences.SEEDS
CONTEST = sequences.Contest(
    file="Beauty",
    limits={
        sequences.WITHOUT: {"one tower": (0.1008, 0.0611), "best recommender": (0.1008, 0.0611)},
        sequences.WITH: {"one tower": (0.0960, 0.0570), "best recommender": (0.1030, 0.0610)},
    },
    peer="BSARec",
    published="eSASRec .0928 / .0523, SASRec with sampled softmax .0921 / .0531, HSTU .0788 / .0439",
    settings=sequences.TOWER,
    neighbours={"neighbours": 200, "shrinkage": 40.0, "history_decay": 0.6},
    weight=0.05,
)


def run() -> list[Row]:
    """Measure one tower, the best recommender and its parts in both settings."""
    return sequences.run(CONTEST)
