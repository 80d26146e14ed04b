"""Prints the test RMSE on one fold of Surprise's SVD and SVD++ with defaults, and of tuned SVD, as JSON.

surprise_rating.py FOLDER FOLD

SVD is tuned as ours is, in as many trials: on a random tenth of the fold's base, then trained again on the whole base.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

from surprise import SVD, Dataset, Reader, SVDpp, accuracy
from surprise.model_selection import PredefinedKFold, train_test_split

GRID = [
    {"n_factors": factors, "lr_all": 0.01, "init_std_dev": 0.01, "reg_all": reg, **bias, "n_epochs": epochs}
    for factors, reg, bias, epochs in product(
        (200, 400), (0.05, 0.06, 0.07, 0.08), ({}, {"reg_bu": 0.01, "reg_bi": 0.01}), (40, 65)
    )
]
"""As many settings as ours has: factors, l2, l2 of the biases, and epochs, as Surprise has no early stopping."""

folder, fold = Path(sys.argv[1]), int(sys.argv[2])
reader = Reader("ml-100k")
with tempfile.TemporaryDirectory() as temporary:
    files = []
    for part in ("base", "test"):
        unzipped = Path(temporary) / part
        unzipped.write_bytes(gzip.decompress((folder / f"u{fold}.{part}.gz").read_bytes()))
        files.append(str(unzipped))
    train, test = next(PredefinedKFold().split(Dataset.load_from_folds([tuple(files)], reader)))
    inner, held = train_test_split(Dataset.load_from_file(files[0], reader), test_size=0.1, random_state=fold)

tuned = min(
    GRID,
    key=lambda options: accuracy.rmse(SVD(random_state=0, **options).fit(inner).test(held), verbose=False),
)
peers = {"SVD": SVD(random_state=0), "SVDpp": SVDpp(random_state=0), "SVD tuned": SVD(random_state=0, **tuned)}
print(json.dumps({name: accuracy.rmse(peer.fit(train).test(test), verbose=False) for name, peer in peers.items()}))
