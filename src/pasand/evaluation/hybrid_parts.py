"""The base models of a hybrid recipe as recipes of their own, and the comparison of a hybrid with its best part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pasand import recipe
from pasand.contracts import Model, Owns
from pasand.evaluation.significance import PairedComparison, paired_comparisons
from pasand.stages.retrieval import Fallback

FROM_MODEL = "pasand.stages.retrieval:FromModel"
FALLBACK = "pasand.stages.retrieval:Fallback"

Tables = Mapping[str, Mapping[str, Any]]


def parts(name: str, text: str) -> dict[str, str]:
    """Return recipes that recommend with one part of a hybrid each, by name; {} with fewer than two base models.

    Parts are the base models that the recipe's first retriever or its stages use, and those that such a model learns
    from; a model that combines others is not a part. Each part keeps the filters of the recipe, and its fallbacks for
    queries that the part cannot score. If stages rank the candidates of several models, the recipe without its stages
    is a part, too.
    """
    tables, assembly = recipe.tables(text, where=name), recipe.build(text, where=name)
    recommender = tables["recommender"]
    retrievers = [recommender["retriever"]]
    if isinstance(assembly.recommender.retriever, Fallback):
        retrievers = list(tables[retrievers[0][1:]]["retrievers"])
    filters = recommender.get("filters", [])

    def base_models(roots: Iterable[str]) -> list[str]:
        names = _with_owners(tables, assembly, reachable(tables, roots))
        models = {table for table in names if isinstance(assembly.components[table], Model)}
        return [table for table in tables if table in models and not (reachable(tables, [table]) - {table}) & models]

    models = base_models(references([retrievers[0], recommender.get("stages", [])]))
    if len(models) < 2:
        return {}
    texts = {}
    for model in models:
        kind = type(assembly.components[model]).__name__
        kept = reachable(tables, references([f"@{model}", *retrievers[1:], filters]))
        alone, fallback_chain = f"{model} alone", f"{model} and fallbacks"
        texts[f"{model}: {kind}"] = recipe.dump(
            {table: options for table, options in tables.items() if table in kept}
            | {alone: {"class": FROM_MODEL, "model": f"@{model}"}}
            | {fallback_chain: {"class": FALLBACK, "retrievers": [f"@{alone}", *retrievers[1:]]}}
            | {"recommender": {"class": recommender["class"], "filters": filters, "retriever": f"@{fallback_chain}"}}
        )
    if recommender.get("stages") and len(base_models(references([retrievers[0]]))) > 1:
        kept = _with_owners(tables, assembly, reachable(tables, references([recommender["retriever"], filters])))
        texts[f"{name} without stages"] = recipe.dump(
            {table: options for table, options in tables.items() if table in kept}
            | {"recommender": {option: value for option, value in recommender.items() if option != "stages"}}
        )
    return texts


def references(value: object) -> list[str]:
    """Return the names of the tables that the value of an option refers to.

    >>> references(["@content", ["@factors"], 3, "plain"])
    ['content', 'factors']
    """
    if isinstance(value, list):
        return [name for member in value for name in references(member)]
    return [value[1:]] if isinstance(value, str) and value.startswith("@") else []


def reachable(tables: Tables, names: Iterable[str]) -> set[str]:
    """Return these tables and all that they refer to, directly or indirectly."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += references(list(tables[name].values()))
    return found


def _with_owners(tables: Tables, assembly: recipe.Assembly, names: set[str]) -> set[str]:
    """Return these names, and the components that own one of them, with all that the owners refer to."""
    components = [assembly.components[name] for name in names]
    owners = [
        name
        for name, part in assembly.components.items()
        if isinstance(part, Owns) and any(component is owned for component in components for owned in part.owned)
    ]
    return names | reachable(tables, owners)


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """The comparison of a hybrid with the best of its parts on the main metric, paired by user."""

    name: str
    parts: tuple[str, ...]
    comparison: PairedComparison
    """With the part of the highest mean on the same test queries, a choice that favours the part; Holm's correction is
    for the number of hybrids."""

    @property
    def best_part(self) -> str:
        """The part that the hybrid is compared with."""
        return self.comparison.reference

    @property
    def verdict(self) -> str:
        """Whether the hybrid is better or worse than the part at the 5 % level, or this is not shown."""
        return self.comparison.verdict

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for JSON; nan is None."""
        return {"name": self.name, "parts": list(self.parts)} | self.comparison.as_json()


def compare_with_parts(
    values: Mapping[str, NDArray[np.float64]], parts: Mapping[str, Sequence[str]], seed: int
) -> list[Hybrid]:
    """Return the comparison of each entry that has parts with the best of them; [] if no entry has parts.

    `values` are those of the main metric by entry, (n,) for the same users, nan where undefined.
    """
    measured = {
        name: tuple(part for part in all_parts if part in values and np.isfinite(values[part]).any())
        for name, all_parts in parts.items()
        if name in values
    }
    best = {name: max(own, key=lambda part: float(np.nanmean(values[part]))) for name, own in measured.items() if own}
    comparisons = paired_comparisons(values, best, seed=seed)
    return [Hybrid(name=name, parts=measured[name], comparison=comparisons[name]) for name in best]
