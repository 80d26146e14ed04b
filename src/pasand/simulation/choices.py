"""Choices of the viewers of a simulated world from given lists, with random numbers that two recommenders share."""

from __future__ import annotations

import numpy as np

from pasand.simulation.choice_model import FATIGUE, LEAVE_UTILITY, MAX_CLICKS
from pasand.simulation.counter_random import gumbel, normal
from pasand.simulation.world import World
from pasand.types import Mask, Rows, Scores

FILM, LEAVING, RATING = 8, 9, 10
"""Counters of the random numbers of each purpose."""


def choices(world: World, users: Rows, items: Rows, visit: int) -> tuple[Mask, Scores]:
    """Return which films of given lists the users click, and how they would rate each; (B,), (B, K) -> (B, K) twice.

    The choice is that of `World.events`: up to `MAX_CLICKS` films, the best first, a multinomial logit with the utility
    and the examination of each film and with leaving as an alternative. The random numbers depend on the seed, the
    visit, the user and the film alone, so differences between two recommenders are those of their lists. Row -1, a user
    or a film that the world does not have, is not clicked.
    """
    of_film = world.seed, visit, users[:, None], items
    leaving = np.where(users >= 0, LEAVE_UTILITY + gumbel(LEAVING, world.seed, visit, users), np.inf)
    preference = np.clip(np.nan_to_num(world.preference(users, items).astype(np.float64)), 1e-7, 1 - 1e-7)
    utility = np.log(preference / (1 - preference)) - world.position_bias * np.log(np.arange(items.shape[1]) + 1.0)
    drawn = np.where(items >= 0, utility + gumbel(FILM, *of_film), -np.inf)
    clicked, stays, every = np.zeros(items.shape, np.bool_), np.ones(len(users), np.bool_), np.arange(len(users))
    for step, column in enumerate(np.argsort(-drawn, axis=1, kind="stable")[:, :MAX_CLICKS].T):
        stays &= drawn[every, column] >= leaving + FATIGUE * step
        clicked[every, column] = stays & (items[every, column] >= 0)
    rating = np.clip(np.round(1 + 4 * preference + 0.7 * normal(RATING, *of_film)), 1, 5).astype(np.float32)
    return clicked, rating
