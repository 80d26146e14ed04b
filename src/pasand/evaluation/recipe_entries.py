"""Recipes as entries of a comparison; components that several recipes share are fitted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.random import Generator

from pasand import recipe
from pasand.contracts import PredictsRatings, RecordsCurves
from pasand.data.dataset import Dataset
from pasand.evaluation.compare import Entry, FittedEntry
from pasand.evaluation.hybrid_parts import parts, reachable


@dataclass
class ComponentCache:
    """Fits recipes and reuses components that several of them share, as long as the train events stay the same.

    Components that another component owns, and all that refer to these, are fitted for each recipe: they depend on
    their owner, which is not part of their own table.
    """

    seed: int = 0
    _train: Dataset | None = field(default=None, init=False, repr=False)
    _fitted: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _random: set[str] = field(default_factory=set, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:  # another process starts empty
        return {"seed": self.seed, "_train": None, "_fitted": {}, "_seconds": {}, "_random": set()}

    def fitted(self, text: str, train: Dataset, where: str = "recipe") -> tuple[recipe.Assembly, float]:
        """Return the fitted components of a recipe, and the seconds spent earlier on fitting the reused ones.

        A call with other train events than the last one clears the cache. `Assembly.random` includes reused components.
        """
        if train is not self._train:
            self._train, self._fitted, self._seconds, self._random = train, {}, {}, set()
        bare, tables = recipe.build(text, where=where), recipe.tables(text, where=where)
        shareable = {digest for name, digest in bare.digests.items() if not reachable(tables, [name]) & bare.owned}
        ready = {digest: part for digest, part in self._fitted.items() if digest in shareable}
        assembly = recipe.build(text, where=where, ready=ready).fit(train, seed=self.seed, ready=ready)
        for name, part in assembly.fitted.items():
            digest = assembly.digests[name]
            if digest in ready and digest in self._random:
                assembly.random.add(name)
            if digest in shareable and digest not in ready:
                self._fitted[digest], self._seconds[digest] = part, assembly.seconds[name]
                self._random |= {digest} if name in assembly.random else set()
        return assembly, sum(self._seconds[digest] for digest in ready)


@dataclass(frozen=True)
class _FitsRecipe:
    name: str
    text: str
    cache: ComponentCache

    def __call__(self, train: Dataset, rng: Generator) -> FittedEntry:
        assembly, reused_seconds = self.cache.fitted(self.text, train, self.name)
        learning = (
            p for p in assembly.fitted.values() if isinstance(p, RecordsCurves) and not isinstance(p, PredictsRatings)
        )
        return FittedEntry(assembly.recommender, next(learning, None), reused_seconds, bool(assembly.random))

    def with_seed(self, seed: int) -> _FitsRecipe:
        """Return the same with another seed; it shares no fitted components, which would be kept for each seed."""
        return replace(self, cache=ComponentCache(seed))


def recipe_entry(name: str, text: str, cache: ComponentCache) -> Entry:
    """Return the entry of a recipe, which fits what `pasand fit` would save to the train part.

    The learning curves are those of its first model that records any.
    """
    bare = recipe.build(text, where=name)
    options: dict[str, object] = {"recipe": bare.digest[:12]}
    build = _FitsRecipe(name, text, cache)
    components = tuple(bare.fitted.values())
    return Entry(name, build, options, components=components, with_seed=build.with_seed, recipe=text)


def with_parts(entries: Sequence[Entry], texts: Mapping[str, str], cache: ComponentCache) -> list[Entry]:
    """Return the entries, each whose recipe is in `texts` (by name) followed by its parts that are not listed yet.

    A part that several recipes share is listed once. If two different parts have the same name, the later one gets the
    name of its recipe appended.
    """
    all_entries: list[Entry] = []
    labels: dict[str, str] = {}
    used = {entry.name for entry in entries}
    for entry in entries:
        part_entries, names = [], []
        for label, text in parts(entry.name, texts[entry.name]).items() if entry.name in texts else ():
            if text not in labels:
                labels[text] = label if label not in used else f"{label} ({entry.name})"
                used.add(labels[text])
                part_entries.append(recipe_entry(labels[text], text, cache))
            names.append(labels[text])
        all_entries += [replace(entry, parts=tuple(names)), *part_entries]
    return all_entries
