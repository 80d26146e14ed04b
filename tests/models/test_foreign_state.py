"""States of strangers: a model refuses arrays that it cannot have saved, or answers as it can, and never crashes.

Compiled code follows a wrong row number into the memory of others, so all of it runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from pasand.contracts import Explains, Model, PredictsRatings
from pasand.stages.boosting import Boosted
from pasand.types import Array, Arrays, Queries
from tests.logs import tastes
from tests.models.test_contract import MODELS

FEW = {"epochs": 2, "patience": 1, "burn_in": 0, "dimensions": 3, "blocks": 1, "layers": (4,), "trees": 3}
"""Settings that make any model small."""


def fitted(model: type[Model]) -> Model:
    """Return a small model of a log with features."""
    return small(model).fit(tastes(), rng=np.random.default_rng(0))


def small(model: type[Any]) -> Model:
    names = {field.name for field in fields(model)}
    made: Model = model(**{name: value for name, value in FEW.items() if name in names})
    return made


def boosted(fit: bool) -> Model:
    bases = [fitted(model) for model in MODELS if model.__name__ in ("ItemKNN", "EASE")]
    made = Boosted(models=bases, trees=3, min_leaf_examples=5, n_candidates=5)
    return made.fit(tastes(), rng=np.random.default_rng(0)) if fit else made


def changes(values: Array) -> Iterator[tuple[str, Array]]:
    """Yield what an array may be replaced by."""
    yield "empty", values.reshape(-1)[:0]
    yield "flat", values.reshape(-1) if values.ndim != 1 else values[:, None]
    for kind in (np.int8, np.int32, np.int64, np.float32, np.float64):
        if values.dtype != kind:
            with np.errstate(all="ignore"):
                yield f"as {np.dtype(kind).name}", values.astype(kind)
    if values.ndim:
        yield "shorter", values[: len(values) // 2]
        yield "longer", np.concatenate([values, values[-1:], values[:1]])
    if values.ndim > 1:
        yield "width 0", values[:, :0]
        yield "narrower", values[:, :-1]
    if values.size:
        for number in (-1, -(2**31), 2**31 - 1, 1000, 0) if values.dtype.kind in "iu" else (np.nan, np.inf, -1.0, 0):
            if values.dtype.kind == "f" or np.can_cast(np.min_scalar_type(number), values.dtype):
                other = values.copy()
                other.reshape(-1)[-1] = number
                yield f"{number} at the end", other


def answers(model: Model, queries: Queries) -> str:
    """Return what is wrong with the answers of a model; "" if nothing is."""
    items = np.array([[0, 29, 30, -1]] * len(queries), np.int32)
    outcomes = [model.score(queries, None), model.score(queries, items)]
    if isinstance(model, PredictsRatings) and not isinstance(model, Boosted):
        outcomes.append(model.predict(queries, items))
    if isinstance(model, Explains):
        model.reasons(queries, items)
    return "nan" if any(np.isnan(scores).any() for scores in outcomes) else ""


def outcome(model: Model, state: Arrays, queries: Queries) -> str:
    try:
        model.load_state(state)
    except (ValueError, KeyError):
        return "refused"
    try:
        with np.errstate(all="ignore"):
            return answers(model, queries) or "answers"
    except Exception as error:
        return f"fails: {error!r}"


def child(names: list[str]) -> None:
    """Try all changes of the states of these models; print each before, and what came of it afterwards."""
    data = tastes()
    queries = data.queries(np.array([0, 1, 59, -1], np.int32), k=5)
    tried_before = set()
    for name in names:
        model = boosted(True) if name == "Boosted" else fitted(next(m for m in MODELS if m.__name__ == name))
        state = dict(model.state())
        tried = [key for key in state if not key.startswith("weights.")] + [k for k in state if "weights." in k][:1]
        for key in tried:
            every = 7 if type(model).load_state in tried_before else 1  # models that share their checks
            for kind, values in [("missing", None), *changes(np.asarray(state[key]))][::every]:
                print(f"{name}, {key} {kind}:", end=" ", flush=True)
                changed = {other: array for other, array in state.items() if other != key}
                fresh = boosted(False) if name == "Boosted" else small(type(model))
                print(outcome(fresh, changed if values is None else {**changed, key: values}, queries), flush=True)
        tried_before.add(type(model).load_state)
    print("whole")


def test_no_change_of_a_state_crashes_a_model_or_gives_nan() -> None:
    names = [*(model.__name__ for model in MODELS), "Boosted"]
    call = f"from tests.models.test_foreign_state import child; child({names!r})"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, timeout=900)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"it ended with {done.returncode} at: {lines[-1:]}\n{done.stderr[-2000:]}"
    wrong = [line for line in lines if line.endswith(": nan")]
    assert not wrong, "\n".join(wrong)
    assert sum(line.endswith(": refused") for line in lines) > len(lines) / 2
