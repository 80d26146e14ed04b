"""Finds out which column of a table is the user, the item, the time and the rating or strength."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from pasand.data.dataset import Values
from pasand.data.encoding.cells import Clock, absent, as_numbers
from pasand.data.log import Options
from pasand.errors import InputError

NAMES = {
    "user": "user userid uid reviewerid customer customerid viewer viewerid member memberid visitor visitorid person "
    "personid account accountid profileid listenerid sessionid session",
    "item": "item itemid iid movie movieid film filmid product productid asin parentasin sku artist artistid song "
    "songid track trackid book bookid isbn article articleid video videoid title titleid business businessid "
    "content contentid show showid game gameid",
    "time": "time timestamp ts date datetime unixreviewtime eventtime createdat created watchedat ratedat at day when "
    "unixtime",
    "rating": "rating ratings overall stars star score rate",
    "strength": "strength weight count plays playcount play listens listencount watched watchedseconds seconds "
    "watchtime duration quantity qty amount clicks views hours minutes value",
}
"""Names that say what a column is, best first; letters and digits alone count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Which column is what."""

    user: str
    item: str
    time: str | None = None
    value: str | None = None
    values: Values = "none"
    further: tuple[str, ...] = ()
    """Further columns of numbers."""
    left: tuple[str, ...] = ()
    """Columns that are not used."""
    notes: tuple[str, ...] = field(default=())

    @property
    def named(self) -> dict[str, str]:
        """The columns' own names, by role."""
        pairs = {"user": self.user, "item": self.item, "time": self.time, "value": self.value}
        return {role: name for role, name in pairs.items() if name is not None}

    def select(self) -> list[pl.Expr]:
        """Return what renames the columns to those of a `Log`."""
        standard = [pl.col(name).alias(role) for role, name in self.named.items()]
        return standard + [pl.col(name) for name in self.further]


def roles(sample: pl.DataFrame, options: Options, where: str, *, headed: bool = True) -> Roles:
    """Return the roles of columns from their names, and where those say nothing from what the sample holds.

    `options` overrides. Raises InputError where a named column is missing or no user or item can be found.
    """
    for role in ("user", "item", "time", "value"):
        wanted = getattr(options, role)
        if wanted is not None and wanted not in sample.columns:
            cause = f"there is no column {wanted!r}; there are {', '.join(sample.columns)}"
            raise InputError(where, cause=cause, cure=f"name one of them: --column {role}=NAME")
    free = [name for name in sample.columns if name not in (options.user, options.item, options.time, options.value)]

    def find(role: str, told: str | None, suits: Callable[[pl.Series], bool]) -> str | None:
        if told is not None:
            return told
        spelt = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(free)}
        for name in NAMES[role].split():
            if name in spelt and suits(sample[spelt[name]]):
                free.remove(spelt[name])
                return spelt[name]
        return None

    user = find("user", options.user, lambda cells: True)
    item = find("item", options.item, lambda cells: True)
    time = find("time", options.time, _timely)
    value, by_name = options.value, ""
    if options.values != "none":
        for meaning in ("rating", "strength"):
            if value is None:
                value = find(meaning, None, _mostly_numbers if headed else numeric)
                by_name = meaning if value else ""
    if not headed:
        user = user or (free.pop(0) if free else None)
        item = item or (free.pop(0) if free else None)
    if time is None:
        time = next((name for name in reversed(free) if _stamped(sample[name])), None)
        free = [name for name in free if name != time]
    if not headed and value is None and options.values != "none" and free and numeric(sample[free[0]]):
        value = free.pop(0)
    for role, name in (("user", user), ("item", item)):
        if name is None:
            cause = f"no column looks like the {role}; there are {', '.join(sample.columns)}"
            raise InputError(where, cause=cause, cure=f"name the column: --column {role}=NAME")
    assert user is not None
    assert item is not None
    values: Values = "none"
    if value is not None:
        spelt = re.sub(r"[^a-z0-9]", "", value.lower())
        by_name = by_name or next((role for role in ("rating", "strength") if spelt in NAMES[role].split()), "")
        values = options.values or ("rating" if _rated(sample[value], by_name) else "strength")
    further = tuple(name for name in free if numeric(sample[name]))
    left = tuple(name for name in free if name not in further)
    notes = [f"user: column {user!r}", f"item: column {item!r}"]
    notes += [f"{values}: column {value!r}"] if value else ["no rating or strength"]
    notes += [] if time else ["no time: the order of events means nothing"]
    notes += [f"further numbers: {', '.join(further)}"] if further else []
    notes += [f"not used: {', '.join(left)}"] if left else []
    return Roles(
        user=user,
        item=item,
        time=time,
        value=value,
        values=values,
        further=further,
        left=left,
        notes=tuple(notes),
    )


def numeric(cells: pl.Series) -> bool:
    """Whether all cells that hold something hold a number."""
    there = cells.filter(~absent(cells))
    return (cells.dtype.is_numeric() or cells.dtype == pl.String) and as_numbers(there).null_count() == 0 < len(there)


def _mostly_numbers(cells: pl.Series) -> bool:
    """Whether a column named as a value may be one; text is taken at its name, so that its faults are reported."""
    return cells.dtype.is_numeric() or cells.dtype in (pl.String, pl.Null) or cells.dtype.is_decimal()


def _timely(cells: pl.Series) -> bool:
    """Whether a column named as a time may be one."""
    return cells.dtype.is_temporal() or cells.dtype.is_numeric() or cells.dtype in (pl.String, pl.Null)


def _stamped(cells: pl.Series) -> bool:
    """Whether a column is a time by its contents: dates, or numbers of the years 1990 to 2100."""
    clock = Clock.of(cells)
    if clock is None or not len(cells):
        return False
    if not clock.unit:
        return True
    seconds = clock.read(cells).drop_nulls() // 1_000_000_000
    inside = seconds.is_between(631_152_000, 4_102_444_800)
    return bool(len(seconds)) and bool(inside.all()) and seconds.n_unique() > 1


def _rated(cells: pl.Series, by_name: str) -> bool:
    """Whether values are ratings: so named, or few different halves within -10 to 10."""
    if by_name:
        return by_name == "rating"
    numbers = as_numbers(cells).drop_nulls()
    halves = bool(((numbers * 2).round(0) == numbers * 2).all())
    return halves and 1 < numbers.n_unique() <= 21 and bool(numbers.is_between(-10, 10).all())
