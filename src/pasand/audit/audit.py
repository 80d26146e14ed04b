"""`audit`: all measures of one bundle on the events of a log that are later than its own, with one correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

import numpy as np

from pasand.audit import (
    cold_start,
    drift,
    item_exposure,
    languages,
    policy_tables,
    popularity,
    prices,
    rating_errors,
    stereotypes,
    user_metrics,
    who_pays,
    words,
)
from pasand.audit.checklist import NOTICE, Facts, Requirement, filled
from pasand.audit.estimates import Finding, corrected, mean_of
from pasand.audit.groups import HISTORY, MOST, POPULARITY, Grouping, item_grouping, user_grouping
from pasand.audit.later_events import later_events
from pasand.audit.lists import KnownUsers, Lists, recommend
from pasand.bundle import Bundle
from pasand.contracts import PredictsRatings
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.evaluation.compare import METRICS_AT_FIRST_K, METRICS_PER_K
from pasand.evaluation.intervals import Interval
from pasand.models.classical.popularity import Popularity
from pasand.reranking.calibration.calibration import Calibration
from pasand.reranking.rules.groups import Groups
from pasand.simulation.world import World

FEATURES: Mapping[str, tuple[str, ...]] = {
    "geography": ("city_tier", "tier", "urban", "region", "state", "city"),
    "gender": ("gender", "sex"),
    "category": ("genres", "genre", "categories", "category"),
    "language": ("language", "languages"),
    "price": ("price",),
}
"""Names of the features that named measures read, the first that exists; geography and gender are those of users."""
CORRECTION = "Holm's correction for all tests of the audit, level 5 %"


@dataclass(frozen=True, kw_only=True)
class Section:
    """The findings of one measure."""

    name: str
    title: str
    definition: str
    """The measure in words, with its source."""
    findings: Sequence[Finding]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """An audit of a bundle; nothing in it depends on random numbers."""

    bundle: str
    """sha256 of the files of the bundle."""
    recipe: str
    """sha256 of the recipe."""
    source: str
    known: Sequence[str]
    """What the bundle was fitted to and what it is audited on, in sentences."""
    rules: Mapping[str, str]
    """The rules of the evaluation protocol, by term."""
    k: int
    n_users: int
    n_queries: int
    metrics: Mapping[str, Interval]
    """List metrics over all test users."""
    sections: Sequence[Section]
    left_out: Sequence[str]
    """Measures, groups and metrics that are left out, with the cause."""
    policy: Sequence[str]
    """The rules of the recipe, in words."""
    checklist: Sequence[Requirement]

    @property
    def findings(self) -> list[Finding]:
        """All findings, in order."""
        return [finding for section in self.sections for finding in section.findings]

    @property
    def n_tests(self) -> int:
        """Number of tests that the correction is for."""
        return sum(not np.isnan(finding.p_holm) for finding in self.findings)

    @property
    def shown(self) -> list[Finding]:
        """The findings with a difference that is shown."""
        return [finding for finding in self.findings if finding.verdict in ("higher", "lower")]

    def as_json(self) -> dict[str, Any]:
        """Return the audit for JSON; nan is None."""
        return {
            "bundle": self.bundle,
            "recipe": self.recipe,
            "source": self.source,
            "known": list(self.known),
            "protocol": dict(self.rules),
            "k": self.k,
            "users": self.n_users,
            "queries": self.n_queries,
            "tests": self.n_tests,
            "correction": CORRECTION,
            "metrics": {name: interval.as_json() for name, interval in self.metrics.items()},
            "policy": list(self.policy),
            "sections": [
                {
                    "name": section.name,
                    "title": section.title,
                    "definition": section.definition,
                    "findings": [
                        finding.as_json() | {"sentence": words.sentence(section.name, finding)}
                        for finding in section.findings
                    ],
                }
                for section in self.sections
            ],
            "left_out": list(self.left_out),
            "checklist": [requirement.as_json() for requirement in self.checklist],
            "notice": NOTICE,
        }


def audit(
    bundle: Bundle,
    source: Dataset,
    *,
    user_groups: Sequence[str] = (),
    item_groups: Sequence[str] = (),
    k: int = 10,
    young_days: float = 30,
    features: Mapping[str, str] | None = None,
    rounds: int = 0,
    world: World | None = None,
    typed: str | None = None,
) -> Audit:
    """Return the audit of a bundle on the events of a log that are later than all events it was fitted to.

    Groups are named as in `user_grouping` and `item_grouping`; by default they are all categorical features with up to
    `MOST` categories, the length of the history, and popularity. `features` replaces names of `FEATURES`, and `typed`
    is the log as a command names it. With `rounds` and the world that made the log, drift is simulated
    (`pasand.audit.drift`). The components of the bundle are changed in place where the log has new items.
    Raises InputError for a log without later events, a feature that does not exist, a log of whose later events none is
    a relevant positive, and rounds of a log that no simulated world made.
    """
    if rounds and world is None:
        cause = f"{source.name} is not simulated, and what its users would have chosen is not known"
        cure = "leave --rounds out, or audit a simulated log such as bollywood:studios=20"
        raise InputError("--rounds", value=rounds, cause=cause, cure=cure)
    n_known, digest = bundle.data.n_users, bundle.digest
    bundle, split, known = later_events(bundle, source, typed or quote(source.name))
    train = split.train
    if not len(split.test_queries):
        cause = "none of its later events is a user's first positive with an item that was available"
        raise InputError(source.name, cause=cause, cure="audit on a log with more later events")
    names, unknown = _named(features or {}, train)
    of_users = _groupings(user_groups or [*_categorical(train.user_features), HISTORY], train, names.get("geography"))
    of_items = [item_grouping(name, train) for name in item_groups or [POPULARITY, *_categorical(train.item_features)]]
    recommender = KnownUsers(bundle.assembly.recommender, n_known)
    lists = recommend(recommender, split, [f"{name}@{k}" for name in (*METRICS_PER_K, *METRICS_AT_FIRST_K)], k)
    kept, repeated = user_metrics.distinct(lists.metrics)
    lists = replace(lists, metrics=kept)
    sections, left_out = _measured(bundle, lists, of_users, of_items, names, young_days, n_known)
    sections = _corrected(sections)
    if rounds and world is not None:
        found = drift.measure(bundle, world, split, rounds=rounds, k=lists.k, young_days=young_days)
        definition = drift.DEFINITION.format(days=drift.ROUND_DAYS)
        sections.append(Section(name="drift", title="Drift over rounds", definition=definition, findings=found))
    notes = [grouping.note for grouping in (*of_users, *of_items) if grouping.note]
    policy = _policy(bundle)
    done = Audit(
        bundle=digest,
        recipe=bundle.assembly.digest,
        source=source.name,
        known=known,
        rules={"protocol": split.name, **split.rules},
        k=lists.k,
        n_users=len(lists.users),
        n_queries=len(split.test_queries),
        metrics={name: mean_of(values).interval for name, values in kept.items()},
        sections=_with_geography(sections, names.get("geography"), f"ndcg@{k}"),
        left_out=[*unknown, *left_out, *repeated, *notes],
        policy=policy,
        checklist=(),
    )
    facts = Facts(
        rules=policy,
        components=[f"{name} ({type(part).__name__})" for name, part in bundle.assembly.fitted.items()],
        reads_history=any(not isinstance(part, Popularity | Groups) for part in bundle.assembly.fitted.values()),
        n_shown=len(done.shown),
        n_tests=done.n_tests,
        exposed=[grouping.name for grouping in of_items],
        digest=digest,
        fingerprint=source.fingerprint,
    )
    return replace(done, checklist=filled(facts))


def _measured(
    bundle: Bundle,
    lists: Lists,
    of_users: Sequence[Grouping],
    of_items: Sequence[Grouping],
    names: Mapping[str, str],
    young_days: float,
    n_known: int,
) -> tuple[list[Section], list[str]]:
    """Return the sections without correction, and what is left out."""

    def section(name: str, title: str, definition: str, findings: list[Finding]) -> None:
        if findings:
            sections.append(Section(name=name, title=title, definition=definition, findings=findings))
        else:
            left_out.append(f"{title}: nothing to compare")

    sections: list[Section] = []
    by_users, left_out = user_metrics.by_group(lists, list(of_users))
    section("users", "How well groups of users are served", user_metrics.DEFINITION, by_users)
    by_items, skipped = item_exposure.by_group(lists, list(of_items))
    left_out += skipped
    section("exposure", "Which groups of items are seen", item_exposure.DEFINITION, by_items)
    section("popularity", "Popularity bias", popularity.DEFINITION, popularity.measure(lists))
    section("cold_start", "New items", cold_start.DEFINITION, cold_start.measure(lists, young_days))
    if "language" in names:
        section("languages", "Languages", languages.DEFINITION, languages.measure(lists, names["language"]))
    if "gender" in names and "category" in names:
        genders = user_grouping(names["gender"], lists.split.train)
        found = stereotypes.measure(lists, genders, names["category"])
        section("stereotypes", "Gender stereotypes", stereotypes.DEFINITION, found)
    if "price" in names:
        section("prices", "Prices", prices.DEFINITION, prices.measure(lists, names["price"]))
    model = next((part for part in bundle.assembly.fitted.values() if isinstance(part, PredictsRatings)), None)
    errors = None if model is None else rating_errors.measured(model, lists.split, n_known)
    if errors is not None:
        by_users = rating_errors.by_group(errors, of_users)
        section("ratings", "Errors of predicted ratings", rating_errors.DEFINITION, by_users)
    main = f"ndcg@{lists.k}"
    for part, findings in who_pays.measure(bundle, lists, of_users, main, n_known):
        section(part.section, f"Who pays for {part.title}", who_pays.DEFINITION, findings)
    return sections, left_out


def _corrected(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with one correction for the tests of all of them."""
    done = iter(corrected([finding for section in sections for finding in section.findings]))
    return [replace(section, findings=[next(done) for _ in section.findings]) for section in sections]


