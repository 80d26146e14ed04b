"""`[[policy]]` tables of a recipe as the components that keep them: stages, and rules and a calibration at the end."""

from __future__ import annotations

from typing import Any

from pasand.errors import InputError
from pasand.reranking.explore import BY_UNCERTAINTY
from pasand.reranking.exposure import exposure_policies
from pasand.reranking.exposure.exposure_policies import EXPECTED, OVER_REQUESTS

N_CANDIDATES = 200
"""Candidates for the policy to choose from, if the recipe retrieves only as many as a list has."""
GROUPS, CANDIDATES, STAGE = "policy_groups", "policy_candidates", "policy"
"""Names of the components that keep rules."""
ATTRIBUTES, CALIBRATION = "policy_attributes", "policy_calibration"
"""Names of the components that calibrate."""
STAGES: dict[str, str] = {
    "stakeholders": "pasand.reranking.stakeholders:Stakeholders",
    "mmr": "pasand.reranking.diversity.mmr:MMR",
    "dpp": "pasand.reranking.diversity.dpp:DPP",
}
"""Class of each kind of table that is one stage; the fields of a table are the parameters of its class."""
EXPLORE, RETRIEVED = "explore", "policy_retrieved"
UNCERTAINTY = "policy_uncertainty"
KINDS = ("rule", "calibration", OVER_REQUESTS, EXPECTED, *STAGES, EXPLORE)
"""Kinds of tables; a table without a kind is a rule."""
OF_ATTRIBUTES = ("shrinkage", "half_life_days", "declared")
CALIBRATION_FIELDS = ("attributes", "strength", *OF_ATTRIBUTES)
UNCERTAINTY_FIELDS = ("features", "model", "shrinkage", "history_length")
"""Fields of an exploration by uncertainty that are not those of the stage."""


