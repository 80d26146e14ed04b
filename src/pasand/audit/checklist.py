"""The checklist of law and standards: what each source requires, and what the audited bundle does about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTICE = (
    "Not legal advice. The texts are summarised; whether and how they apply to a service is for its counsel to decide."
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the checklist is filled with."""

    rules: Sequence[str]
    """The rules of the policy, in words."""
    components: Sequence[str]
    """Names and classes of the components of the recipe."""
    reads_history: bool
    n_shown: int
    """Differences that are shown."""
    n_tests: int
    exposed: Sequence[str]
    """Features whose groups of items were audited."""
    digest: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One line of the checklist."""

    source: str
    requires: str
    does: str

    def as_json(self) -> Mapping[str, Any]:
        """Return the line for JSON."""
        return {"source": self.source, "requires": self.requires, "does": self.does}


def _parameters(facts: Facts) -> str:
    parts = ", ".join(facts.components)
    return (
        f"The recipe ranks by {parts}. `pasand explain` names the reasons of each position, and the service returns "
        "them on request. The wording for the public page is the operator's."
    )


def _treatment(facts: Facts) -> str:
    if not facts.rules:
        return "The recipe has no policy: no group of items is treated differently by a rule."
    effects = "their measured effects are in the sections on rules"
    return (
        f"Rules on groups of items: {'; '.join(facts.rules)}; {effects}. Sponsored positions are not part of a bundle."
    )


def _exposure(facts: Facts) -> str:
    exposed = ", ".join(facts.exposed) or "no feature of items"
    return f"Exposure is audited by {exposed}, with intervals, against catalogue, interactions and merit."


def _reproducible(facts: Facts) -> str:
    return (
        f"Risk: groups and measures of this page. Thresholds: {facts.n_shown} of {facts.n_tests} tests show a "
        f"difference at 5 % after Holm's correction. Testing: bundle {facts.digest[:12]}, data "
        f"{facts.fingerprint[:12]}; the same command gives the same figures."
    )


def _profiling(facts: Facts) -> str:
    if facts.reads_history:
        return (
            "The recipe reads histories. An option without profiling is a second bundle, such as popularity alone, "
            "which a service offers as a variant: pasand fit LOG --model popularity --out plain."
        )
    return "The recipe reads no history of the user."


SOURCES: Sequence[tuple[str, str, Callable[[Facts], str]]] = (
    (
        "India, Consumer Protection (E-Commerce) Rules 2020, rule 5(3)(f)",
        "A marketplace explains, publicly and in plain language, the main parameters of the ranking of goods or "
        "sellers and their relative importance.",
        _parameters,
    ),
    (
        "India, Consumer Protection (E-Commerce) Rules 2020, rule 5(4)",
        "The terms for sellers describe any differentiated treatment between goods, services or sellers of one "
        "category.",
        _treatment,
    ),
    (
        "India, Guidelines for Prevention and Regulation of Dark Patterns 2023; advisory on self-audit of 5 June 2025",
        "Paid positions are labelled (disguised advertisement is a dark pattern); platforms audit themselves.",
        lambda _: "A bundle has no paid positions. If the service inserts some, it has to label them itself.",
    ),
    (
        "India, ONDC: consultation paper of 29 September 2022",
        "Search and discovery are fair to buyers and sellers.",
        _exposure,
    ),
    (
        "India, TEC 57050:2023, fairness assessment and rating of AI systems",
        "Three steps: assess the risk of bias, determine metrics and thresholds, test. It covers tabular, supervised "
        "models.",
        _reproducible,
    ),
    (
        "India, IS 19000:2022, online consumer reviews (voluntary)",
        "Authors of reviews are verified, and reviews are moderated.",
        lambda _: "Outside of this audit, which does not examine whether events are genuine.",
    ),
    (
        "European Union, Digital Services Act, articles 27 and 38",
        "The main parameters are stated in plain language, with options to change them; very large platforms offer one "
        "option without profiling.",
        _profiling,
    ),
    (
        "European Union, Regulation 2019/1150, articles 5 and 7",
        "The main parameters of ranking and the reasons for their importance are stated; so is differentiated "
        "treatment.",
        _treatment,
    ),
)


def filled(facts: Facts) -> list[Requirement]:
    """Return the checklist with what the bundle does about each requirement."""
    return [Requirement(source=source, requires=requires, does=does(facts)) for source, requires, does in SOURCES]
