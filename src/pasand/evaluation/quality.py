"""The quality to expect of a recipe on a log: it is fitted to the earlier part and tested on the rest."""

from __future__ import annotations

from pasand.data.dataset import Dataset
from pasand.evaluation import protocols
from pasand.evaluation.compare import compare
from pasand.evaluation.recipe_entries import ComponentCache, recipe_entry
from pasand.evaluation.winner import Winner, winner


def expected_quality(data: Dataset, name: str, recipe: str, *, seed: int) -> Winner:
    """Return the held-out quality of a recipe, given as TOML, beside popularity, by the protocol that suits the data.

    Raises InputError where the data cannot be split.
    """
    entry = recipe_entry(name, recipe, ComponentCache(seed))
    comparison = compare(data, [entry], protocols.default_protocol(data), seed=seed)
    return winner(comparison.as_json(), data.name, name)
