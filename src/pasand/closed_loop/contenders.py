"""The recipes of a closed loop: by name, without their policy, and with each table of their policy alone."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pasand import recipe
from pasand.audit.policy_tables import parts_of, without_policy
from pasand.errors import InputError
from pasand.reranking.policies import STAGE, expanded

MARKET = "market"
"""Name of the recipe that comes with the market of studios; in the world of this name it is the packaged recipe."""
WORLDS = ("bollywood", "market")
"""Worlds that can be simulated: films of studios, and products of sellers."""


@dataclass(frozen=True)
class Contender:
    """A recipe that is simulated."""

    name: str
    text: str

    @property
    def learns(self) -> bool:
        """Whether any of its components is fitted."""
        return bool(recipe.build(self.text, where=self.name).fitted)


def contenders(names: Sequence[str], *, parts: bool = False, world: str = WORLDS[0]) -> list[Contender]:
    """Return the recipes of these names, TOML files or packaged recipes, in order; each is built once as a check.

    A single recipe with a policy follows itself without the policy. With `parts`, every recipe with a policy follows
    itself without the policy and with each table of the policy alone. A recipe that is given twice keeps both runs: the
    second is named "NAME (again)". The recipe
    `market` is that of the world. Raises InputError for an unknown recipe, and for a bundle, which is fitted already.
    """
    found: list[Contender] = []
    for name in names:
        text, short = _text(name, world), Path(name).stem
        tables = parts_of(text)
        if tables and (parts or len(names) == 1):
            found.append(Contender(f"{short} without its policy", without_policy(text)))
        if tables and parts and len(tables) > 1:
            found += [Contender(f"{short}, only {part.title}", _only(text, part.number)) for part in tables]
        found.append(Contender(short, text))
    named: list[Contender] = []
    for one in found:
        n = sum(other.name.removesuffix(" (again)") == one.name for other in named)
        named.append(Contender(one.name + " (again)" * n, one.text))
    return named


def _text(name: str, world: str) -> str:
    """Return the text of a recipe; "market" is the one of the world, unless there is a file of that name."""
    path = Path(name)
    if path.is_dir():
        cause = "a folder, and a fitted bundle cannot be fitted again in a loop"
        raise InputError("--recipe", value=name, cause=cause, cure="give the TOML file of its recipe")
    if name == MARKET != world and not path.is_file():
        return files("pasand.closed_loop").joinpath("market.toml").read_text("utf-8")
    try:
        return recipe.read(name).text
    except InputError as error:
        if path.is_file() or (recipe.PACKAGED / f"{path.name}.toml").exists():
            raise
        known = ", ".join(sorted({MARKET, *recipe.packaged()}))
        cause = "no such file or recipe"
        raise InputError("--recipe", value=name, cause=cause, cure=f"give a TOML file or one of: {known}") from error


def _only(text: str, number: int) -> str:
    """Return the recipe with one table of its policy, which has this number, alone."""
    found = tomllib.loads(text)
    tables = {key: one for key, one in found.items() if key != STAGE} | {STAGE: [found[STAGE][number]]}
    return recipe.dump(expanded(tables, where="recipe"))
