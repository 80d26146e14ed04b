"""Training speed of NeuMF against Keras: examples per second at equal layers, width and batch size, on all cores.

Keras trains by `model.fit` from a cached `tf.data` pipeline on ready-made examples. Ours draws negatives and shuffles
in every epoch, which is included in its time. The turns alternate, and each figure is the median of its turns.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from benchmarks.rows import Row, peer_python, run_peer
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.models.rankers.neumf import NeuMF

MEASURES = (
    "layers/embeddings.py",
    "layers/ncf.py",
    "layers/ncf_gradients.py",
    "models/deep_model.py:DeepModel._train",
    "models/deep_model.py:DeepModel.fit",
    "models/rankers/neumf.py",
    "models/rankers/neural_cf.py",
    "models/rankers/ranker.py",
    "training",
)
USERS, ITEMS, POSITIVES, NEGATIVES = 6040, 3706, 200_000, 4
BATCH, DIMENSIONS, LAYERS, TURNS = 4096, 32, (64, 32, 16), 3


def dataset() -> Dataset:
    """Return random positives of as many users and items as MovieLens 1M has."""
    rng = np.random.default_rng(0)
    return Dataset(
        name="random",
        users=Vocabulary(f"{i:04}" for i in range(USERS)),
        items=Vocabulary(f"{i:04}" for i in range(ITEMS)),
        user=rng.integers(0, USERS, POSITIVES).astype(np.int32),
        item=rng.integers(0, ITEMS, POSITIVES).astype(np.int32),
        time=np.zeros(POSITIVES, np.int64),
        order="none",
    )


def seconds(data: Dataset, epochs: int) -> float:
    """Return the seconds of a fit."""
    model = NeuMF(
        dimensions=DIMENSIONS, layers=LAYERS, batch_size=BATCH, epochs=epochs, pretrain=False, patience=0, l2=1e-6
    )
    began = perf_counter()
    model.fit(data, rng=np.random.default_rng(0))
    return perf_counter() - began


def run() -> list[Row]:
    """Measure both sides in turns; our seconds per epoch are a quarter of those that four epochs add to a fit."""
    python = peer_python("keras", "tensorflow-cpu")
    data, examples = dataset(), POSITIVES * (1 + NEGATIVES)
    seconds(data, 1)
    own, theirs, version = [], [], ""
    for _ in range(TURNS):
        own.append((seconds(data, 5) - seconds(data, 1)) / 4)
        result = run_peer(
            python, "keras_neumf.py", USERS, ITEMS, examples, BATCH, DIMENSIONS, ",".join(map(str, LAYERS)), 2
        )
        theirs.append(float(np.median(result["seconds"])))
        version = result["version"]
    ours, keras = examples / float(np.median(own)), examples / float(np.median(theirs))
    return [
        Row(
            target=f"NeuMF: training examples per second divided by Keras' (batch {BATCH})",
            value=ours / keras,
            limit=3.0,
            better="higher",
            comparable=True,
            peer=f"keras, tensorflow-cpu {version}",
            peer_value=1.0,
            detail=f"{ours:,.0f} against {keras:,.0f} examples per second; {DIMENSIONS} dimensions, layers {LAYERS}",
        )
    ]
