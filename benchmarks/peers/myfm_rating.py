"""Prints the CPU seconds of a fit of myFM's factorisation machine and its RMSE on held-out ratings, as JSON.

myfm_rating.py FILE RANK SWEEPS BURN_IN

FILE holds the ratings and the blocks of users and items as CSR matrices; see `benchmarks.rating_features`. The blocks
are relational, so that the columns are not repeated for each rating.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import myfm
import numpy as np
from scipy import sparse

file, rank, sweeps, burn_in = sys.argv[1], *map(int, sys.argv[2:])
arrays = np.load(file)


def blocks(ratings: str) -> list[Any]:
    """Return the blocks of users and items, with the row of each rating; `ratings` is "train" or "test"."""
    relation_blocks = []
    for side in ("user", "item"):
        parts = (arrays[f"{side}_{part}"] for part in ("data", "indices", "indptr"))
        matrix = sparse.csr_matrix(tuple(parts), shape=tuple(arrays[f"{side}_shape"]))
        relation_blocks.append(myfm.RelationBlock(arrays[f"{ratings}_{side}"].tolist(), matrix))
    return relation_blocks


train, test = blocks("train"), blocks("test")
shapes = [*arrays["user_groups"].tolist(), *arrays["item_groups"].tolist()]
model = myfm.MyFMRegressor(rank=rank, random_seed=0)
start = time.process_time()
model.fit(None, arrays["train_value"], train, group_shapes=shapes, n_iter=sweeps, n_kept_samples=sweeps - burn_in)
seconds = time.process_time() - start
low, high = arrays["train_value"].min(), arrays["train_value"].max()
errors = np.clip(model.predict(None, test), low, high) - arrays["test_value"]
print(json.dumps({"seconds": seconds, "rmse": float(np.sqrt(np.mean(errors**2)))}))
