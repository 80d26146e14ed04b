"""What a policy is traded against accuracy for: measures of fairness of lists as estimates over users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pasand.audit import item_exposure, popularity
from pasand.audit.dials import Dial
from pasand.audit.estimates import Estimate, constant, mean_of, ratio_of_sums
from pasand.audit.groups import POPULARITY, Grouping, item_grouping
from pasand.audit.lists import Lists
from pasand.audit.policy_tables import CALIBRATION, RULE, exposure_of_rule
from pasand.audit.user_metrics import FEWEST
from pasand.bundle import Bundle
from pasand.metrics.miscalibration import kl_divergence
from pasand.reranking.calibration.attributes import Attributes
from pasand.reranking.diversity.diversifying import Diversifying
from pasand.reranking.stakeholders import Stakeholders


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure of lists, and which way it is meant to go."""

    name: str
    fairer: Literal["higher", "lower"]
    estimate: Callable[[Lists], Estimate]
    dial: str = ""
    """Dial whose table is there to change it; "": none in particular."""


def measures(
    bundle: Bundle, lists: Lists, known: Sequence[Dial], of_users: Sequence[Grouping], of_items: Sequence[Grouping]
) -> list[Measure]:
    """Return the measures that the tables of the policy are there to change, and those of all lists.

    The latter are the Gini coefficient of exposure, the share of the head, the average popularity, by item grouping the
    exposure away from merit, and by user grouping the main metric of the group that is served worst.
    """
    found = [one for dial in known for one in _of_dial(bundle, lists, dial)]
    train = lists.split.train
    count = np.bincount(train.positives().item, minlength=train.n_items).astype(np.float64)
    offered = np.flatnonzero(lists.split.offered)
    found += [
        Measure(
            name="Gini coefficient of exposure",
            fairer="lower",
            estimate=lambda one: popularity.gini(one.item_exposure()[:, offered]),
        ),
        Measure(
            name="average recommendation popularity",
            fairer="lower",
            estimate=lambda one: ratio_of_sums(one.exposure(count[one.items]), one.exposure(one.items >= 0)),
        ),
    ]
    if POPULARITY not in train.item_features:
        head = item_grouping(POPULARITY, train)
        share = Measure(
            name="share of the head", fairer="lower", estimate=lambda one: item_exposure.exposure_share(one, head, 0)
        )
        found.insert(-1, share)
    found += [_from_merit(grouping) for grouping in of_items]
    return found + [_worst(grouping, f"ndcg@{lists.k}") for grouping in of_users]


def _of_dial(bundle: Bundle, lists: Lists, dial: Dial) -> list[Measure]:
    """Return what the table of a dial is there to change."""
    components = bundle.assembly.components
    if dial.kind == RULE:
        if exposure_of_rule(bundle, dial.name, lists) is None:
            return []

        def inside(one: Lists) -> Estimate:
            exposure = exposure_of_rule(bundle, dial.name, one)
            assert exposure is not None
            return exposure

        name = f"exposure of the group of {dial.name!r}"
        return [Measure(name=name, fairer="lower" if dial.reversed else "higher", estimate=inside, dial=dial.name)]
    if dial.kind == CALIBRATION:
        return [_divergence(next(part for part in components.values() if isinstance(part, Attributes)), lists, dial)]
    part = components["_".join(["policy", *dial.name.split()])]
    if isinstance(part, Diversifying):
        similarity, name = part.similarity, f"similarity within lists ({dial.name})"

        def alike(one: Lists) -> Estimate:
            return mean_of(one.by_user(similarity.within_lists(one.items)))

        return [Measure(name=name, fairer="lower", estimate=alike, dial=dial.name)]
    if isinstance(part, Stakeholders):
        return [_stake(part, role, dial) for role in ("provider", "platform") if getattr(part, role)]
    return []


def _divergence(attributes: Attributes, lists: Lists, dial: Dial) -> Measure:
    """Return the Kullback-Leibler divergence of lists from the users' histories, with Steck's smoothing."""
    test = lists.split.test_queries
    parts = [(which, attributes.target(test.queries(which, 1))) for which in test.batches(1024)]
    target = np.empty((len(test), len(attributes.population)))
    for which, rows in parts:
        target[which] = rows

    def estimate(one: Lists) -> Estimate:
        return mean_of(one.by_user(kl_divergence(target, attributes.shown(one.items))))

    return Measure(name="divergence from histories", fairer="lower", estimate=estimate, dial=dial.name)


def _stake(part: Stakeholders, role: str, dial: Dial) -> Measure:
    values = part.values(role)
    name = f"{'priority' if role == 'provider' else 'value'} of {getattr(part, role)} (0 to 1)"

    def estimate(one: Lists) -> Estimate:
        return ratio_of_sums(one.exposure(values[one.items]), one.exposure(one.items >= 0))

    return Measure(name=name, fairer="higher", estimate=estimate, dial=dial.name)


def _from_merit(grouping: Grouping) -> Measure:
    """Return half the sum over groups of the difference between exposure and merit, 0 where all are equal."""

    def estimate(one: Lists) -> Estimate:
        total = constant(0.0, len(one.users))
        for g in range(len(grouping.labels)):
            away = item_exposure.exposure_share(one, grouping, g) - item_exposure.merit_share(one, grouping, g)
            sign = np.sign(away.value) / 2
            users = max(total.n_users if total.value else 0, away.n_users)
            total = Estimate(total.value + sign * away.value, total.influence + sign * away.influence, users)
        return total

    return Measure(name=f"exposure away from merit by {grouping.name}", fairer="lower", estimate=estimate)


def _worst(grouping: Grouping, metric: str) -> Measure:
    """Return the metric of the group of users that is served worst, of those with at least `FEWEST` test users."""

    def estimate(one: Lists) -> Estimate:
        tables = [row[one.users] for row in grouping.table if row[one.users].sum() >= FEWEST]
        found = [mean_of(one.metrics[metric], inside) for inside in tables]
        return min(found, key=lambda group: group.value, default=constant(np.nan, len(one.users)))

    return Measure(name=f"{metric} of the worst {grouping.name}", fairer="higher", estimate=estimate)
