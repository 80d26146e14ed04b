"""Source `market`: purchases and impressions of the simulated `Marketplace`, whose truth is known."""

from __future__ import annotations

from pasand.data.features import as_frame
from pasand.data.log import ImpressionTable, Log, Options
from pasand.errors import InputError
from pasand.simulation import pictures
from pasand.simulation.marketplace import Marketplace

__all__ = ["Marketplace", "read", "recognises", "world_of"]

OPTIONS = {
    "n_users": int,
    "n_items": int,
    "n_sellers": int,
    "new_sellers": float,
    "days": int,
    "seed": int,
    "visits": float,
    "feedback": float,
    "position_bias": float,
    "remembered": int,
    "pictures": str,
}
"""Fields of `Marketplace` that can be given after the colon, and their types."""
KINDS = {int: "a whole number", float: "a number", str: "a folder"}


def recognises(location: str) -> float:
    """Return 1 for "market", alone or with fields of `Marketplace` after a colon: "market:n_users=2000,seed=3"."""
    return 1.0 if location.partition(":")[0] == "market" else 0.0


def read(location: str, options: Options) -> Log:
    """Return the log of the marketplace that `location` names, and draw its pictures if they are wanted.

    Raises InputError for an unknown field, an invalid value, and pictures that cannot be written.
    """
    world = world_of(location)
    if world.pictures:
        pictures.write(world, world.pictures)
    users, items = world.user_features(), world.item_features()
    return Log(
        name=location,
        events=lambda: (frame.rename({"rating": "value"}) for frame in world.frames()),
        values="rating",
        order="time",
        users=as_frame(world.viewers.ids, users),
        items=as_frame(world.films.ids, items),
        kinds={name: feature.kind for name, feature in (users | items).items()},
        positive_from=4,
        notes=(world.description,),
        impressions=ImpressionTable(
            name=location, frames=world.impression_frames, distinct=True, notes=world.sampling_note(world.visit_share())
        ),
    )


def world_of(location: str) -> Marketplace:
    """Return the marketplace with the fields given after the colon; raises InputError where one is wrong.

    >>> world_of("market:n_users=20,new_sellers=0.5").n_users
    20
    """
    chosen: dict[str, int | float | str] = {}
    for assignment in filter(None, location.partition(":")[2].split(",")):
        name, _, value = assignment.partition("=")
        if name not in OPTIONS:
            cure = "use " + ", ".join(OPTIONS)
            raise InputError(location, value=name, cause="the marketplace has no such field", cure=cure)
        try:
            chosen[name] = OPTIONS[name](value)
        except ValueError:
            raise InputError(location, value=value, cause=f"{name} must be {KINDS[OPTIONS[name]]}") from None
    try:
        return Marketplace(**chosen)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(location, cause=str(error), cure="give a value in range") from None
