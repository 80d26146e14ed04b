"""Prints the processor's seconds that a fit of myFM's factorisation machine takes, and its RMSE on held-out ratings.

Arguments: FILE RANK SWEEPS BURN_IN; the file holds the ratings and both sides' blocks as CSR matrices, see
`benchmarks.rating_features`. The blocks are relational, so that nothing is repeated by rating.
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
given = np.load(file)


def blocks(rows: str) -> list[Any]:
    """Return the two blocks, with which of their rows each rating has."""
    made = []
    for side in ("user", "item"):
        parts = (given[f"{side}_{part}"] for part in ("data", "indices", "indptr"))
        matrix = sparse.csr_matrix(tuple(parts), shape=tuple(given[f"{side}_shape"]))
        made.append(myfm.RelationBlock(given[f"{rows}_{side}"].tolist(), matrix))
    return made


train, test = blocks("train"), blocks("test")
shapes = [*given["user_groups"].tolist(), *given["item_groups"].tolist()]
model = myfm.MyFMRegressor(rank=rank, random_seed=0)
start = time.process_time()
model.fit(None, given["train_value"], train, group_shapes=shapes, n_iter=sweeps, n_kept_samples=sweeps - burn_in)
seconds = time.process_time() - start
low, high = given["train_value"].min(), given["train_value"].max()
errors = np.clip(model.predict(None, test), low, high) - given["test_value"]
print(json.dumps({"seconds": seconds, "rmse": float(np.sqrt(np.mean(errors**2)))}))
