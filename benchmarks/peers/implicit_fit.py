"""Fits a model of `implicit` and prints the seconds as JSON: implicit_fit.py ials|item_knn PAIRS.npz OUT.npy OPTIONS.

PAIRS holds user, item, shape and the test users; OUT gets the ten best items of each that are not in its history.
OPTIONS are the model's settings as JSON.
"""

import json
import sys
from time import perf_counter

import implicit
import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from scipy import sparse
from threadpoolctl import threadpool_limits

kind, source, out, options = sys.argv[1:]
settings = json.loads(options)
pairs = np.load(source)
ones = np.ones(len(pairs["user"]), np.float32)
matrix = sparse.csr_matrix((ones, (pairs["user"], pairs["item"])), shape=tuple(pairs["shape"]))
threadpool_limits(1, "blas")  # as implicit itself advises
model = AlternatingLeastSquares(**settings) if kind == "ials" else CosineRecommender(**settings)
started = perf_counter()
model.fit(matrix, show_progress=False)
seconds = perf_counter() - started
users = pairs["users"]
items, _ = model.recommend(users, matrix[users], N=10, filter_already_liked_items=True)
np.save(out, items)
print(json.dumps({"seconds": seconds, "version": implicit.__version__}))
