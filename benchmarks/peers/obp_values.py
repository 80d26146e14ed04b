"""Prints the values of the Open Bandit Pipeline's estimators on logs in an NPZ file, as JSON by log and estimator.

obp_values.py FILE

The file holds the arrays LOG/NAME of each log. obp imports torch for the training of policies, which nothing here
needs: it and `obp.policy` are replaced by empty modules.
"""

from __future__ import annotations

import json
import sys
import types

import numpy as np

for module, names in {
    "torch": ("Tensor",),
    "obp.policy": ("BaseContextFreePolicy", "BaseContextualPolicy", "BaseOfflinePolicyLearner"),
}.items():
    sys.modules[module] = types.ModuleType(module)
    for name in names:
        setattr(sys.modules[module], name, type(name, (), {}))

from obp.ope.estimators import (  # noqa: E402
    DirectMethod,
    DoublyRobust,
    DoublyRobustWithShrinkage,
    InverseProbabilityWeighting,
    SelfNormalizedDoublyRobust,
    SelfNormalizedInverseProbabilityWeighting,
    SwitchDoublyRobust,
)
from obp.ope.estimators_slate import (  # noqa: E402
    SlateIndependentIPS,
    SlateRewardInteractionIPS,
    SlateStandardIPS,
)


def single(log):
    """Return the values of the estimators of single decisions."""
    given = {name: log[name] for name in ("reward", "action", "pscore", "position")}
    given |= {"action_dist": log["action_dist"], "estimated_rewards_by_reg_model": log["expected"]}
    threshold = float(log["threshold"])
    made = {
        "dm": DirectMethod(),
        "ips": InverseProbabilityWeighting(),
        "snips": SelfNormalizedInverseProbabilityWeighting(),
        "dr": DoublyRobust(),
        "sndr": SelfNormalizedDoublyRobust(),
    }
    try:
        made |= {
            "switch_dr": SwitchDoublyRobust(lambda_=threshold),
            "dros": DoublyRobustWithShrinkage(lambda_=threshold),
        }
    except TypeError:  # an older name of the parameter
        made |= {"switch_dr": SwitchDoublyRobust(tau=threshold), "dros": DoublyRobustWithShrinkage(lambda_=threshold)}
    return {name: float(estimator.estimate_policy_value(**given)) for name, estimator in made.items()}


def slates(log):
    """Return the values of the estimators of lists."""
    n, k = log["reward"].shape
    given = {
        "slate_id": np.repeat(np.arange(n), k),
        "reward": log["reward"].ravel(),
        "position": np.tile(np.arange(k), n),
    }

    def joint(values):
        return np.repeat(values.prod(axis=1), k)

    logged, policy = log["logged"], log["policy"]
    kinds = {
        "sips": (SlateStandardIPS, "", joint(logged), joint(policy)),
        "iips": (SlateIndependentIPS, "_item_position", logged.ravel(), policy.ravel()),
        "rips": (
            SlateRewardInteractionIPS,
            "_cascade",
            np.cumprod(logged, axis=1).ravel(),
            np.cumprod(policy, axis=1).ravel(),
        ),
    }
    return {
        name: float(
            kind(len_list=k).estimate_policy_value(
                **given, **{f"pscore{suffix}": below, f"evaluation_policy_pscore{suffix}": above}
            )
        )
        for name, (kind, suffix, below, above) in kinds.items()
    }


stored = np.load(sys.argv[1])
logs: dict[str, dict[str, np.ndarray]] = {}
for name in stored.files:
    log, _, column = name.partition("/")
    logs.setdefault(log, {})[column] = stored[name]
print(json.dumps({name: slates(log) if "logged" in log else single(log) for name, log in logs.items()}))
