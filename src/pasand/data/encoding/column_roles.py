"""Infers which column of a table is the user, the item, the time and the rating or strength."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from pasand.data.dataset import Values
from pasand.data.encoding.cells import TimeFormat, as_numbers, is_missing
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
"""Column names by role, best first; only letters and digits are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRoles:
    """The column of each role."""

    user: str
    item: str
    time: str | None = None
    value: str | None = None
    values: Values = "none"
    extra: tuple[str, ...] = ()
    """Further numeric columns."""
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """Sentences that describe these roles."""

    @property
    def column_names(self) -> dict[str, str]:
        """The original column names, by role."""
        pairs = {"user": self.user, "item": self.item, "time": self.time, "value": self.value}
        return {role: name for role, name in pairs.items() if name is not None}

    def select(self) -> list[pl.Expr]:
        """Return the expressions that rename the columns to those of a `Log`."""
        standard = [pl.col(name).alias(role) for role, name in self.column_names.items()]
        return standard + [pl.col(name) for name in self.extra]


def infer_roles(sample: pl.DataFrame, options: Options, where: str, *, has_header: bool = True) -> ColumnRoles:
    """Return the roles of columns, inferred from their names, or else from the values of the sample.

    `options` overrides. Raises InputError where a chosen column does not exist, or no user or item can be found.
    """
    for role in ("user", "item", "time", "value"):
        wanted = getattr(options, role)
        if wanted is not None and wanted not in sample.columns:
            cause = f"there is no column {wanted!r}; there are {', '.join(sample.columns)}"
            raise InputError(where, cause=cause, cure=f"name one of them: --column {role}=NAME")
    free = [name for name in sample.columns if name not in (options.user, options.item, options.time, options.value)]

    def find(role: str, chosen: str | None, suits: Callable[[pl.Series], bool]) -> str | None:
        if chosen is not None:
            return chosen
        by_name = {_normalised(name): name for name in reversed(free)}
        for name in NAMES[role].split():
            if name in by_name and suits(sample[by_name[name]]):
                free.remove(by_name[name])
                return by_name[name]
        return None

    user = find("user", options.user, lambda cells: True)
    item = find("item", options.item, lambda cells: True)
    time = find("time", options.time, _may_be_time)
    value, named_as = options.value, ""
    if options.values != "none":
        for meaning in ("rating", "strength"):
            if value is None:
                value = find(meaning, None, _may_be_value if has_header else is_numeric)
                named_as = meaning if value else ""
    if not has_header:
        user = user or (free.pop(0) if free else None)
        item = item or (free.pop(0) if free else None)
    if time is None:
        time = next((name for name in reversed(free) if _has_timestamps(sample[name])), None)
        free = [name for name in free if name != time]
    if not has_header and value is None and options.values != "none" and free and is_numeric(sample[free[0]]):
        value = free.pop(0)
    for role, name in (("user", user), ("item", item)):
        if name is None:
            cause = f"no column looks like the {role}; there are {', '.join(sample.columns)}"
            raise InputError(where, cause=cause, cure=f"name the column: --column {role}=NAME")
    assert user is not None
    assert item is not None
    values: Values = "none"
    if value is not None:
        spelling = _normalised(value)
        named_as = named_as or next((role for role in ("rating", "strength") if spelling in NAMES[role].split()), "")
        values = options.values or ("rating" if _are_ratings(sample[value], named_as) else "strength")
    extra = tuple(name for name in free if is_numeric(sample[name]))
    unused = tuple(name for name in free if name not in extra)
    notes = [f"user: column {user!r}", f"item: column {item!r}"]
    notes += [f"{values}: column {value!r}"] if value else ["no rating or strength"]
    notes += [] if time else ["no time: the order of events has no meaning"]
    notes += [f"extra numeric columns: {', '.join(extra)}"] if extra else []
    notes += [f"not used: {', '.join(unused)}"] if unused else []
    return ColumnRoles(
        user=user,
        item=item,
        time=time,
        value=value,
        values=values,
        extra=extra,
        unused=unused,
        notes=tuple(notes),
    )


def is_numeric(cells: pl.Series) -> bool:
    """Whether a column has cells that are not missing, and all of them are numbers."""
    present = cells.filter(~is_missing(cells))
    numeric_or_text = cells.dtype.is_numeric() or cells.dtype == pl.String
    return numeric_or_text and as_numbers(present).null_count() == 0 < len(present)


def _normalised(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _may_be_value(cells: pl.Series) -> bool:
    """Whether a column named like a value may be one; text may, so that its invalid cells are reported."""
    return cells.dtype.is_numeric() or cells.dtype in (pl.String, pl.Null) or cells.dtype.is_decimal()


def _may_be_time(cells: pl.Series) -> bool:
    """Whether a column named like a time may be one."""
    return cells.dtype.is_temporal() or cells.dtype.is_numeric() or cells.dtype in (pl.String, pl.Null)


def _has_timestamps(cells: pl.Series) -> bool:
    """Whether the values of a column are timestamps: dates, or numbers of the years 1990 to 2100."""
    time_format = TimeFormat.infer(cells)
    if time_format is None or not len(cells):
        return False
    if not time_format.unit:
        return True
    seconds = time_format.parse(cells).drop_nulls() // 1_000_000_000
    inside = seconds.is_between(631_152_000, 4_102_444_800)
    return bool(len(seconds)) and bool(inside.all()) and seconds.n_unique() > 1


def _are_ratings(cells: pl.Series, named_as: str) -> bool:
    """Whether values are ratings: by their name, or else at most 21 distinct multiples of 0.5 within -10 to 10."""
    if named_as:
        return named_as == "rating"
    numbers = as_numbers(cells).drop_nulls()
    halves = bool(((numbers * 2).round(0) == numbers * 2).all())
    return halves and 1 < numbers.n_unique() <= 21 and bool(numbers.is_between(-10, 10).all())
