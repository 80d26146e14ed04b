"""Bollywood: the events and impressions of `pasand.simulation.world`, a synthetic world with known truth."""

from __future__ import annotations

from pasand.data.features import as_frame
from pasand.data.log import ImpressionTable, Log, Options
from pasand.errors import InputError
from pasand.simulation.world import DAY, START, Events, World

__all__ = ["DAY", "START", "Events", "World", "read", "recognises", "world_of"]


def recognises(place: str) -> float:
    """Return 1 for "bollywood", alone or with fields of `World` behind a colon: "bollywood:n_users=2000,seed=3"."""
    return 1.0 if place.partition(":")[0] == "bollywood" else 0.0


def read(place: str, options: Options) -> Log:
    """Return the events of the world that `place` names, as a log; InputError where a field is unknown or wrong."""
    world = world_of(place)
    users, items = world.user_features(), world.item_features()
    return Log(
        name=place,
        events=lambda: (frame.rename({"rating": "value"}) for frame in world.frames()),
        values="rating",
        order="time",
        users=as_frame(world.viewers.ids, users),
        items=as_frame(world.films.ids, items),
        kinds={name: feature.kind for name, feature in (users | items).items()},
        positive_from=4,
        notes=(world.about,),
        impressions=ImpressionTable(
            name=place, frames=world.shown_frames, distinct=True, notes=world.thinning(world.kept_share())
        ),
    )


def world_of(place: str) -> World:
    """Return the world with the fields that stand behind the colon.

    >>> world_of("bollywood:n_users=20,feedback=0.5").n_users
    20
    """
    fields = {name: World.__dataclass_fields__[name].type for name in World.__dataclass_fields__ if name != "effects"}
    chosen: dict[str, float] = {}
    for piece in filter(None, place.partition(":")[2].split(",")):
        name, _, value = piece.partition("=")
        if name not in fields:
            raise InputError(place, value=name, cause="the world has no such field", cure="use " + ", ".join(fields))
        try:
            chosen[name] = int(value) if fields[name] == "int" else float(value)
        except ValueError:
            kind = "a whole number" if fields[name] == "int" else "a number"
            raise InputError(place, value=value, cause=f"{name} must be {kind}") from None
    try:
        return World(**chosen)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(place, cause=str(error), cure="give a value in range") from None
