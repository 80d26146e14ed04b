"""`[[policy]]` tables of a recipe as the components that keep their rules."""

from __future__ import annotations

from typing import Any

from pasand.errors import InputError

N_CANDIDATES = 200
"""Candidates for the rules to choose from, if the recipe retrieves only as many as a list has."""
GROUPS, CANDIDATES, STAGE = "policy_groups", "policy_candidates", "policy"
"""Names of the components."""


def expanded(tables: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Return the tables of a recipe with its rules, the list "policy", replaced by components; in order.

    The rules become the options of `pasand.reranking.groups:Groups`. The recommender gets `WithGroups` around its
    retriever and `Rules` as its last stage. Tables without a policy are returned as they are. Raises InputError if a
    component has one of the names, or if there is no recommender with a retriever.
    """
    rules = tables.get(STAGE)
    if not isinstance(rules, list):
        return tables
    clashing = [name for name in (GROUPS, CANDIDATES) if name in tables]
    if clashing:
        cause = "the rules of the policy are compiled to a table of that name"
        raise InputError(where, value=clashing[0], cause=cause, cure="give the table another name")
    recommender = tables.get("recommender")
    if not isinstance(recommender, dict) or "retriever" not in recommender:
        cause = "a policy, but no table [recommender] with a retriever"
        raise InputError(where, cause=cause, cure='add one with class = "pasand.recommender:Recommender"')
    changed = {
        **recommender,
        "retriever": f"@{CANDIDATES}",
        "stages": [*recommender.get("stages", []), f"@{STAGE}"],
        "n_candidates": recommender.get("n_candidates") or N_CANDIDATES,
    }
    components = {
        GROUPS: {"class": "pasand.reranking.groups:Groups", "rules": rules},
        CANDIDATES: {
            "class": "pasand.reranking.retrieval:WithGroups",
            "retriever": recommender["retriever"],
            "groups": f"@{GROUPS}",
        },
        STAGE: {"class": "pasand.reranking.rules:Rules", "groups": f"@{GROUPS}"},
    }
    others = {name: table for name, table in tables.items() if name not in (STAGE, "recommender")}
    return {**others, **components, "recommender": changed}
