"""What random slots of a service showed, for the components that learn from it at a refresh."""

from __future__ import annotations

from pathlib import Path

from pasand.contracts import LearnsShown
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.recipe import Assembly
from pasand.serving.refresh.shown_value import logged
from pasand.serving.states.contract import State


def learn_shown(assembly: Assembly, folder: Path, state: State, data: Dataset) -> str:
    """Let components of a fitted recipe learn from the random slots of the impressions in a folder.

    Items that are not in `data` are left out. Returns a note if impressions that a component would learn from cannot be
    used; else, and for a recipe without such a component, "".
    """
    learning = [part for part in assembly.components.values() if isinstance(part, LearnsShown)]
    if not learning:
        return ""
    try:
        log = logged(folder, state, data.users.series.to_list())
    except InputError as error:
        return f"exploration learns from events alone, as the impressions cannot be used: {error}"
    item = data.items.rows(list(log.items))[log.item]
    random = (log.propensity < 1) & (item >= 0)
    for part in learning:
        part.learn_shown(item[random], log.position[random], log.reward[random] > 0)
    return ""