def expanded(tables: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Return the tables of a recipe with its policy, the list "policy", replaced by components; in order.

    Tables of exposure become the stages of `exposure_policies`, which come first. Tables of a kind in `STAGES` become
    stages in the order of the recipe, named policy_KIND, policy_KIND_2 and so on. The rules become the options of
    `Groups`, and the recommender gets `WithGroups` around its retriever. Its last stage is
    `Rules` or, if the policy has a table of kind "calibration", `Calibration` within these rules; a table of kind
    "explore" becomes `Explore` behind them. Tables without a policy are returned as they are. Raises InputError for an
    unknown kind, for two calibrations or explorations, if a component has one of the
    names, or if there is no recommender with a
    retriever.
    """
    policy = tables.get(STAGE)
    if not isinstance(policy, list):
        return tables
    recommender = tables.get("recommender")
    if not isinstance(recommender, dict) or "retriever" not in recommender:
        cause = "a policy, but no table [recommender] with a retriever"
        raise InputError(where, cause=cause, cure='add one with class = "pasand.recommender:Recommender"')
    by_kind = _by_kind(policy, where)
    exposure = by_kind[OVER_REQUESTS], by_kind[EXPECTED]
    followed = [repr(kind) for kind in KINDS if by_kind[kind] and kind not in (OVER_REQUESTS, EXPECTED)]
    n_candidates = recommender.get("n_candidates") or N_CANDIDATES
    retrieved = _retrieved(by_kind[EXPLORE], recommender["retriever"], n_candidates)
    plain = f"@{RETRIEVED}" if retrieved else recommender["retriever"]
    components, retriever, names = exposure_policies.compiled(
        *exposure, plain, followed=followed, where=f"{where}, [[policy]]"
    )
    single = _of_stages(policy)
    components = {**retrieved, **components, **single}
    stages = [*recommender.get("stages", []), *(f"@{name}" for name in (*names, *single))]
    if by_kind["rule"]:
        components |= _of_rules(by_kind["rule"], retriever)
        retriever = f"@{CANDIDATES}"
    if by_kind["calibration"]:
        components |= _of_calibration(by_kind["calibration"][0], bool(by_kind["rule"]), f"{where}, [[policy]]")
        stages.append(f"@{CALIBRATION}")
    elif by_kind["rule"]:
        stages.append(f"@{STAGE}")
    if by_kind[EXPLORE]:
        components |= _of_exploration(by_kind[EXPLORE][0], plain, bool(by_kind["rule"]), f"{where}, [[policy]]")
        stages.append(f"@{STAGE}_{EXPLORE}")
    if clashing := [name for name in components if name != STAGE and name in tables]:
        cause = "the policy is compiled to a table of that name"
        raise InputError(where, value=clashing[0], cause=cause, cure="give the table another name")
    changed = {
        **recommender,
        "retriever": retriever,
        "stages": stages,
        "n_candidates": n_candidates,
    }
    others = {name: table for name, table in tables.items() if name not in (STAGE, "recommender")}
    return {**others, **components, "recommender": changed}


def _by_kind(policy: list[Any], where: str) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of each kind without their field `kind`, in order."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for table in policy:
        kind = table.get("kind", "rule")
        if kind not in KINDS:
            cure = f"write one of {', '.join(map(repr, KINDS))}, or leave it out for a rule"
            raise InputError(f"{where}, [[policy]]", column="kind", value=kind, cause="no such kind", cure=cure)
        found[kind].append({key: value for key, value in table.items() if key != "kind"})
    if len(found["calibration"]) > 1:
        cause = "a policy has one calibration"
        raise InputError(f"{where}, [[policy]]", cause=cause, cure="name all features in the attributes of one table")
    if len(found[EXPLORE]) > 1:
        cause = "a policy has one exploration"
        raise InputError(f"{where}, [[policy]]", cause=cause, cure="name all positions in the slots of one table")
    return found


def _of_stages(policy: list[Any]) -> dict[str, dict[str, Any]]:
    """Return the components of the tables whose kind is one stage, in order."""
    components: dict[str, dict[str, Any]] = {}
    for table in policy:
        kind = table.get("kind", "rule")
        if kind in STAGES:
            name = f"{STAGE}_{kind}"
            n = sum(known == name or known.startswith(f"{name}_") for known in components)
            fields = {key: value for key, value in table.items() if key != "kind"}
            components[f"{name}_{n + 1}" if n else name] = {"class": STAGES[kind], **fields}
    return components


def _of_rules(rules: list[dict[str, Any]], retriever: Any) -> dict[str, dict[str, Any]]:
    """Return the components that keep rules."""
    return {
        GROUPS: {"class": "pasand.reranking.rules.groups:Groups", "rules": rules},
        CANDIDATES: {
            "class": "pasand.reranking.retrieval:WithGroups",
            "retriever": retriever,
            "groups": f"@{GROUPS}",
        },
        STAGE: {"class": "pasand.reranking.rules.rules:Rules", "groups": f"@{GROUPS}"},
    }


def _retrieved(exploration: list[dict[str, Any]], retriever: Any, n_candidates: int) -> dict[str, dict[str, Any]]:
    """Return the component that keeps the candidates for an exploration of all items; none otherwise."""
    if not exploration or "where" in exploration[0]:
        return {}
    options = {"retriever": retriever, "at_least": n_candidates}
    return {RETRIEVED: {"class": "pasand.reranking.exploration.retrieved:Retrieved", **options}}


def _of_exploration(table: dict[str, Any], retriever: Any, within_rules: bool, where: str) -> dict[str, dict[str, Any]]:
    """Return the components that explore: the explored group and the uncertainty, if there are any, and the stage.

    Raises InputError for a field of the uncertainty with a method that has none.
    """
    options = {key: value for key, value in table.items() if key not in ("where", *UNCERTAINTY_FIELDS)}
    of_uncertainty = {key: value for key, value in table.items() if key in UNCERTAINTY_FIELDS}
    components: dict[str, dict[str, Any]] = {}
    if "where" in table:
        group = {"name": EXPLORE, "where": table["where"], "max_share": 1.0}
        components[f"{STAGE}_explored"] = {"class": "pasand.reranking.rules.groups:Groups", "rules": [group]}
        options["groups"] = f"@{STAGE}_explored"
    if within_rules:
        options["rules"] = f"@{STAGE}"
    if table.get("method") in BY_UNCERTAINTY and "uncertainty" not in table:
        name = "pasand.reranking.exploration.uncertainty:Uncertainty"
        components[UNCERTAINTY] = {"class": name, **of_uncertainty}
        options["uncertainty"] = f"@{UNCERTAINTY}"
    elif of_uncertainty:
        cure = f"leave it out, or set method to one of {', '.join(map(repr, BY_UNCERTAINTY))}"
        cause = "a field of the uncertainty, which this method does not have"
        raise InputError(where, column=next(iter(of_uncertainty)), cause=cause, cure=cure)
    stage = {"class": "pasand.reranking.explore:Explore", "retriever": retriever, **options}
    return {**components, f"{STAGE}_{EXPLORE}": stage}


def _of_calibration(table: dict[str, Any], within_rules: bool, where: str) -> dict[str, dict[str, Any]]:
    """Return the components that calibrate; raises InputError for an unknown field, and without attributes."""
    unknown = [key for key in table if key not in CALIBRATION_FIELDS]
    if unknown:
        cure = f"use one of: {', '.join(CALIBRATION_FIELDS)}"
        raise InputError(where, value=unknown[0], cause="a calibration has no such field", cure=cure)
    if not table.get("attributes"):
        cause = "a calibration without attributes"
        raise InputError(where, cause=cause, cure='name item features, as in attributes = ["genres"]')
    of_attributes = {key: table[key] for key in OF_ATTRIBUTES if key in table}
    strength = {key: table[key] for key in ("strength",) if key in table}
    rules = {"rules": f"@{STAGE}"} if within_rules else {}
    return {
        ATTRIBUTES: {
            "class": "pasand.reranking.calibration.attributes:Attributes",
            "names": table["attributes"],
            **of_attributes,
        },
        CALIBRATION: {
            "class": "pasand.reranking.calibration.calibration:Calibration",
            "attributes": f"@{ATTRIBUTES}",
            **strength,
            **rules,
        },
    }
