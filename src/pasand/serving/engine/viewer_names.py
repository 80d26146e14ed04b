"""First names for the example viewers of the simulated data, whose ids are numbers; real users are never named."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from pasand.data.dataset import Dataset
from pasand.serving.engine.feature_values import feature_to_json

SIMULATED = "bollywood"
"""Beginning of the name of the data set whose viewers are simulated."""
NAMES = {
    "female": "Aditi Asha Divya Farida Gauri Ishita Jaya Kavya Lakshmi Meera Nandini Pooja Radha Sunita Tara Zoya",
    "male": "Anil Arjun Dev Farhan Gopal Harish Imran Karthik Mohan Nikhil Omar Prakash Ravi Sanjay Vikram Yash",
}


def is_simulated(data: Dataset) -> bool:
    """Return whether the users of the data are simulated."""
    return data.name.startswith(SIMULATED)


def names_of(data: Dataset, users: Sequence[str]) -> dict[str, str]:
    """Return a different first name for each of a few users of simulated data, by id; {} for other data.

    The id decides, so that a user keeps the name as long as none before it in the list has the same one.
    """
    if not is_simulated(data):
        return {}
    gender, rows = data.user_features.get("gender"), data.users.rows(users)
    names: dict[str, str] = {}
    for user, row in zip(users, np.asarray(rows).tolist(), strict=True):
        own = None if gender is None or row < 0 else feature_to_json(gender, row)
        pool = NAMES.get(own or "", " ".join(NAMES.values())).split()
        start = zlib.crc32(user.encode()) % len(pool)
        free = [name for name in [*pool[start:], *pool[:start]] if name not in names.values()]
        if free:
            names[user] = free[0]
    return names
