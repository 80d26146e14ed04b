"""Languages: how many users discover a language that is new to them, against the supply of items in it."""

from __future__ import annotations

import numpy as np

from pasand.audit import item_exposure
from pasand.audit.estimates import Finding, compared, mean_of
from pasand.audit.groups import item_grouping
from pasand.audit.lists import Lists

DEFINITION = (
    "Discovery rate of a language: the share of the lists with an item in it, among the lists of users whose histories "
    "have none. It is compared with the rate of lists of the same length drawn at random from the available catalogue, "
    "1 - (1 - supply) ** length, where supply is the language's share of that catalogue. A definition of this audit; "
    "it is described and not tested, as users need not want a new language."
)


def measure(lists: Lists, feature: str) -> list[Finding]:
    """Return the discovery rate of each language, without those that all users have in their histories."""
    grouping = item_grouping(feature, lists.split.train)
    known = np.zeros((len(grouping.labels), len(lists.items)), np.bool_)
    never = np.zeros(1, np.int64)
    for which, history, _ in lists.histories():
        for g in range(len(grouping.labels)):
            known[g, which] = grouping.member(g, history, never).any(axis=1)
    length = (lists.items >= 0).sum(axis=1)
    findings = []
    for g, label in enumerate(grouping.labels):
        found = grouping.member(g, lists.items, never).any(axis=1)
        supply = item_exposure.catalogue_shares(lists, grouping, g)
        rate = lists.by_user(np.where(known[g], np.nan, found))
        chance = lists.by_user(np.where(known[g], np.nan, 1 - (1 - supply) ** length))
        if np.isnan(rate).all():
            continue
        findings.append(
            compared(
                mean_of(rate),
                mean_of(chance),
                measure="discovery rate",
                reference_name="lists drawn at random",
                attribute=feature,
                group=label,
                tested=False,
                context={"supply": mean_of(lists.by_user(supply))},
            )
        )
    return findings
