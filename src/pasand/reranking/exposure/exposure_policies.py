"""`[[policy]]` tables of the kinds "exposure" and "expected-exposure" as the components that keep them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pasand.errors import InputError

OVER_REQUESTS, EXPECTED = "exposure", "expected-exposure"
GROUPS, CANDIDATES, STAGE = "policy_exposure_groups", "policy_exposure_candidates", "policy_exposure"
"""Names of the components that give groups their exposure."""
PROVIDERS, PROVIDER_STAGE = "policy_providers", "policy_provider_exposure"
"""Names of the components that give each provider its exposure; a second table has names that end in _2."""
OF_GROUP = ("name", "where", "min_share", "max_share")
OF_STAGE = {
    OVER_REQUESTS: ("horizon", "tolerance"),
    EXPECTED: ("seed",),
}
OF_EACH = ("each", "aim", "ratio", "strength", "horizon")
CLASSES = {
    OVER_REQUESTS: "pasand.reranking.exposure.exposure_over_requests:ExposureOverRequests",
    EXPECTED: "pasand.reranking.exposure.expected_exposure:ExpectedExposure",
}
AIMS = ("catalogue", "merit", "max-min")

Tables = list[dict[str, Any]]


def compiled(
    over_requests: Tables, expected: Tables, retriever: Any, *, followed: Sequence[str], where: str
) -> tuple[dict[str, dict[str, Any]], Any, list[str]]:
    """Return the components of the tables of both kinds, the retriever to use, and the names of the stages, in order.

    `followed` are what the policy has after these stages, in words. Stages over requests add to the scores and leave it
    to those to choose; a stage whose exposure is an expectation draws the final list, so it is the only one. Raises
    InputError for such a combination, an unknown field, and fields of one stage that differ between its tables.
    """
    if expected and (over_requests or followed):
        others = ", ".join([*followed, *([repr(OVER_REQUESTS)] if over_requests else [])])
        cause = f"it draws lists whose exposure is right on average, and {others} would change them"
        raise InputError(where, column="kind", value=EXPECTED, cause=cause, cure="remove one of them from the policy")
    components: dict[str, dict[str, Any]] = {}
    each = [table for table in over_requests if "each" in table]
    groups = [table for table in over_requests if "each" not in table] or expected
    for n, table in enumerate(each):
        is_last = not followed and not groups and n == len(each) - 1
        components |= _of_each(table, f"_{n + 1}" if n else "", is_last, where)
    stages = [name for name in components if name.startswith(PROVIDER_STAGE)]
    if groups:
        kind = EXPECTED if expected else OVER_REQUESTS
        components |= _of_groups(kind, groups, retriever, bool(followed), where)
        retriever = f"@{CANDIDATES}" if CANDIDATES in components else retriever
        stages.append(STAGE)
    return components, retriever, stages


def _of_groups(kind: str, tables: Tables, retriever: Any, followed: bool, where: str) -> dict[str, dict[str, Any]]:
    """Return the components of one stage for the groups of several tables."""
    options: dict[str, Any] = {}
    for table in tables:
        _refuse_unknown(table, (*OF_GROUP, *OF_STAGE[kind]), kind, where)
        for key in OF_STAGE[kind]:
            if key in table and options.setdefault(key, table[key]) != table[key]:
                cause = f"another table of kind {kind!r} has {key} = {options[key]}, and they are one stage"
                raise InputError(where, column=key, value=table[key], cause=cause, cure="give both the same, or one")
    rules = [{key: table[key] for key in OF_GROUP if key in table} for table in tables]
    components: dict[str, dict[str, Any]] = {GROUPS: {"class": "pasand.reranking.rules.groups:Groups", "rules": rules}}
    if any("min_share" in rule for rule in rules):
        candidates = {"class": "pasand.reranking.retrieval:WithGroups", "retriever": retriever}
        components[CANDIDATES] = {**candidates, "groups": f"@{GROUPS}"}
    last = {"last": False} if followed else {}
    return components | {STAGE: {"class": CLASSES[kind], "groups": f"@{GROUPS}", **options, **last}}


def _of_each(table: dict[str, Any], suffix: str, last: bool, where: str) -> dict[str, dict[str, Any]]:
    """Return the components of a table that gives each provider its exposure."""
    _refuse_unknown(table, OF_EACH, f"{OVER_REQUESTS} with each", where)
    aim = table.get("aim", AIMS[0])
    if aim not in AIMS:
        cure = f"write one of {', '.join(map(repr, AIMS))}"
        raise InputError(where, column="aim", value=aim, cause="no such aim", cure=cure)
    unused = "ratio" if aim == "max-min" else "strength"
    if unused in table:
        raise InputError(where, value=unused, cause=f"the aim {aim!r} has no such field", cure="remove it")
    stage: dict[str, Any] = {key: table[key] for key in ("ratio", "strength", "horizon") if key in table}
    providers = {"feature": table["each"], **({"share_of": "merit"} if aim == "merit" else {})}
    return {
        PROVIDERS + suffix: {"class": "pasand.reranking.exposure.providers:Providers", **providers},
        PROVIDER_STAGE + suffix: {
            "class": "pasand.reranking.exposure.provider_exposure:ProviderExposure",
            "providers": f"@{PROVIDERS}{suffix}",
            **({"aim": "max-min"} if aim == "max-min" else {}),
            **stage,
            **({} if last else {"last": False}),
        },
    }


def _refuse_unknown(table: dict[str, Any], known: Sequence[str], what: str, where: str) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        cure = f"use one of: {', '.join(known)}"
        raise InputError(where, value=unknown[0], cause=f"a table of kind {what} has no such field", cure=cure)
