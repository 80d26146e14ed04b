"""SASRec and its blend with item kNN on S3-Rec's Toys: HR@10 and NDCG@10; see `sequences` for the protocol."""

from __future__ import annotations

from benchmarks import sequences
from benchmarks.rows import Row

MEASURES, SEEDS = sequences.MEASURES, sequences.SEEDS
CONTEST = sequences.Contest(
    file="Toys_and_Games",
    limits={
        sequences.WITHOUT: {"one tower": (0.1081, 0.0679), "best recommender": (0.1081, 0.0679)},
        sequences.WITH: {"one tower": (0.1050, 0.0650), "best recommender": (0.1150, 0.0710)},
    },
    peer="BSARec",
    published="SASRec with sampled softmax .0970 / .0580, eSASRec .0939 / .0538",
    settings=sequences.TOWER,
    neighbours={"neighbours": 100, "shrinkage": 40.0, "history_decay": 0.6},
    weight=0.05,
)


def run() -> list[Row]:
    """Measure one tower, the best recommender and its parts in both settings."""
    return sequences.run(CONTEST)