def _with_geography(sections: Sequence[Section], feature: str | None, main: str) -> list[Section]:
    """Return the sections with the main metric by geography, from the metrics by group of users, which are tested."""
    own = [
        replace(finding, p=np.nan, p_holm=np.nan, detectable=np.nan)
        for section in sections
        for finding in section.findings
        if section.name == "users" and (finding.attribute, finding.measure) == (feature, main)
    ]
    definition = f"{user_metrics.DEFINITION} The tests are in the section on groups of users."
    return [
        *sections,
        *([Section(name="geography", title="Geography", definition=definition, findings=own)] * bool(own)),
    ]


def _named(given: Mapping[str, str], train: Dataset) -> tuple[dict[str, str], list[str]]:
    """Return the feature of each named measure, and the measures that are left out for want of one."""
    wrong = [name for name in given if name not in FEATURES]
    if wrong:
        cause, cure = "no measure reads such a feature", f"name one of: {', '.join(FEATURES)}"
        raise InputError("feature", value=wrong[0], cause=cause, cure=cure)
    names, unknown = {}, []
    for role, defaults in FEATURES.items():
        of_users = role in ("geography", "gender")
        known = train.user_features if of_users else train.item_features
        kinds = ("number",) if role == "price" else ("categorical", "bag")
        found = [name for name in defaults if name in known and known[name].kind in kinds]
        if role in given:
            found = [given[role]]
            if given[role] not in known or known[given[role]].kind not in kinds:
                cause, whose = f"not a feature of kind {' or '.join(kinds)}", "users" if of_users else "items"
                suited = ", ".join(name for name, one in known.items() if one.kind in kinds) or "none"
                cure = f"name one that {whose} have: {suited}"
                raise InputError(f"feature {role}", value=given[role], cause=cause, cure=cure)
        if found:
            names[role] = found[0]
        else:
            whose = "users" if of_users else "items"
            unknown.append(f"{role}: {whose} have no feature named {' or '.join(defaults)}")
    return names, unknown


def _categorical(features: Features) -> list[str]:
    return [name for name, one in features.items() if one.kind in ("categorical", "bag") and len(one.names) <= MOST]


def _groupings(names: Sequence[str], train: Dataset, geography: str | None) -> list[Grouping]:
    """Return the groups of users by name, each once, with the geography."""
    wanted = dict.fromkeys([*names, *([geography] if geography else [])])
    return [user_grouping(name, train) for name in wanted]


def _policy(bundle: Bundle) -> list[str]:
    """Return the tables of the policy in words, in order."""
    components = bundle.assembly.components
    groups = policy_tables.rule_groups(bundle)
    rules = {} if groups is None else {rule.name: rule for rule in groups.rules}
    calibrations = [part for part in components.values() if isinstance(part, Calibration)]
    lines = []
    for part in policy_tables.parts_of(bundle.assembly.text):
        described = f"a table of kind {part.kind}"
        if part.kind == policy_tables.RULE:
            described = str(rules[part.name])
        elif part.kind == policy_tables.CALIBRATION and calibrations:
            names = " and ".join(calibrations[0].attributes.names)
            described = f"{names} as in each user's history, strength {calibrations[0].strength:g}"
        lines.append(f"{part.name}: {described}")
    return lines
