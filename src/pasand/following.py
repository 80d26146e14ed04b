"""Following: the components inside a recommender that go on counting the events of a log, and the log they are given.

An evaluation with live histories gives them the whole log, a server the events that it receives. Either way each query
is scored from the events strictly before its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass

from pasand.contracts import CountsShown, Follows
from pasand.data.dataset import Dataset


def followers(part: object) -> list[Follows]:
    """Return the components that can follow a log inside a component or a list of components, at any depth, each once.

    >>> followers([])
    []
    """
    found = {id(one): one for one in _walk(part, set()) if isinstance(one, Follows)}
    return list(found.values())


@contextmanager
def following(part: object, data: Dataset | None) -> Iterator[None]:
    """Let the components inside `part` follow a log, and on leaving score from their training data again.

    Nothing happens for None. Raises InputError as `Follows.follow` does.
    """
    inside = [] if data is None else followers(part)
    try:
        for one in inside:
            one.follow(data)
        yield
    finally:
        for one in inside:
            one.follow(None)


def counters(part: object) -> list[CountsShown]:
    """Return the stages inside a component or a list of components that choose by what was shown, each once.

    >>> counters([])
    []
    """
    found = {id(one): one for one in _walk(part, set()) if isinstance(one, CountsShown)}
    return list(found.values())


@contextmanager
def counting(part: object) -> Iterator[None]:
    """Let the stages inside `part` that choose by what was shown count each list that a recommender returns.

    They begin with nothing shown, and on leaving are as they were, so that an evaluation has a ledger of its own.
    """
    inside = counters(part)
    before = [(one, one.state(), one.counts_returned) for one in inside]
    try:
        for one in inside:
            one.empty()
            one.counts_returned = True
        yield
    finally:
        for one, state, counts_returned in before:
            one.load_state(state)
            one.counts_returned = counts_returned


def _walk(part: object, seen: set[int]) -> Iterator[object]:
    """Yield the dataclasses that can be reached through fields and lists, without those inside datasets."""
    if isinstance(part, type | Dataset) or id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, list | tuple):
        for element in part:
            yield from _walk(element, seen)
    elif is_dataclass(part):
        yield part
        for field in fields(part):
            yield from _walk(getattr(part, field.name, None), seen)
