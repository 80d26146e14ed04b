"""Policies to evaluate: a bundle, a column of probabilities, or the distribution of another log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.following import following
from pasand.reranking.explore import Explore
from pasand.sources.decision_tables import Decisions
from pasand.types import Array, Rows


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a policy does at the decisions of a log."""

    name: str
    probability: Array
    """(n,) probability of the shown item in its slot, given the slots above."""
    slot_probability: Array | None = None
    """(n,) the same whatever the slots above show, nan where it is not known; None: unknown for all."""
    mean: Callable[[Array, Array], Array] | None = None
    """Returns the mean, (n,), over what the policy puts into each slot, of the values in a table (G, P, N + 2), given
    the row of G for each decision, (n,). The columns after those of the log's N items are for an item that the log
    does not have, and for none. None: only the probabilities of what was shown are known."""
    max_probability: float = 1.0
    """Largest probability that the policy gives to anything."""
    notes: tuple[str, ...] = field(default=())


def of_column(log: Decisions, column: str) -> Policy:
    """Return the policy whose probabilities of the shown items are a column of the log."""
    notes = ("only the probabilities of shown items are known, so there is no reward model",)
    return Policy(name=column, probability=log.columns[column], notes=notes)


def of_log(log: Decisions, other: Decisions) -> Policy:
    """Return the policy that draws items as another log shows them, by position, for every user.

    Raises InputError if the logs share no item, or if the other log lacks a position of this one.
    """
    _check_items(log, set(other.items), other.name)
    row_of = {position: row for row, position in enumerate(other.positions)}
    missing = [position for position in log.positions if position not in row_of]
    if missing:
        cause = f"it has no position {missing[0]}, which {log.name} has"
        raise InputError(other.name, cause=cause, cure="give a log of the same lists")
    code = {name: number for number, name in enumerate(log.items)}
    table = np.zeros((len(log.positions), len(log.items) + 2))
    item = np.array([code.get(name, len(log.items)) for name in other.items])[other.item]
    position = np.array([row_of[one] for one in log.positions])
    for p, row in enumerate(position):
        counted = np.bincount(item[other.position == row], minlength=table.shape[1])
        table[p] = counted / counted.sum()

    def mean(values: Array, group: Array) -> Array:
        return np.asarray((values * table).sum(axis=-1)[group, log.position])

    notes = (f"the policy is the distribution of items by position in {other.name}, {len(other):,} shown items",)
    return Policy(
        name=other.name,
        probability=table[log.position, log.item],
        mean=mean,
        max_probability=float(table.max()),
        notes=notes,
    )


