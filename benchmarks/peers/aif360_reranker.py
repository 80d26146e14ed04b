"""Prints the lists of AIF360's DeterministicReranking as JSON, with the milliseconds of each: aif360_reranker.py FILE K

FILE is JSON: a list of {"scores": [...], "group": [...], "share": [...]}, the groups coded as 0 to n - 1. The ranker
scales all columns to [0, 1], so the codes are scaled beforehand; a list is null where an error is raised.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from aif360.algorithms.postprocessing import DeterministicReranking
from aif360.datasets import RegressionDataset

warnings.simplefilter("ignore")
file, k = sys.argv[1], int(sys.argv[2])
KINDS = ("Greedy", "Conservative", "Relaxed", "Constrained")
found: dict[str, list[dict[str, object]]] = {kind: [] for kind in KINDS}
with open(file) as text:
    cases = json.load(text)
for case in cases:
    scores, n = np.array(case["scores"]), len(case["share"])
    code = np.array(case["group"]) / (n - 1)
    table = pd.DataFrame({"group": code, "score": scores})
    values = [float(value) for value in np.arange(n) / (n - 1)]
    for kind in KINDS:
        positions, error = None, ""
        began = time.thread_time()
        try:
            data = RegressionDataset(table, "score", protected_attribute_names=["group"], privileged_classes=[[1.0]])
            ranker = DeterministicReranking([{"group": value} for value in values[:-1]], [{"group": values[-1]}])
            ranked = ranker.fit_predict(data, k, case["share"], rerank_type=kind)
            spent = time.thread_time() - began
            scaled = (scores - scores.min()) / (scores.max() - scores.min())
            positions = [int(np.argmin(np.abs(scaled - label))) for label in np.asarray(ranked.labels).ravel()]
        except Exception as failure:
            spent, error = time.thread_time() - began, f"{type(failure).__name__}: {failure}"
        found[kind].append({"positions": positions, "ms": 1000 * spent, "error": error})
print(json.dumps(found))
