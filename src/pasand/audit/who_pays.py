"""Who pays for a policy: accuracy by group of users with each of its tables and without it, paired by user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pasand.audit.estimates import Estimate, Finding, compared, constant, mean_of
from pasand.audit.groups import Grouping
from pasand.audit.lists import KnownUsers, Lists, recommend
from pasand.audit.policy_tables import CALIBRATION, RULE, Part, exposure_of_rule, parts_of, rebuilt, replaced
from pasand.audit.user_metrics import FEWEST
from pasand.bundle import Bundle
from pasand.metrics.miscalibration import kl_divergence
from pasand.reranking.calibration.attributes import Attributes
from pasand.types import Array

DEFINITION = (
    "Mean over users of the metric with this table of the policy, compared with the same users' metric without it: the "
    "same fitted components recommend once by the whole recipe, and once by the recipe without that table. Greenwood "
    "et al., User-item fairness tradeoffs in recommendations, NeurIPS 2024."
)
WITHOUT = {RULE: "without the rule"}
"""What a table is compared with by its kind; for other kinds it is "without KIND"."""


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
        changed = rebuilt(bundle, replaced(bundle.assembly.text, part.number, None), train)
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
    attributes = next((one for one in components if isinstance(one, Attributes)), None)
    if part.kind == RULE:
        exposure, before = (exposure_of_rule(bundle, part.name, one) for one in (lists, other))
        if exposure is not None and before is not None:
            yield _effect("exposure of its group", exposure, before, reference)
    if part.kind == CALIBRATION and attributes is not None:
        divergence, before = mean_of(_divergence(attributes, lists)), mean_of(_divergence(attributes, other))
        yield _effect("divergence from histories", divergence, before, reference)
    changed = lists.by_user(_changed(lists.items, other.items))
    nothing = constant(0.0, len(changed))
    yield _effect("share of the slots with other items", mean_of(changed), nothing, reference)


def _effect(name: str, value: Estimate, before: Estimate, reference: str) -> Finding:
    return replace(compared(value, before, measure=name, reference_name=reference, tested=False), group=name)


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
