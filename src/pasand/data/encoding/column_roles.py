"""Infers which column of a table is the user, the item, the time and the rating or strength."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from shlex import quote

import polars as pl

from pasand.data.dataset import Values
from pasand.data.encoding.cells import as_numbers, as_values, is_missing, plain
from pasand.data.encoding.chosen_rows import Choice, condition, type_column
from pasand.data.encoding.times import DAY, PLAUSIBLE, TimeFormat
from pasand.data.log import Options
from pasand.errors import InputError

NAMES = {
    "user": "userid uid user reviewerid reviewer customerid customer viewerid viewer memberid member visitorid visitor "
    "personid person accountid account profileid listenerid sessionid session",
    "item": "itemid iid item movieid filmid productid asin parentasin sku songid trackid bookid isbn articleid videoid "
    "titleid businessid contentid showid gameid artistid movie film product song track book article video business "
    "content show game artist stockcode title",
    "time": "time timestamp ts date datetime unixreviewtime eventtime createdat created watchedat ratedat at day when "
    "unixtime tdat dateadded dateupdated readat startedat playedat purchasedate orderdate invoicedate",
    "rating": "rating ratings overall stars star score rate",
    "label": "label isclick click clicked islike isliked like liked feedback thumbsup",
    "strength": "watchratio strength weight count plays playcount play listens listencount watched watchedseconds "
    "seconds watchtime playduration playtime duration quantity qty amount clicks click views hours minutes value",
}
"""Column names by role, best first, ids before names; only letters and digits are compared.

