"""Prints the seconds of a fit of Surprise's SVD, and its RMSE on held-out ratings, as JSON.

surprise_speed.py TRAIN TEST FACTORS EPOCHS

TRAIN and TEST are files of tab-separated user, item, rating.
"""

from __future__ import annotations

import json
import sys
import time

from surprise import SVD, Dataset, Reader, accuracy
from surprise.model_selection import PredefinedKFold

train_file, test_file, factors, epochs = sys.argv[1:]
reader = Reader(line_format="user item rating", sep="\t")
data = Dataset.load_from_folds([(train_file, test_file)], reader)
train, test = next(PredefinedKFold().split(data))
model = SVD(n_factors=int(factors), n_epochs=int(epochs), random_state=0)
start = time.perf_counter()
model.fit(train)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "rmse": accuracy.rmse(model.test(test), verbose=False)}))
