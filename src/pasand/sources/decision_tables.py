"""Tables of shown items with their probabilities and rewards, as counterfactual evaluation reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from pasand.data.encoding.cells import as_ids, as_numbers, as_values, is_missing
from pasand.data.encoding.column_roles import NAMES as EVENT_NAMES
from pasand.data.encoding.times import POSSIBLE, SECOND, TimeFormat
from pasand.data.log import Options
from pasand.errors import InputError
from pasand.sources.impression_tables import NAMES as IMPRESSION_NAMES
from pasand.sources.tables import open_tables, read_batches, table_files
from pasand.types import Array, Mask, Offsets, Rows, Times

NAMES: Mapping[str, str] = {
    "user": EVENT_NAMES["user"],
    "item": EVENT_NAMES["item"],
    "time": EVENT_NAMES["time"],
    "list": "requestid request slateid slate listid list impressionid",
    "position": IMPRESSION_NAMES["position"],
    "reward": "reward " + IMPRESSION_NAMES["clicked"],
    "propensity": IMPRESSION_NAMES["propensity"] + " actionprob",
    "slot_propensity": "slotpropensity marginalpropensity",
}
"""Column names of each role, best first, compared by letters and digits alone."""
NEEDED = ("item", "reward", "propensity")


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """n shown items, in order of list and then of position."""

    name: str
    list: Offsets
    """(n,) number of the list, from 0 without gaps; a row of its own where the log has no lists."""
    slot: Rows
    """(n,) slot in the list, from 0 without gaps."""
    position: Rows
    """(n,) number of the position, from 0: of its value among all of the log."""
    user: Rows
    """(n,) number of the user; of the list where the log has no users."""
    item: Rows
    """(n,) number of the item in `items`."""
    time: Times | None
    """(n,) seconds since 1970, UTC; None: unknown."""
    reward: Array
    """(n,) at least 0."""
    propensity: Array
    """(n,) probability of the item in its slot given the slots above, in (0, 1]; 1: not drawn."""
    slot_propensity: Array | None = None
    """(n,) the same whatever the slots above show, nan where unknown; None: unknown for all."""
    items: tuple[str, ...]
    users: tuple[str, ...] | None
    """Ids of users; None: unknown."""
    positions: tuple[int, ...]
    columns: Mapping[str, Array]
    """(n,) further columns: texts, or float64 for probabilities of policies."""
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item)

    @property
    def first(self) -> Offsets:
        """(lists,) row of the first slot of each list."""
        return np.flatnonzero(self.slot == 0)

    def padded(self, values: Array, fill: float) -> Array:
        """Return a column as (lists, K), with `fill` in slots that a list does not have."""
        out = np.full((int(self.list.max(initial=-1)) + 1, int(self.slot.max(initial=-1)) + 1), float(fill))
        out[self.list, self.slot] = values
        return out

    def select(self, which: Mask) -> Decisions:
        """Return some whole lists; `which`, (n,), is the same for all slots of a list."""
        columns = {name: column[which] for name, column in self.columns.items()}
        rows = {
            name: getattr(self, name)[which] for name in ("slot", "position", "user", "item", "reward", "propensity")
        }
        time = None if self.time is None else self.time[which]
        alone = None if self.slot_propensity is None else self.slot_propensity[which]
        number = np.unique(self.list[which], return_inverse=True)[1]
        return replace(self, list=number, time=time, slot_propensity=alone, columns=columns, **rows)


def decisions(
    location: str,
    columns: Mapping[str, str] | None = None,
    *,
    also: Mapping[str, str] | None = None,
    needs_propensity: bool = True,
) -> Decisions:
    """Return the decisions of a table or folder of tables; all slots of a list, by the list's id or user and time.

    `columns` names the columns of roles, which otherwise follow from their names; `also` names further columns, each
    "text" or "probability". Without `needs_propensity` propensities are 1 where there is no column of them. Raises
    InputError for a missing column, and for a row whose propensity is not in (0, 1], whose reward is not a number from
    0, whose time cannot be read, or whose id is missing.
    """
    path = Path(location)
    if not path.exists():
        raise InputError(location, cause="there is no such file or folder of impressions", cure="check the path")
    tables = open_tables(path, table_files(path) if path.is_dir() else [path], Options(), "impressions")
    names = _roles(location, tables[0].sample.columns, columns or {}, needs_propensity)
    also = dict(also or {})
    for name in also:
        if name not in tables[0].sample.columns:
            cause = f"there is no such column; there are {_listed(tables[0].sample.columns)}"
            raise InputError(location, value=name, cause=cause, cure="name one of them")
    select = [pl.col(name).alias(f"role {role}") for role, name in names.items()] + [pl.col(name) for name in also]
    frames = list(read_batches(tables, [*names.values(), *also], select))
    return _encoded(_Cells(location, pl.concat(frames), names, tables[0].first_row), also)


def _roles(location: str, found: list[str], given: Mapping[str, str], needs_propensity: bool) -> dict[str, str]:
    for role, name in given.items():
        if role not in NAMES:
            raise InputError(
                location, value=role, cause="decisions have no such column", cure="use " + ", ".join(NAMES)
            )
        if name not in found:
            cause = f"there is no column {name!r}; there are {_listed(found)}"
            raise InputError(location, cause=cause, cure=f"name one of them: --column {role}=NAME")
    names, free = dict(given), [name for name in found if name not in given.values()]
    for role in (role for role in NAMES if role not in names):
        spellings = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(free)}
        match = next((spellings[name] for name in NAMES[role].split() if name in spellings), None)
        if match is not None:
            names[role] = match
            free.remove(match)
    for role in NEEDED[: None if needs_propensity else 2]:
        if role in names:
            continue
        cause, cure = f"no column looks like the {role}; there are {_listed(found)}", f"name it: --column {role}=NAME"
        if role == "propensity":
            cause += ". Without the probability of what was shown no other policy can be evaluated"
        raise InputError(location, cause=cause, cure=cure)
    return names


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


@dataclass(frozen=True)
class _Cells:
    """The cells of a table and where they come from."""

    location: str
    frame: pl.DataFrame
    names: Mapping[str, str]
    first_row: int

    def cells(self, role: str) -> pl.Series | None:
        return self.frame[f"role {role}"] if role in self.names else None

    def refuse(self, role: str, wrong: pl.Series, cause: str, cure: str) -> None:
        """Raise InputError for the first row that is wrong."""
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            value, more = self.frame[f"role {role}"][row], int(wrong.sum()) - 1
            cause += f" ({more:,} further rows are like it)" if more else ""
            raise InputError(
                self.location, row=self.first_row + row, column=self.names[role], value=value, cause=cause, cure=cure
            )

    def ids(self, role: str) -> pl.Series | None:
        cells = self.cells(role)
        if cells is None:
            return None
        self.refuse(role, is_missing(cells), f"the {role} is missing", "remove the rows, or name another column")
        return as_ids(cells, whole_numbers=True)

    def numbers(self, role: str) -> pl.Series:
        cells = self.cells(role)
        assert cells is not None
        numbers = as_values(cells)
        self.refuse(role, numbers.is_null(), "not a number", f"mend the rows, or name another: --column {role}=NAME")
        return numbers

    def times(self) -> pl.Series | None:
        cells = self.cells("time")
        if cells is None:
            return None
        form = TimeFormat.infer(cells)
        if form is None:
            cause = "most times are neither numbers since 1970 nor ISO dates"
            raise InputError(
                self.location, column=self.names["time"], cause=cause, cure="name another: --column time=NAME"
            )
        times = form.parse(cells)
        cure = "mend the clock or the rows"
        self.refuse("time", times.is_null(), "the time cannot be read", cure)
        self.refuse("time", ~times.is_between(*POSSIBLE), "the time is not between the years 1971 and 2100", cure)
        return times


def _encoded(cells: _Cells, also: Mapping[str, str]) -> Decisions:
    notes = [", ".join(f"{role} is column {name!r}" for role, name in cells.names.items())]
    reward = cells.numbers("reward")
    cells.refuse(
        "reward", (reward < 0) | reward.is_infinite(), "a reward must be finite and at least 0", "add a constant"
    )
    propensity = cells.numbers("propensity") if "propensity" in cells.names else pl.Series([1.0] * len(reward))
    if "propensity" in cells.names:
        what = "the probability of something that was shown is above 0"
        cells.refuse("propensity", propensity <= 0, what, "log propensities as float64, before any rounding")
        cells.refuse(
            "propensity", propensity > 1, "a probability is at most 1", "name another: --column propensity=NAME"
        )
    alone = cells.cells("slot_propensity")
    if alone is not None:
        alone = as_values(alone)
        wrong = ((alone <= 0) | (alone > 1)).fill_null(False)
        cells.refuse("slot_propensity", wrong, "a probability is above 0 and at most 1", "mend or remove the column")
    item, user, time, of = cells.ids("item"), cells.ids("user"), cells.times(), cells.ids("list")
    assert item is not None
    position = cells.numbers("position").cast(pl.Int64) if "position" in cells.names else None
    frame = pl.DataFrame({"item": item, "reward": reward, "propensity": propensity})
    optional = {"user": user, "time": time, "list": of, "position": position, "alone": alone}
    frame = frame.with_columns(**{name: column for name, column in optional.items() if column is not None})
    for name, kind in also.items():
        frame = frame.with_columns(_further(cells, name, kind).alias(f"also {name}"))
    keys = ["list", *["user"] * (user is not None)] if of is not None else ["user", "time"]
    if of is None and (user is None or time is None or position is None):
        keys = []
        notes.append("each row is one decision: there is no id of a list, nor user, time and position together")
    frame = frame.with_row_index("row")
    frame = frame.with_columns(number=pl.struct(keys).rank("dense").cast(pl.Int64) - 1 if keys else pl.col("row"))
    slots = ["number", "position"] if position is not None else ["number", "row"]
    if keys:
        if of is not None and time is not None and position is not None:
            frame, n_earlier = _last_shown(frame)
            cause = "the list was shown again with other items, after a retry of its request"
            notes += [f"{n_earlier:,} rows dropped: {cause}"] * bool(n_earlier)
        frame, n_duplicates = _without_duplicates(frame, position is not None)
        notes += [f"{n_duplicates:,} rows dropped: the item is in the list twice, at one position"] * bool(n_duplicates)
        _check_slots(cells, frame, position is not None)
    frame = frame.sort(*slots, "row")
    number = np.unique(frame["number"].to_numpy(), return_inverse=True)[1]
    new = np.r_[True, number[1:] != number[:-1]]
    slot = np.arange(len(frame)) - np.maximum.accumulate(np.where(new, np.arange(len(frame)), 0))
    at = frame["position"].to_numpy() if position is not None else slot + 1
    positions, at = np.unique(at, return_inverse=True)
    items, item_code = np.unique(frame["item"].to_numpy().astype(str), return_inverse=True)
    users, user_code = None, number
    if user is not None:
        found, user_code = np.unique(frame["user"].to_numpy().astype(str), return_inverse=True)
        users = tuple(found.tolist())
    else:
        notes.append("there is no column of users: decisions count as independent of each other")
    return Decisions(
        name=cells.location,
        list=number,
        slot=slot.astype(np.int32),
        position=at.astype(np.int32),
        user=user_code.astype(np.int32),
        item=item_code.astype(np.int32),
        time=None if time is None else frame["time"].to_numpy() // SECOND,
        reward=frame["reward"].to_numpy(),
        propensity=frame["propensity"].to_numpy(),
        slot_propensity=None if alone is None else frame["alone"].fill_null(np.nan).to_numpy(),
        items=tuple(items.tolist()),
        users=users,
        positions=tuple(positions.tolist()),
        columns={name: frame[f"also {name}"].to_numpy() for name in also},
        notes=tuple(notes),
    )


def _further(cells: _Cells, name: str, kind: str) -> pl.Series:
    """Return a further column: text, or a probability in [0, 1]."""
    column = cells.frame[name]
    if kind == "text":
        return column.cast(pl.String).fill_null("")
    values = as_numbers(column)
    wrong = values.is_null() | (values < 0) | (values > 1)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        cause, cure = "the policy's probability must be in [0, 1]", "mend the column, or name another"
        raise InputError(
            cells.location, row=cells.first_row + row, column=name, value=column[row], cause=cause, cure=cure
        )
    return values


def _last_shown(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return the rows without lists that were shown again later with other items, and how many are left out."""
    differs = (pl.col("item").n_unique().over("number", "position") > 1).any().over("number")
    kept = frame.filter(~differs | (pl.col("time") == pl.col("time").max().over("number")))
    return kept, len(frame) - len(kept)


def _without_duplicates(frame: pl.DataFrame, has_position: bool) -> tuple[pl.DataFrame, int]:
    """Return the rows without repeated impressions, of which the most rewarded is kept, and how many are left out."""
    keys = ["number", "item", *["position"] * has_position]
    kept = frame.sort("reward", "row", descending=[True, False]).unique(keys, keep="first", maintain_order=True)
    return kept, len(frame) - len(kept)


def _check_slots(cells: _Cells, frame: pl.DataFrame, has_position: bool) -> None:
    """Raise InputError if two items share a position of a list."""
    if has_position:
        twice = frame.filter(frame.select("number", "position").is_duplicated())
        if len(twice):
            first = twice["row"].min()
            row = cells.first_row + (first if isinstance(first, int) else 0)
            cause = "two items of one list have this position"
            cure = "name the column with the id of lists: --column list=NAME"
            value = twice.sort("row")["position"][0]
            raise InputError(
                cells.location, row=row, column=cells.names["position"], value=value, cause=cause, cure=cure
            )
