"""The `[[policy]]` tables of a recipe, and the recommender of a bundle with one of them changed or left out."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pasand import recipe
from pasand.audit.estimates import Estimate, ratio_of_sums
from pasand.audit.lists import Lists
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.recipe import Assembly
from pasand.reranking.policies import GROUPS, STAGE, expanded
from pasand.reranking.rules.groups import Groups

RULE, CALIBRATION = "rule", "calibration"


@dataclass(frozen=True)
class Part:
    """One table of the `[[policy]]` of a recipe."""

    number: int
    """Its position among the tables, from 0."""
    kind: str
    name: str
    """The name of a rule; of other tables their kind, with a number from the second one on."""
    table: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The part in words, such as "the rule 'new sellers'" or "calibration"."""
        return f"the rule {self.name!r}" if self.kind == RULE else self.name

    @property
    def section(self) -> str:
        """Name of its section in an audit: "rule NAME", or "policy KIND"."""
        return f"rule {self.name}" if self.kind == RULE else f"policy {self.name}"


def parts_of(text: str) -> list[Part]:
    """Return the tables of the policy of a recipe, in order; a table without a kind is a rule. [] without a policy."""
    policy = tomllib.loads(text).get(STAGE, [])
    parts: list[Part] = []
    for number, table in enumerate(policy if isinstance(policy, list) else []):
        kind = str(table.get("kind", RULE))
        n = sum(part.kind == kind for part in parts)
        name = str(table["name"]) if kind == RULE else f"{kind} {n + 1}" if n else kind
        parts.append(Part(number, kind, name, table))
    return parts


def replaced(text: str, number: int, table: Mapping[str, Any] | None) -> str:
    """Return the recipe with another table in place of one of its policy, or without it (None); comments are lost."""
    found = tomllib.loads(text)
    policy = list(found[STAGE])
    policy[number : number + 1] = [] if table is None else [dict(table)]
    tables = {key: one for key, one in found.items() if key != STAGE} | ({STAGE: policy} if policy else {})
    return recipe.dump(expanded(tables, where="recipe"))


def without_policy(text: str) -> str:
    """Return the recipe without its policy."""
    found = tomllib.loads(text)
    return recipe.dump({key: table for key, table in found.items() if key != STAGE})


def rebuilt(bundle: Bundle, text: str, data: Dataset) -> Assembly:
    """Return the recommender of a changed recipe, from the fitted components of the bundle.

    Components with the same table are those of the bundle; only what the change concerns is built and fitted again.
    """
    fitted = bundle.assembly
    ready = {fitted.digests[one]: component for one, component in fitted.components.items()}
    return recipe.build(text, ready=ready).fit(data, seed=0, ready=ready)


def rule_groups(bundle: Bundle) -> Groups | None:
    """Return the groups of the rules on lists, not those of exposure or exploration; None without such a rule."""
    groups: Groups | None = bundle.assembly.components.get(GROUPS)
    return groups


def exposure_of_rule(bundle: Bundle, name: str, lists: Lists) -> Estimate | None:
    """Return the share of the group of a rule in the exposure of all items; None for a maximum of each value."""
    groups = rule_groups(bundle)
    assert groups is not None
    r = [rule.name for rule in groups.rules].index(name)
    if groups.rules[r].each:
        return None
    users = lists.users[lists.query_user]
    features = {one: feature.take(users) for one, feature in lists.split.train.user_features.items()}
    inside = (groups.member(lists.items, lists.time, features) >> r & 1).astype(bool)
    return ratio_of_sums(lists.exposure(inside), lists.exposure(lists.items >= 0))