def of_bundle(log: Decisions, bundle: Bundle, name: str, *, data: Dataset | None = None) -> Policy:
    """Return the policy of a bundle: its list for the user and time of each list, which is certain but for exploration.

    Histories, and counts that follow the log, are those before the time of the list of `data`, which begin with the
    items and users of the bundle's data; by default they are the bundle's. Raises InputError if the log has no users
    or no item of the bundle, or if the bundle draws whole lists at random.
    """
    if log.users is None:
        cause = "a bundle recommends to users, and the log has no column of users"
        raise InputError(log.name, cause=cause, cure="name it: --column user=NAME")
    fitted = bundle.data.time
    data = bundle.data if data is None else data
    own = data.items.rows(list(log.items))
    _check_items(log, {item for item, row in zip(log.items, own, strict=True) if row >= 0}, name)
    users = data.users.rows(list(log.users))[log.user[log.first]]
    length = np.bincount(log.list)
    upto, time = None, None
    notes = ["the policy recommends from the histories of the bundle's data before the time of each list"]
    if log.time is not None:
        time = log.time[log.first]
        upto = _events_before(data.user, data.time, users, time)
        early = int((time <= (fitted[-1] if len(fitted) else 0)).sum())
        if early:
            notes.append(
                f"{early:,} of {len(time):,} lists were shown before the last event that the bundle was fitted to: it "
                "may have learnt from their clicks, or a clock is wrong"
            )
    shown = np.full((len(users), int(length.max())), -1, np.int32)
    logged = shown.copy()
    logged[log.list, log.slot] = own[log.item]
    live = data if log.time is not None and data.order == "time" else None
    drawn: dict[tuple[int, int], tuple[Rows, Array]] = {}
    alone = np.full(shown.shape, np.nan)
    with following(bundle.assembly.recommender, live):
        for begin in range(0, len(users), 512):
            part = slice(begin, begin + 512)
            queries = data.queries(
                users[part],
                k=min(shown.shape[1], data.n_items),
                time=None if time is None else time[part],
                upto=None if upto is None else upto[part],
            )
            recommender = bundle.assembly.recommender
            queries = recommender.narrowed(queries)
            *earlier, (last, found) = recommender.steps(queries)
            final = found.top(queries.k)
            shown[part, : final.items.shape[1]] = final.items
            alone[part] = shown[part] == logged[part]
            if isinstance(last, Explore):
                alone[part] = last.slot_probabilities(queries, earlier[-1][1], logged[part])
                for b, slot, pool, chance in last.distributions(queries, earlier[-1][1], logged[part]):
                    drawn[begin + b, slot] = pool, chance
            elif found.propensity is not None and (found.propensity < 1).any():
                cause = "it draws items at random, so one list is not all that it shows"
                cure = "give a bundle without it, or its probabilities as a column: --policy-column NAME"
                raise InputError(name, cause=cause, cure=cure)
    number = np.full(data.n_items + 1, -1, np.int32)  # of the log's items, by row of the bundle
    number[:-1] = len(log.items)
    number[own[own >= 0]] = np.flatnonzero(own >= 0)
    return replace(_of_slots(log, name, number, shown, drawn, tuple(notes)), slot_probability=alone[log.list, log.slot])


def _of_slots(
    log: Decisions,
    name: str,
    number: Rows,
    shown: Rows,
    drawn: Mapping[tuple[int, int], tuple[Rows, Array]],
    notes: tuple[str, ...],
) -> Policy:
    """Return the policy that shows certain items, (lists, K), but draws those of some slots.

    `drawn` are the items and their probabilities by list and slot; `number` turns rows of the bundle into the log's.
    """
    pools = [drawn.get((one, slot)) for one, slot in zip(log.list.tolist(), log.slot.tolist(), strict=True)]
    certain = number[shown[log.list, log.slot]]
    columns = [certain[i : i + 1] if pool is None else number[pool[0]] for i, pool in enumerate(pools)]
    chances = [np.ones(1) if pool is None else pool[1] for pool in pools]
    sizes = np.array([len(one) for one in columns])
    start, column, chance = np.cumsum(sizes) - sizes, np.concatenate(columns), np.concatenate(chances)

    def mean(values: Array, group: Array) -> Array:
        each = values[np.repeat(group, sizes), np.repeat(log.position, sizes), column]
        return np.asarray(np.add.reduceat(each * chance, start))

    return Policy(
        name=name,
        probability=np.add.reduceat(np.where(column == np.repeat(log.item, sizes), chance, 0.0), start),
        mean=mean,
        max_probability=float(chance.max(initial=0.0)),
        notes=notes,
    )


def _events_before(user: Rows, event_time: Array, users: Rows, time: Array) -> Array:
    """Return how many events of each user are before a time, (B,), (B,) -> (B,); 0 for user -1."""
    order = np.lexsort((event_time, user))
    begin = np.searchsorted(user[order], users, side="left")
    out = np.zeros(len(users), np.int64)
    end = np.searchsorted(user[order], users, side="right")
    for b in np.flatnonzero(users >= 0):
        out[b] = np.searchsorted(event_time[order[begin[b] : end[b]]], time[b])
    return out


def _check_items(log: Decisions, known: set[str], name: str) -> None:
    shared = sum(item in known for item in log.items)
    if not shared:
        cause = f"none of its {len(log.items):,} items is known to {name}: it is a log of another catalogue"
        raise InputError(log.name, cause=cause, cure="give the log and the policy of one catalogue")
