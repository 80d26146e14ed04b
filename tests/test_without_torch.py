"""What is promised to who has not installed torch, or has and does not want to wait for it."""

from __future__ import annotations

import subprocess
import sys

FIT = """
import sys
sys.modules["torch"] = None
import numpy as np
from pasand import models
from pasand.errors import InputError
from pasand.training.tower import DeepTower
from tests.logs import tastes
for name, model in models.classes().items():
    if issubclass(model, DeepTower):
        try:
            models.find(name)().fit(tastes(), rng=np.random.default_rng(0))
        except InputError as error:
            print(name, error)
"""

LIGHT = """
import sys
import pasand
assert not {"torch", "onnxruntime", "polars", "numba", "numpy"} & set(sys.modules)
import pasand.models, pasand.recipe, pasand.bundle, pasand.cli.main
pasand.models.classes()
assert not {"torch", "onnxruntime", "onnx", "faiss"} & set(sys.modules)
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def test_training_says_what_to_install() -> None:
    told = run(FIT).splitlines()
    assert {line.split()[0] for line in told} >= {"bpr_mf", "sasrec", "two_tower", "youtube"}
    for line in told:
        assert line.endswith("torch: training needs torch. Cure: pip install 'pasand[train]'.")


def test_importing_is_light() -> None:
    run(LIGHT)
