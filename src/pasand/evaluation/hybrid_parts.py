"""What a hybrid is made of, each part as a recipe of its own, and whether it is better than the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pasand import recipe
from pasand.contracts import Model, Owns
from pasand.evaluation.intervals import Interval, of_ratios
from pasand.evaluation.significance import PairedTest, holm, paired
from pasand.stages.retrieval import Fallback

FROM_MODEL = "pasand.stages.retrieval:FromModel"
FALLBACK = "pasand.stages.retrieval:Fallback"

Tables = Mapping[str, Mapping[str, Any]]


def parts(name: str, text: str) -> dict[str, str]:
    """Return the recipes in which the parts of a hybrid answer alone, by a name for each; {} where there are not two.

    Parts are the models that are asked by the first rung of the recipe's ladder or by its stages, or that such a model
    learns from; models that ask others are none. A part has the recipe's filters, and its later rungs for what it has
    nothing to say to. Where stages rank what several models found, what comes before them is a part as well.
    """
    tables, assembly = recipe.tables(text, where=name), recipe.build(text, where=name)
    whole = tables["recommender"]
    rungs = [whole["retriever"]]
    if isinstance(assembly.recommender.retriever, Fallback):
        rungs = list(tables[rungs[0][1:]]["retrievers"])
    filters = whole.get("filters", [])

    def models(asking: Iterable[str]) -> list[str]:
        names = _with_owners(tables, assembly, reached(tables, asking))
        found = {one for one in names if isinstance(assembly.components[one], Model)}
        return [one for one in tables if one in found and not (reached(tables, [one]) - {one}) & found]

    asked = models(references([rungs[0], whole.get("stages", [])]))
    if len(asked) < 2:
        return {}
    found = {}
    for part in asked:
        kind = type(assembly.components[part]).__name__
        kept = reached(tables, references([f"@{part}", *rungs[1:], filters]))
        alone, fallback_chain = f"{part} alone", f"{part} and fallbacks"
        found[f"{part}: {kind}"] = recipe.written(
            {one: table for one, table in tables.items() if one in kept}
            | {alone: {"class": FROM_MODEL, "model": f"@{part}"}}
            | {fallback_chain: {"class": FALLBACK, "retrievers": [f"@{alone}", *rungs[1:]]}}
            | {"recommender": {"class": whole["class"], "filters": filters, "retriever": f"@{fallback_chain}"}}
        )
    if whole.get("stages") and len(models(references([rungs[0]]))) > 1:
        kept = _with_owners(tables, assembly, reached(tables, references([whole["retriever"], filters])))
        staged = {"recommender": {key: value for key, value in whole.items() if key != "stages"}}
        found[f"{name} without stages"] = recipe.written(
            {one: table for one, table in tables.items() if one in kept} | staged
        )
    return found


def references(value: object) -> list[str]:
    """Return the names of the tables that an option's value refers to.

    >>> references(["@content", ["@factors"], 3, "plain"])
    ['content', 'factors']
    """
    if isinstance(value, list):
        return [name for one in value for name in references(one)]
    return [value[1:]] if isinstance(value, str) and value.startswith("@") else []


def reached(tables: Tables, names: Iterable[str]) -> set[str]:
    """Return these tables and all that they refer to, however far."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += references(list(tables[name].values()))
    return found


def _with_owners(tables: Tables, assembly: recipe.Assembly, names: set[str]) -> set[str]:
    """Return the names, and what is reached from those that fit one of them."""
    parts = [assembly.components[name] for name in names]
    owners = [
        name
        for name, part in assembly.components.items()
        if isinstance(part, Owns) and any(one is inner for one in parts for inner in part.owned)
    ]
    return names | reached(tables, owners)


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """A hybrid held against the best of its parts, by user, in the deciding metric."""

    name: str
    parts: tuple[str, ...]
    best: str
    """The part with the highest mean on the very same questions, which is in its favour."""
    difference: Interval
    """Of the means over users, hybrid less part."""
    test: PairedTest
    corrected: float
    """The permutation p value after Holm's correction for the number of hybrids."""

    @property
    def verdict(self) -> str:
        """Whether it is better, worse, or neither at a level of 5 %."""
        if not self.corrected < 0.05:
            return "no difference shown"
        return "better" if self.test.difference > 0 else "WORSE"

    def as_json(self) -> dict[str, Any]:
        """Return it in numbers, strings and lists; nan is None."""
        return {
            "name": self.name,
            "parts": list(self.parts),
            "best_part": self.best,
            "difference": self.difference.as_json(),
            "p_permutation": None if np.isnan(self.test.permutation) else self.test.permutation,
            "p_holm": None if np.isnan(self.corrected) else self.corrected,
        }


def against_parts(
    values: Mapping[str, NDArray[np.float64]], parts: Mapping[str, Sequence[str]], seed: int
) -> list[Hybrid]:
    """Return each contender that has parts, held against the best of them; [] where none has.

    `values` are those of the deciding metric by contender, (n,) for the same users, nan where undefined.
    """
    found = []
    for name, every in parts.items():
        there = [part for part in every if part in values and np.isfinite(values[part]).any()]
        if name not in values or not there:
            continue
        best = max(there, key=lambda part: float(np.nanmean(values[part])))
        both = np.isfinite(values[name]) & np.isfinite(values[best])
        apart = (values[name] - values[best])[both, None]
        bounds = of_ratios(apart, np.ones_like(apart), np.random.default_rng(seed))
        difference = Interval(*(float(bound[0]) for bound in bounds))
        test = paired(values[name], values[best], rng=np.random.default_rng(seed))
        found.append(Hybrid(name=name, parts=tuple(there), best=best, difference=difference, test=test, corrected=1.0))
    corrected = holm(np.array([hybrid.test.permutation for hybrid in found]))
    return [replace(hybrid, corrected=float(p)) for hybrid, p in zip(found, corrected, strict=True)]
