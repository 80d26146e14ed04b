"""Who pays for a policy: accuracy by group of users with each of its tables and without it, paired by user."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pasand import recipe
from pasand.audit.estimates import Estimate, Finding, compared, constant, mean_of, ratio_of_sums
from pasand.audit.groups import Grouping
from pasand.audit.lists import KnownUsers, Lists, recommend
from pasand.audit.user_metrics import FEWEST
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.metrics.miscalibration import kl_divergence
from pasand.recipe import Assembly
from pasand.reranking.attributes import Attributes
from pasand.reranking.groups import Groups
from pasand.reranking.policies import STAGE, expanded
from pasand.types import Array

DEFINITION = (
    "Mean over users of the metric with this table of the policy, compared with the same users' metric without it: the "
    "same fitted components recommend once by the whole recipe, and once by the recipe without that table. Greenwood "
    "et al., User-item fairness tradeoffs in recommendations, NeurIPS 2024."
)
RULE, CALIBRATION = "rule", "calibration"
WITHOUT = {RULE: "without the rule"}
"""What a table is compared with by its kind; for other kinds it is "without KIND"."""


@dataclass(frozen=True)
class Part:
    """One table of the `[[policy]]` of a recipe."""

    number: int
    """Its position among the tables, from 0."""
    kind: str
    name: str
    """The name of a rule; of other tables their kind, with a number from the second one on."""

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
        parts.append(Part(number, kind, name))
    return parts


def without(text: str, part: Part) -> str:
    """Return the recipe without a table of its policy; without any policy if it was the only one."""
    found = tomllib.loads(text)
    kept = [table for number, table in enumerate(found[STAGE]) if number != part.number]
    tables = {key: table for key, table in found.items() if key != STAGE} | ({STAGE: kept} if kept else {})
    return recipe.dump(expanded(tables, where="recipe"))


def without_policy(text: str) -> str:
    """Return the recipe without its policy."""
    found = tomllib.loads(text)
    return recipe.dump({key: table for key, table in found.items() if key != STAGE})


def build_without(bundle: Bundle, part: Part, data: Dataset) -> Assembly:
    """Return the recommender without a table, from the fitted components of the bundle.

    Components with the same table are those of the bundle; only what the policy concerns is built and fitted again.
    """
    fitted = bundle.assembly
    ready = {fitted.digests[one]: component for one, component in fitted.components.items()}
    return recipe.build(without(fitted.text, part), ready=ready).fit(data, seed=0, ready=ready)


def measure(
    bundle: Bundle, lists: Lists, groupings: Sequence[Grouping], metric: str, n_known_users: int
) -> Iterator[tuple[Part, list[Finding]]]:
    """Yield each table of the policy with its cost in the metric, for all users and by group, and what it changes.

    Groups with fewer than `FEWEST` test users are left out. What a table changes is the exposure of the items of a
    rule, the divergence of lists from histories of a calibration, and the share of the slots with other items of all of
    them. These findings are described and not tested: a policy is there to change them.
    """
    train = lists.split.train
    for part in parts_of(bundle.assembly.text):
        changed = build_without(bundle, part, train)
        other = recommend(KnownUsers(changed.recommender, n_known_users), lists.split, [metric], lists.k)
        reference = WITHOUT.get(part.kind, f"without {part.name}")
        findings = [_cost(lists, other, metric, reference)]
        for grouping in groupings:
            findings += [
                _cost(lists, other, metric, reference, grouping, g)
                for g in range(len(grouping.labels))
                if grouping.table[g, lists.users].sum() >= FEWEST
            ]
        yield part, [*findings, *_effects(bundle, part, lists, other, reference)]


def _cost(
    lists: Lists, other: Lists, metric: str, reference: str, grouping: Grouping | None = None, g: int = 0
) -> Finding:
    inside = None if grouping is None else grouping.table[g, lists.users]
    return compared(
        mean_of(lists.metrics[metric], inside),
        mean_of(other.metrics[metric], inside),
        measure=metric,
        reference_name=reference,
        attribute="" if grouping is None else grouping.name,
        group="all users" if grouping is None else grouping.labels[g],
    )


def _effects(bundle: Bundle, part: Part, lists: Lists, other: Lists, reference: str) -> Iterator[Finding]:
    """Yield what a table changes beside the metric, with the table and without it."""
    components = bundle.assembly.components.values()
    groups = next((one for one in components if isinstance(one, Groups)), None)
    attributes = next((one for one in components if isinstance(one, Attributes)), None)
    if part.kind == RULE and groups is not None:
        r = [rule.name for rule in groups.rules].index(part.name)
        if not groups.rules[r].each:  # of a maximum of each value there is no one group
            exposure, before = _exposure(groups, r, lists), _exposure(groups, r, other)
            yield _effect("exposure of its group", exposure, before, reference)
    if part.kind == CALIBRATION and attributes is not None:
        divergence, before = mean_of(_divergence(attributes, lists)), mean_of(_divergence(attributes, other))
        yield _effect("divergence from histories", divergence, before, reference)
    changed = lists.by_user(_changed(lists.items, other.items))
    nothing = constant(0.0, len(changed))
    yield _effect("share of the slots with other items", mean_of(changed), nothing, reference)


def _effect(name: str, value: Estimate, before: Estimate, reference: str) -> Finding:
    return replace(compared(value, before, measure=name, reference_name=reference, tested=False), group=name)


def _exposure(groups: Groups, r: int, lists: Lists) -> Estimate:
    """Return the share of the group of a rule in the exposure of all items."""
    users = lists.users[lists.query_user]
    features = {name: feature.take(users) for name, feature in lists.split.train.user_features.items()}
    inside = (groups.member(lists.items, lists.time, features) >> r & 1).astype(bool)
    return ratio_of_sums(lists.exposure(inside), lists.exposure(lists.items >= 0))


def _divergence(attributes: Attributes, lists: Lists) -> Array:
    """Return the mean Kullback-Leibler divergence of each user's lists from the history's categories, (n,)."""
    test, out = lists.split.test_queries, np.full(len(lists.items), np.nan)
    for which in test.batches(1024):
        target = attributes.target(test.queries(which, 1))
        out[which] = kl_divergence(target, attributes.shown(lists.items[which]))
    return lists.by_user(out)


def _changed(first: Array, second: Array) -> Array:
    """Return the share of the items of each list that are not in the other one, (Q, K), (Q, K) -> (Q,)."""
    common = ((first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]).any(axis=2).sum(axis=1)
    return np.asarray(1 - common / np.maximum((first >= 0).sum(axis=1), 1))
