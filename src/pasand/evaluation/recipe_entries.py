"""Recipes as contenders of a comparison, with what they have in common fitted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.random import Generator

from pasand import recipe
from pasand.contracts import PredictsRatings, RecordsCurves
from pasand.data.dataset import Dataset
from pasand.evaluation.compare import Built, Entry
from pasand.evaluation.hybrid_parts import parts, reached


@dataclass
class Shared:
    """Fits recipes to the same events; a component that is the same in several of them is fitted once.

    Components that others fit, and whatever refers to those, are fitted anew each time: they are what their owner made
    of them, which their own table does not tell.
    """

    seed: int = 0
    _train: Dataset | None = field(default=None, init=False, repr=False)
    _ready: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def fitted(self, text: str, train: Dataset, where: str = "recipe") -> tuple[recipe.Assembly, float]:
        """Return a recipe's components, fitted, and the seconds that those of them took that were fitted before.

        Other events than those of the last call make all forgotten.
        """
        if train is not self._train:
            self._train, self._ready, self._seconds = train, {}, {}
        bare, tables = recipe.build(text, where=where), recipe.tables(text, where=where)
        alike = {digest for name, digest in bare.digests.items() if not reached(tables, [name]) & bare.owned}
        ready = {digest: part for digest, part in self._ready.items() if digest in alike}
        assembly = recipe.build(text, where=where, ready=ready).fit(train, seed=self.seed, ready=ready)
        for name, part in assembly.fitted.items():
            digest = assembly.digests[name]
            if digest in alike and digest not in ready:
                self._ready[digest], self._seconds[digest] = part, assembly.seconds[name]
        return assembly, sum(self._seconds[digest] for digest in ready)


def of_recipe(name: str, text: str, shared: Shared) -> Entry:
    """Return the contender of a recipe: just what `pasand fit` would save, fitted to the training part.

    The learning curves are those of its first model that keeps any.
    """

    def build(train: Dataset, rng: Generator) -> Built:
        assembly, spared = shared.fitted(text, train, name)
        learning = (
            p for p in assembly.fitted.values() if isinstance(p, RecordsCurves) and not isinstance(p, PredictsRatings)
        )
        return Built(assembly.recommender, next(learning, None), spared)

    return Entry(name, build, {"recipe": recipe.build(text, where=name).digest[:12]})


def beside_parts(entries: Sequence[Entry], texts: Mapping[str, str], shared: Shared) -> list[Entry]:
    """Return the contenders, those whose recipe is in `texts` (by name) followed by parts that are not there yet.

    A part that several recipes have in common stands there once. Where two differ that have one name, the later one
    says of which recipe it is.
    """
    found: list[Entry] = []
    labels: dict[str, str] = {}
    clicked = {one.name for one in entries}
    for one in entries:
        own, names = [], []
        for label, text in parts(one.name, texts[one.name]).items() if one.name in texts else ():
            if text not in labels:
                labels[text] = label if label not in clicked else f"{label} ({one.name})"
                clicked.add(labels[text])
                own.append(of_recipe(labels[text], text, shared))
            names.append(labels[text])
        found += [replace(one, parts=tuple(names)), *own]
    return found
