"""Values of a policy on the same inputs as the Open Bandit Pipeline: the largest difference by estimator.

Four logs of single decisions with a context, and four of lists, with random weights and rewards. obp runs in an
environment of its own, without its dependency on torch (`benchmarks/peers/obp_values.py`).
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, peer_python, run_peer
from pasand.off_policy import estimators, slates
from pasand.off_policy.logged import Logged
from pasand.types import Array

MEASURES = ("off_policy/logged.py", "off_policy/estimators.py", "off_policy/slates.py")
LIMIT = 1e-9
PACKAGES = ("mypy_extensions", "numpy", "scipy", "scikit-learn", "pandas", "pyyaml", "tqdm", "matplotlib", "seaborn")
OBP = "obp==0.4.1"


def run() -> list[Row]:
    """Return the largest relative difference of each estimator."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    ours: dict[str, dict[str, float]] = {}
    for number in range(4):
        name, log = f"single{number}", _single(rng, n=2000, actions=12, positions=1 + 2 * (number % 2))
        arrays |= {f"{name}/{column}": values for column, values in log.items()}
        ours[name] = _single_values(log)
        name, log = f"slate{number}", _lists(rng, n=500, k=3 + number)
        arrays |= {f"{name}/{column}": values for column, values in log.items()}
        ours[name] = _list_values(log)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "logs.npz"
        np.savez(file, **arrays)  # type: ignore[arg-type]
        theirs = run_peer(obp_python(), "obp_values.py", file)
    rows = []
    for name in [*ours["single0"], *ours["slate0"]]:
        pairs = [(values[name], theirs[log][name]) for log, values in ours.items() if name in values]
        worst = max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
        what = f"{name}: largest relative difference from obp, {len(pairs)} logs"
        rows.append(Row(target=what, value=worst, limit=LIMIT, better="lower", comparable=True))
    return rows


def obp_python() -> Path:
    """Return the Python of an environment with obp, which is installed without its dependencies."""
    python = peer_python("obp", *PACKAGES)
    if subprocess.run([str(python), "-m", "pip", "show", "-q", "obp"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", OBP], check=True)
    return python


def _single(rng: np.random.Generator, *, n: int, actions: int, positions: int) -> dict[str, Array]:
    logged = rng.dirichlet(np.ones(actions), (n, positions)).transpose(0, 2, 1) * 0.9 + 0.1 / actions
    policy = rng.dirichlet(np.ones(actions), (n, positions)).transpose(0, 2, 1)
    position = rng.integers(0, positions, n)
    row = np.arange(n)
    action = np.array([rng.choice(actions, p=one / one.sum()) for one in logged[row, :, position]])
    return {
        "action": action,
        "position": position,
        "reward": (rng.random(n) < 0.3).astype(np.float64),
        "pscore": logged[row, action, position],
        "action_dist": policy,
        "expected": rng.random((n, actions, positions)),
        "threshold": np.array(2.0),
    }


def _single_values(log: dict[str, Array]) -> dict[str, float]:
    row, at = np.arange(len(log["action"])), (log["action"], log["position"])
    policy, expected = log["action_dist"], log["expected"]
    decisions = Logged(
        reward=log["reward"],
        weight=policy[row, at[0], at[1]] / log["pscore"],
        user=row,
        expected=expected[row, at[0], at[1]],
        policy_expected=(policy[row, :, at[1]] * expected[row, :, at[1]]).sum(axis=1),
    )
    plain = {name: getattr(estimators, name)(decisions) for name in ("dm", "ips", "snips", "dr", "sndr")}
    plain |= {"switch_dr": estimators.switch_dr(decisions, 2.0), "dros": estimators.dros(decisions, 2.0)}
    return {name: terms.estimate(row).value for name, terms in plain.items()}


def _lists(rng: np.random.Generator, *, n: int, k: int) -> dict[str, Array]:
    logged, policy = (rng.uniform(0.1, 0.9, (n, k)) for _ in range(2))
    return {"logged": logged, "policy": policy, "reward": (rng.random((n, k)) < 0.3).astype(np.float64)}


def _list_values(log: dict[str, Array]) -> dict[str, float]:
    given = slates.Slates(
        reward=log["reward"], weight=log["policy"] / log["logged"], user=np.arange(len(log["reward"]))
    )
    return {name: slates.ESTIMATORS[name](given).estimate(given.user).value for name in ("sips", "iips", "rips")}