A label has no values but 0, 1 and -1.
"""

CODES = {"asin", "parentasin", "sku", "isbn", "stockcode"}
"""Names of ids that do not end in "id"."""

OTHER_ID = "id of the row"
"""Name that the column "id" of a table of features gets where another column holds the ids."""

UNNAMED = re.compile(r"column_\d+")
"""Names of the columns of a file without a header."""

ROW_NUMBERS = {"", "unnamed0", "id", "index", "indexlevel0", "rowid", "rownumber", "eventid", "ratingid", "reviewid"}
"""Names of columns that number the rows."""

PLAUSIBLE_SHARE = 0.9
"""Share of the timestamps of a column that must be plausible for it to be a time without that name."""


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
    choice: Choice = field(default_factory=Choice)
    """Which rows are events; with weights, the values are those of the types that `value` then names."""

    @property
    def column_names(self) -> dict[str, str]:
        """The original column names, by role."""
        pairs = {"user": self.user, "item": self.item, "time": self.time, "value": self.value}
        return {role: name for role, name in pairs.items() if name is not None}

    @property
    def read(self) -> list[str]:
        """The names of all columns that are read, each once."""
        names = [*self.column_names.values(), *self.extra, *self.choice.columns]
        return list(dict.fromkeys(names))

    def select(self) -> list[pl.Expr]:
        """Return the expressions that rename the columns to those of a `Log`."""
        standard = {role: pl.col(name).alias(role) for role, name in self.column_names.items()}
        if self.choice.weights:
            del standard["value"]
        return [*standard.values(), *(pl.col(name) for name in self.extra), *self.choice.select()]


def infer_roles(sample: pl.DataFrame, options: Options, where: str, *, has_header: bool = True) -> ColumnRoles:
    """Return the roles of columns, inferred from their names, or else from the values of the sample.

    `options` overrides. Raises InputError where a chosen column does not exist, or no user or item can be found.
    """
    sample = plain(sample)
    for role in ("user", "item", "time", "value", "event"):
        wanted = getattr(options, role)
        if wanted is not None and wanted not in sample.columns:
            cause = f"there is no column {wanted!r}; there are {', '.join(sample.columns)}"
            raise InputError(where, cause=cause, cure=f"name one of them: --column {role}=NAME")
        if wanted is not None and sample[wanted].dtype.is_nested():
            cause = f"column {wanted!r} holds lists or structures ({sample[wanted].dtype}), not a {role} in each row"
            raise InputError(where, cause=cause, cure=f"name another column: --column {role}=NAME")
    chosen_names = (options.user, options.item, options.time, options.value)
    free = [name for name in sample.columns if name not in chosen_names and not sample[name].dtype.is_nested()]

    def find(role: str, chosen: str | None, suits: Callable[[pl.Series], bool]) -> str | None:
        if chosen is not None:
            return chosen
        by_name = {normalised(name): name for name in reversed(free)}
        for name in NAMES[role].split():
            if name in by_name and suits(sample[by_name[name]]):
                free.remove(by_name[name])
                return by_name[name]
        return None

    kind = options.event or type_column(sample, free)
    free = [name for name in free if name != kind]
    user = find("user", options.user, lambda cells: True)
    item = find("item", options.item, lambda cells: True)
    given = None if options.time_format is None else TimeFormat.named(options.time_format)

    def has_times(cells: pl.Series) -> bool:
        return _has_timestamps(cells, given, is_time=True)

    time = find("time", options.time, has_times) or find("time", None, _may_be_time)
    if options.time is None and time is not None:
        time, free = _most_precise(sample, time, free)
    value, named_as = options.value, ""
    if options.events:
        if kind is None:
            cause = f"no column holds types of events; there are {', '.join(sample.columns)}"
            raise InputError(where, cause=cause, cure="name it: --column event=NAME")
        value = kind
    suiting = {"rating": _may_be_value, "label": _is_label, "strength": _may_be_value}
    if options.values != "none":
        for meaning, suits in suiting.items():
            if value is None:
                value = find(meaning, None, suits if has_header else is_numeric)
                named_as = meaning if value else ""
    if not has_header:
        user = user or (free.pop(0) if free else None)
        item = item or (free.pop(0) if free else None)
    if time is None:
        time = next((name for name in reversed(free) if _has_timestamps(sample[name])), None)
        free = [name for name in free if name != time]
    if not has_header and value is None and options.values != "none" and free and is_numeric(sample[free[0]]):
        value = free.pop(0)
    if missing := [role for role, name in (("user", user), ("item", item)) if name is None]:
        cause = f"no column looks like the {' or the '.join(missing)}; there are {', '.join(sample.columns)}"
        line = " ".join(_typed(role, name, sample, free) for role, name in (("user", user), ("item", item)))
        is_text = has_header and where.lower().partition(".gz")[0].endswith((".csv", ".tsv", ".txt"))
        hint = "; or, if the first line is an event, add --no-header" if is_text else ""
        raise InputError(where, cause=cause, cure=f"name the columns: {line}{hint}")
    assert user is not None
    assert item is not None
    values: Values = "none"
    if value is not None:
        spelling = normalised(value)
        named_as = named_as or next((role for role in suiting if spelling in NAMES[role].split()), "")
        weighted = bool(options.events)
        is_rating = not weighted and _are_ratings(sample[value], named_as)
        values = options.values or ("rating" if is_rating else "strength")
    row_numbers = [name for name in free if numbers_rows(name, sample[name])]
    extra = tuple(name for name in free if name not in row_numbers and is_numeric(sample[name]))
    roles = (user, item, time, value, *extra, *row_numbers)
    unused = tuple(name for name in sample.columns if name not in roles)
    conditions = tuple(condition(text, sample, where) for text in options.where)
    types = None if not options.events and kind in {each.column for each in conditions} else kind
    notes = [f"user: column {user!r}", f"item: column {item!r}"]
    if value is None:
        notes.append("no rating or strength")
    elif options.events:
        weights = ", ".join(f"{name} {weight:g}" for name, weight in options.events.items())
        notes.append(f"strength: by the type of event in column {value!r}: {weights}")
    elif options.values is not None:
        notes.append(f"{values}: column {value!r}")
    else:
        other, sign = ("strength", "ratings") if values == "rating" else ("rating", "strengths")
        notes.append(f"{values}: column {value!r}, assumed to hold {sign}; otherwise use --value-as {other}")
    if time is None:
        notes.append(
            "warning: no time: the order of events has no meaning, and an evaluation cannot test on later events; "
            "if a column holds times, name it: --column time=NAME"
        )
    elif sample[time].dtype != pl.Null and not has_times(sample[time]):
        notes.append(
            f"warning: most times in column {time!r} are not between the years 1990 and 2100; they are used to order "
            "the events; if this is wrong, name another column: --column time=NAME"
        )
    notes += [f"extra numeric columns: {', '.join(extra)}"] if extra else []
    notes += [f"not used: {', '.join(unused)}"] if unused else []
    notes += [f"not used, numbers of rows: {', '.join(map(repr, row_numbers))}"] if row_numbers else []
    return ColumnRoles(
        user=user,
        item=item,
        time=time,
        value=value,
        values=values,
        extra=extra,
        unused=(*unused, *row_numbers),
        notes=tuple(notes),
        choice=Choice(conditions=conditions, types=types, weights=options.events),
    )


def _typed(role: str, name: str | None, sample: pl.DataFrame, free: list[str]) -> str:
    """Return the option that names the column of a role; where it is not found, a free column with repeated ids."""
    if name is None:
        repeated = [
            one for one in free if 1 < sample[one].n_unique() < len(sample) and not sample[one].dtype.is_float()
        ]
        names = repeated or free
        name = (
            (names[0] if role == "user" else names[-1] if len(names) == 1 else names[min(1, len(names) - 1)])
            if names
            else "NAME"
        )
    return f"--column {role}={quote(name)}"


def with_id(
    table: pl.DataFrame, role: str, of_events: str | None = None, chosen: str | None = None
) -> tuple[pl.DataFrame, str]:
    """Return a table of features of the role "user" or "item" with its id in column "id", and the name it had.

    That is the column `chosen`, or that named as the column `of_events`, or else "id", the first name of an id of the
    role, or the first column that does not number the rows. Another column "id" becomes `OTHER_ID`. Raises InputError
    if there is no column `chosen`.
    """
    named = "" if of_events is None or UNNAMED.fullmatch(of_events) else of_events
    by_name = {_compared(name): name for name in reversed(table.columns)}
    ids = [name for name in NAMES[role].split() if name.endswith("id") or name in CODES]
    if chosen is not None:
        if chosen not in table.columns:
            cause = f"there is no column {chosen!r}; there are {', '.join(table.columns)}"
            raise InputError(f"{role}s", cause=cause, cure=f"name one of them: --column {role}s.id=NAME")
        key = chosen
    elif named and named in table.columns:
        key = named
    else:
        first = next((name for name in table.columns if _compared(name) not in ROW_NUMBERS), table.columns[0])
        names = (_compared(named), "id", *ids)
        key = next((by_name[name] for name in names if name and name in by_name), first)
    if key != "id" and "id" in table.columns:
        table = table.rename({"id": OTHER_ID})
    return table.rename({key: "id"}), key


def _compared(name: str) -> str:
    """Return a column name as it is compared: in Latin letters normalised, in others in lower case."""
    return normalised(name) if name.isascii() else unicodedata.normalize("NFC", name).strip().casefold()


def is_numeric(cells: pl.Series) -> bool:
    """Whether a column has cells that are not missing, and all of them are numbers."""
    present = cells.filter(~is_missing(cells))
    numeric_or_text = cells.dtype.is_numeric() or cells.dtype == pl.String
    return numeric_or_text and as_numbers(present).null_count() == 0 < len(present)


def normalised(name: str) -> str:
    """Return the letters and digits of a column name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _may_be_value(cells: pl.Series) -> bool:
    """Whether a column named like a value may be one; text may, so that its invalid cells are reported."""
    return cells.dtype.is_numeric() or cells.dtype in (pl.String, pl.Null, pl.Boolean)


