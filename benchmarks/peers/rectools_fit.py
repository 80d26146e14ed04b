"""Fits a model of RecTools and prints the seconds and the version as JSON.

rectools_fit.py ease|ease_transposed|item_knn PAIRS.npz OUT.npy VALUE

PAIRS holds user, item and the test users. OUT gets the ten best items of each that are not in its history, padded with
-1. VALUE is EASE's regularisation, or the number of neighbours (the item itself among them). RecTools ranks by the
transpose of EASE's weights: "ease_transposed" is unchanged RecTools, "ease" ranks by the same weights in the paper's
direction (Steck 2019, eq. 2: scores are x B).
"""

import json
import sys
from importlib.metadata import version
from time import perf_counter

import numpy as np
import pandas as pd
from implicit.nearest_neighbours import CosineRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, ImplicitItemKNNWrapperModel

kind, source, out, value = sys.argv[1:]
pairs = np.load(source)
frame = pd.DataFrame({Columns.User: pairs["user"], Columns.Item: pairs["item"], Columns.Weight: 1.0})
frame[Columns.Datetime] = "2000-01-01"
data = Dataset.construct(frame)
if kind.startswith("ease"):
    model = EASEModel(regularization=float(value))
else:
    model = ImplicitItemKNNWrapperModel(CosineRecommender(K=int(value)))
started = perf_counter()
model.fit(data)
seconds = perf_counter() - started
users = pairs["users"]
if kind == "ease":
    model.weight = np.ascontiguousarray(model.weight.T)
found = model.recommend(users=users, dataset=data, k=10, filter_viewed=True)
row = pd.Series(np.arange(len(users)), index=users)
items = np.full((len(users), 10), -1, np.int64)
items[row[found[Columns.User]].to_numpy(), found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
np.save(out, items)
print(json.dumps({"seconds": seconds, "version": version("rectools")}))
