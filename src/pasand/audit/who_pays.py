"""Who pays for a rule: accuracy by group of users with each rule of the policy and without it, paired by user."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pasand import recipe
from pasand.audit.estimates import Finding, compared, mean_of, ratio_of_sums
from pasand.audit.groups import Grouping
from pasand.audit.lists import KnownUsers, Lists, recommend
from pasand.audit.user_metrics import FEWEST
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.recipe import Assembly
from pasand.reranking.groups import Groups
from pasand.reranking.policies import STAGE, expanded

DEFINITION = (
    "Mean over users of the metric with the rule, compared with the same users' metric without it: the same fitted "
    "components recommend once by the whole recipe, and once by the recipe without that rule. Greenwood et al., "
    "User-item fairness tradeoffs in recommendations, NeurIPS 2024."
)


def rules_of(text: str) -> list[dict[str, Any]]:
    """Return the `[[policy]]` tables of a recipe that are rules on lists, in order; [] without any."""
    policy = tomllib.loads(text).get(STAGE, [])
    return [table for table in policy if table.get("kind", "rule") == "rule"] if isinstance(policy, list) else []


def without(text: str, name: str) -> str:
    """Return the recipe without the rule of this name; without any table of the policy if it was the only one."""
    found = tomllib.loads(text)
    kept = [table for table in found[STAGE] if table.get("name") != name]
    tables = {key: table for key, table in found.items() if key != STAGE} | ({STAGE: kept} if kept else {})
    return recipe.dump(expanded(tables, where="recipe"))


def build_without(bundle: Bundle, name: str, data: Dataset) -> Assembly:
    """Return the recommender without a rule, from the fitted components of the bundle.

    Components with the same table are those of the bundle; only what the rules concern is built and fitted again.
    """
    fitted = bundle.assembly
    ready = {fitted.digests[one]: part for one, part in fitted.components.items()}
    return recipe.build(without(fitted.text, name), ready=ready).fit(data, seed=0, ready=ready)


def measure(
    bundle: Bundle, lists: Lists, groupings: Sequence[Grouping], metric: str, n_known_users: int
) -> dict[str, list[Finding]]:
    """Return for each rule its cost in the metric, for all users and by group, and the exposure of its items.

    Groups with fewer than `FEWEST` test users are left out. Findings of exposure are described and not tested: a rule
    is there to change it.
    """
    train, costs = lists.split.train, {}
    for rule in rules_of(bundle.assembly.text):
        name = str(rule["name"])
        changed = build_without(bundle, name, train)
        other = recommend(KnownUsers(changed.recommender, n_known_users), lists.split, [metric], lists.k)
        findings = [_cost(lists, other, metric)]
        for grouping in groupings:
            findings += [
                _cost(lists, other, metric, grouping, g)
                for g in range(len(grouping.labels))
                if grouping.table[g, lists.users].sum() >= FEWEST
            ]
        if not rule.get("each"):  # of a maximum of each value there is no one group
            findings.append(_exposure(bundle, lists, other, name))
        costs[name] = findings
    return costs


def _cost(lists: Lists, other: Lists, metric: str, grouping: Grouping | None = None, g: int = 0) -> Finding:
    inside = None if grouping is None else grouping.table[g, lists.users]
    return compared(
        mean_of(lists.metrics[metric], inside),
        mean_of(other.metrics[metric], inside),
        measure=metric,
        reference_name="without the rule",
        attribute="" if grouping is None else grouping.name,
        group="all users" if grouping is None else grouping.labels[g],
    )


def _exposure(bundle: Bundle, lists: Lists, other: Lists, name: str) -> Finding:
    """Return the exposure of the rule's group with the rule and without it."""
    groups = next(part for part in bundle.assembly.components.values() if isinstance(part, Groups))
    r = [rule.name for rule in groups.rules].index(name)
    users, shares = lists.users[lists.query_user], []
    features = {name: feature.take(users) for name, feature in lists.split.train.user_features.items()}
    for one in (lists, other):
        inside = (groups.member(one.items, one.time, features) >> r & 1).astype(bool)
        shares.append(ratio_of_sums(one.exposure(inside), one.exposure(one.items >= 0)))
    return replace(
        compared(*shares, measure="exposure of its group", reference_name="without the rule", tested=False),
        group="exposure of its group",
    )