def _is_label(cells: pl.Series) -> bool:
    """Whether all values of a column are 0, 1 or -1, or true or false."""
    if not _may_be_value(cells):
        return False
    present = cells.filter(~is_missing(cells))
    return len(present) > 0 and bool(as_values(present).is_in([-1.0, 0.0, 1.0]).fill_null(False).all())


def _may_be_time(cells: pl.Series) -> bool:
    """Whether a column named like a time may be one."""
    return cells.dtype in (pl.Date, pl.Datetime, pl.String, pl.Null) or cells.dtype.is_numeric()


def _nanoseconds(cells: pl.Series, given: TimeFormat | None = None, *, is_time: bool = False) -> pl.Series | None:
    """Return timestamps in nanoseconds since 1970, null where not plausible; None where fewer than nine in ten are."""
    time_format = given or TimeFormat.infer(cells, is_time=is_time)
    if time_format is None:
        return None
    times = time_format.parse(cells)
    times = times.set(~times.is_between(*PLAUSIBLE).fill_null(False), None)
    present = int((~is_missing(cells)).sum())
    return times if len(times.drop_nulls()) >= PLAUSIBLE_SHARE * present > 0 else None


def _has_timestamps(cells: pl.Series, given: TimeFormat | None = None, *, is_time: bool = False) -> bool:
    """Whether the values of a column are timestamps: dates, or different numbers, of the years 1990 to 2100."""
    times = _nanoseconds(cells, given, is_time=is_time)
    if times is None:
        return False
    return times.drop_nulls().n_unique() > 1 or not is_numeric(cells)


def _most_precise(sample: pl.DataFrame, time: str, free: list[str]) -> tuple[str, list[str]]:
    """Return the column that gives the time of day where `time` gives days only, and the columns left over."""
    days = _nanoseconds(sample[time], is_time=True)
    if days is None or (days % DAY != 0).any():
        return time, free
    for name in free:
        times = _nanoseconds(sample[name]) if _may_be_time(sample[name]) else None
        if times is not None and times.n_unique() > days.n_unique():
            # a day may have begun in another time zone
            same = (times - days).is_between(-DAY, 2 * DAY).drop_nulls()
            if len(same) and float(same.mean()) >= PLAUSIBLE_SHARE:  # type: ignore[arg-type]
                return name, [time, *(other for other in free if other != name)]
    return time, free


def numbers_rows(name: str, cells: pl.Series) -> bool:
    """Whether a column numbers the rows, as data frames and databases do: by its name, and all values differ."""
    if _compared(name) not in ROW_NUMBERS or not is_numeric(cells):
        return False
    return not is_missing(cells).any() and as_numbers(cells).n_unique() == len(cells) > 1


def _are_ratings(cells: pl.Series, named_as: str) -> bool:
    """Whether values are ratings: by their name, or else at most 21 distinct multiples of 0.5 within -10 to 10."""
    if _is_label(cells) and as_values(cells).n_unique() > 1:
        return True
    if named_as:
        return named_as in ("rating", "label")
    numbers = as_values(cells).drop_nulls()
    halves = bool(((numbers * 2).round(0) == numbers * 2).all())
    return halves and 1 < numbers.n_unique() <= 21 and bool(numbers.is_between(-10, 10).all())
