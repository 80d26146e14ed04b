"""Undone events: stores only append, so a later event of the same user undoes an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from pasand.serving.states.contract import Event


def without_undone(events: Sequence[Event]) -> list[Event]:
    """Return the events that count, in order: neither undone by another of these events nor undoing one.

    >>> one, two = Event("1", "u", "a", 10), Event("2", "u", "b", 11)
    >>> [event.id for event in without_undone([one, two, Event("3", "u", "a", 12, undoes="1")])]
    ['2']
    """
    undone = {(event.user_id, event.undoes) for event in events if event.undoes is not None}
    if not undone:
        return list(events)
    return [event for event in events if event.undoes is None and (event.user_id, event.id) not in undone]
