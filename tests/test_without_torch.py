"""Serving and the command line work without torch, or without loading it where it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pasand import bundle, models, recipe
from pasand.models.rankers.contextual import ContextualRanker
from tests.logs import tastes

FIT = """
import sys
sys.modules["torch"] = None
import numpy as np
from pasand import models
from pasand.errors import InputError
from pasand.models.towers.tower import DeepTower
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

RANKED = """
[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@from_popular"
"""

RECOMMEND = """
import sys
from pathlib import Path
import numpy as np
from pasand import bundle
loaded = bundle.read(Path(sys.argv[1]))
queries = loaded.data.queries(np.arange(-1, 20, dtype=np.int32), k=7)
loaded.assembly.recommender(queries)
items = np.tile(np.arange(-1, 30, dtype=np.int32), (len(queries), 1))
for name, part in loaded.assembly.exported.items():
    assert np.isfinite(part.score(queries, items)[:, 1:]).any(), name
heavy = {"torch", "onnx", "scipy.sparse", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
print(" ".join(sorted(loaded.assembly.exported)))
"""

ALONE = """
import sys
from pasand.cli.main import application
single = application("serve")
assert not {"numpy", "pasand.cli.compare"} & set(sys.modules)
assert [command.name for command in single.registered_commands] == ["serve"]
names = [command.name for command in application("srve").registered_commands]
assert {"compare", "fit", "serve"} <= set(names)
"""


def run(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def test_training_names_what_to_install() -> None:
    lines = run(FIT).splitlines()
    assert {line.split()[0] for line in lines} >= {"bpr_mf", "sasrec", "two_tower", "youtube"}
    for line in lines:
        assert line.endswith("torch: training needs torch. Cure: pip install 'pasand[train]'.")


def test_importing_is_light() -> None:
    run(LIGHT)


def test_a_command_is_loaded_without_the_others() -> None:
    run(ALONE)


def test_every_ranker_scores_from_its_bundle_without_loading_torch(tmp_path: Path) -> None:
    """Loading torch would cost every server seconds and hundreds of megabytes."""
    rankers = {name: model for name, model in models.classes().items() if issubclass(model, ContextualRanker)}
    tables = [
        f'[{name}]\nclass = "{model.__module__}:{model.__name__}"\nepochs = 1\npatience = 0\nlayers = [8]\n'
        for name, model in rankers.items()
    ]
    text = "\n".join(table.replace("layers = [8]\n", "") if "[fm]" in table else table for table in tables) + RANKED
    data = tastes()
    bundle.write(tmp_path / "b", recipe.build(text).fit(data, seed=0), data, seed=0)
    assert run(RECOMMEND, str(tmp_path / "b")).split() == sorted(rankers)
