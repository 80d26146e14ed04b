"""Prints the test RMSE of Surprise's SVD and SVD++ with their defaults on one fold: FOLDER FOLD."""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

from surprise import SVD, Dataset, Reader, SVDpp, accuracy
from surprise.model_selection import PredefinedKFold

folder, fold = Path(sys.argv[1]), int(sys.argv[2])
with tempfile.TemporaryDirectory() as place:
    files = []
    for part in ("base", "test"):
        plain = Path(place) / part
        plain.write_bytes(gzip.decompress((folder / f"u{fold}.{part}.gz").read_bytes()))
        files.append(str(plain))
    data = Dataset.load_from_folds([tuple(files)], Reader("ml-100k"))
    train, test = next(PredefinedKFold().split(data))
    found = {}
    for model in (SVD(random_state=0), SVDpp(random_state=0)):
        found[type(model).__name__] = accuracy.rmse(model.fit(train).test(test), verbose=False)
print(json.dumps(found))
