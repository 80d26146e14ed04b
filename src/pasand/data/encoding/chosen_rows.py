"""Which rows of a table are events, and how much each counts: conditions on columns, and weights of types of events."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote

import polars as pl

from pasand.data.encoding.cells import as_booleans, as_ids, as_numbers, as_values, is_missing, plain
from pasand.errors import InputError, did_you_mean

LEFT_OUT = "left out "
"""Column of a log's frames that marks the rows that are no events; the space keeps it apart from a table's columns."""
COPY = "copy of "
"""Prefix of the copied columns in a log's frames by which rows are chosen."""
TRUTH = ("true", "false")
MAX_TYPES = 20
"""Largest number of distinct values of a column that holds types of events."""
FEW = 5
"""Types with their counts that a note lists."""
NAMES = (
    "event eventtype eventname action actiontype behavior behaviour behaviortype behaviourtype interaction "
    "interactiontype activity activitytype"
)
"""Column names of types of events, best first; only letters and digits are compared."""

RISING = "click cart|basket order|checkout purchase|buy|bought|transaction|sale"
"""Words in the names of types of events that show more interest than those before them, and than all other types."""

CONDITION = re.compile(r"\s*(?P<column>.+?)\s*(?P<operator>!=|<=|>=|==|=|<|>)\s*(?P<value>.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a column, such as "price >= 10"."""

    text: str
    column: str
    operator: str
    value: str
    holds_truth: bool = False
    """Whether all texts of the column are true or false, in any case."""

    @property
    def number(self) -> float | None:
        """The value as a number; None where it is none."""
        number: float | None = as_values(pl.Series([self.value]))[0] if re.search(r"\d", self.value) else None
        return number

    def compare(self, cells: pl.Series) -> tuple[pl.Series, int]:
        """Return whether each cell meets the condition, and how many cells are no numbers where one is required.

        Truth values are compared as such, numbers as the values of events are read, and anything else as text; a cell
        that is missing or no number meets none but !=.
        """
        truth, number = as_booleans(pl.Series([self.value]))[0], self.number
        text = cells.cast(pl.String).str.strip_chars()
        if cells.dtype == pl.Boolean and truth is not None:
            same = cells == truth
        elif self.holds_truth and self.value.lower() in TRUTH:
            same = text.str.to_lowercase() == self.value.lower()
        else:
            same = text == self.value
        if number is None:
            return (~same if self.operator == "!=" else same).fill_null(self.operator == "!="), 0
        numbers = as_values(cells if cells.dtype.is_numeric() or cells.dtype == pl.Boolean else text)
        no_numbers = int((numbers.is_null() & ~is_missing(text)).sum())
        equal = (numbers == number).fill_null(False) | same.fill_null(False)
        compared = {
            "=": equal,
            "==": equal,
            "!=": ~equal,
            "<": numbers < number,
            "<=": numbers <= number,
            ">": numbers > number,
            ">=": numbers >= number,
        }
        return compared[self.operator].fill_null(False), no_numbers


def condition(text: str, sample: pl.DataFrame, where: str) -> Condition:
    """Return a condition such as "event = purchase" or "price >= 10" on a column of a table, of which rows are given.

    Raises InputError for text that is no condition, and for a column that does not exist or holds lists or structures.
    """
    found = CONDITION.fullmatch(text)
    if found is None or not found["value"]:
        cure = "write COLUMN = VALUE, with one of =, !=, <, <=, >, >="
        raise InputError("--where", value=text, cause="no condition on a column", cure=cure)
    name, operator, value = found["column"].strip("'\""), found["operator"], found["value"].strip("'\"")
    if name not in sample.columns or sample[name].dtype.is_nested():
        exists = name in sample.columns
        cause = f"column {name!r} holds lists or structures" if exists else f"there is no column {name!r}"
        cause = f"{cause}; there are {', '.join(sample.columns)}"
        raise InputError(where, cause=cause, cure="name one of them: --where 'COLUMN = VALUE'")
    cells = sample[name].filter(~is_missing(sample[name]))
    holds_truth = cells.dtype == pl.String and bool(cells.str.strip_chars().str.to_lowercase().is_in(TRUTH).all())
    parsed = Condition(text, name, operator, value, holds_truth)
    if parsed.number is None and operator not in ("=", "==", "!="):
        cause, cure = f"{value!r} is not a number, and only numbers are smaller or larger", "write = or !="
        raise InputError("--where", value=text, cause=cause, cure=cure)
    return parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rows of a table are events: conditions that they meet, and weights of types of events."""

    conditions: tuple[Condition, ...] = ()
    types: str | None = None
    """Column of the types of events."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weights of types, which are then the values; empty: all types count alike."""

    @property
    def columns(self) -> list[str]:
        """The columns that are read for the choice, each once."""
        names = [condition.column for condition in self.conditions] + [self.types] * (self.types is not None)
        return list(dict.fromkeys(name for name in names if name is not None))

    def select(self) -> list[pl.Expr]:
        """Return the expressions that copy these columns, for `ChosenRows.marked`."""
        return [pl.col(name).alias(COPY + name) for name in self.columns]


class ChosenRows:
    """Applies a choice to the frames of a log, and counts what it left out.

    Types are compared without regard to case, unless `exact`, or the weights name types that differ in case only.
    """

    def __init__(self, choice: Choice, *, exact: bool = False) -> None:
        self._choice = choice
        self._named = {name.strip(): weight for name, weight in choice.weights.items()}
        self._exact = exact or len({name.casefold() for name in self._named}) < len(self._named)
        self._weights = {self._spelling(name): weight for name, weight in self._named.items()}
        self._left_out = [0] * len(choice.conditions)
        self._no_numbers = [0] * len(choice.conditions)
        self._counts: Counter[str] = Counter()

    def _spelling(self, name: str) -> str:
        return name if self._exact else name.casefold()

    def marked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the column `LEFT_OUT` and, by weights of types, `value`, without the copied columns."""
        choice, copies = self._choice, plain(frame.select(f"{COPY}{name}" for name in self._choice.columns))
        if copies.width == 0:
            return frame
        kept, added = pl.repeat(True, len(frame), eager=True), []
        for at, condition in enumerate(choice.conditions):
            met, no_numbers = condition.compare(copies[COPY + condition.column])
            self._left_out[at] += int((~met).sum())
            self._no_numbers[at] += no_numbers
            kept &= met
        if choice.types is not None:
            types = as_ids(copies[COPY + choice.types])
            self._count(types)
            if choice.weights:
                names = types.unique().drop_nulls()
                found = [self._weights.get(self._spelling(name)) for name in names.to_list()]
                value = types.replace_strict(names, pl.Series(found, dtype=pl.Float64), default=None)
                kept &= value.is_not_null()
                added.append(value.alias("value"))
        if choice.conditions or choice.weights:
            added.append((~kept).alias(LEFT_OUT))
        return frame.drop(copies.columns).with_columns(added)

    def _count(self, types: pl.Series) -> None:
        """Count types of events, without a repeated header; more than `MAX_TYPES` only where they are weighed."""
        if not self._choice.weights and len(self._counts) > MAX_TYPES:
            return
        counts = types.filter((types != self._choice.types).fill_null(False)).rename("type").value_counts()
        self._counts.update(dict(counts.iter_rows()))

    @property
    def differ_in_case(self) -> bool:
        """Whether spellings of a weighed type that differ in case only were read as one."""
        spellings = Counter(self._spelling(name) for name in self._counts)
        return not self._exact and any(spellings[name] > 1 for name in self._weights)

    def check(self, where: str) -> None:
        """Raise InputError if no row that was read is of a type with a weight."""
        if not self._weights or any(self._spelling(name) in self._weights for name in self._counts):
            return
        value = ", ".join(self._named)
        if not self._counts:
            cause, cure = "the column is empty", "name another column: --column event=NAME"
        else:
            types = [name for name, _ in self._counts.most_common(MAX_TYPES)]
            cause, cure = f"no event is of these types; there are {', '.join(types)}", f"write {_rising(types)}"
        raise InputError(where, column=self._choice.types, value=value, cause=cause, cure=cure)

    def notes(self) -> list[str]:
        """Return what the choice did: conditions without effect, cells that are no numbers, types without weight."""
        notes = []
        for condition, left_out, no_numbers in zip(
            self._choice.conditions, self._left_out, self._no_numbers, strict=True
        ):
            option = f"warning: --where {_quoted(condition.text)}"
            if not left_out:
                notes.append(f"{option} leaves out no row")
            if no_numbers:
                cells = "1 cell is no number" if no_numbers == 1 else f"{no_numbers:,} cells are no numbers"
                notes.append(f"{option}: {cells}, and such cells meet no condition on a number but !=")
        types = self._counts.most_common()
        if not self._weights:
            if 1 < len(types) <= MAX_TYPES:
                notes.append(_types_note(str(self._choice.types), [name for name, _ in types]))
            return notes
        found = {self._spelling(name) for name in self._counts}
        for name in self._named:
            if self._spelling(name) not in found:
                cause = f"no event is of type {name!r}, which is in --events"
                notes.append(f"warning: {cause}; {did_you_mean(name, self._counts)}there are {_listed(types)}")
        if others := [(name, count) for name, count in types if self._spelling(name) not in self._weights]:
            notes.append(f"types of events left out: {_listed(others)}")
        return notes


def type_column(sample: pl.DataFrame, free: Sequence[str]) -> str | None:
    """Return the column that holds types of events, by its name and its few texts; None if there is none.

    A column of which the first rows hold one type only is used where no other has several.
    """
    one = None
    by_name = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(free)}
    for name in NAMES.split():
        if name in by_name and sample[by_name[name]].dtype == pl.String:
            cells = sample[by_name[name]].filter(~is_missing(sample[by_name[name]]))
            if cells.n_unique() <= MAX_TYPES and as_numbers(cells).null_count() == len(cells):
                if cells.n_unique() > 1:
                    return by_name[name]
                one = one or by_name[name]
    return one


def _types_note(column: str, types: Sequence[str]) -> str:
    """Return the warning that events of all types count alike, with the options that weigh or choose them."""
    types = sorted(types, key=_interest)
    return (
        f"warning: column {column!r} holds types of events ({', '.join(types)}), which all count alike: weigh them, "
        f"{_rising(types)}, or keep one, --where {_quoted(f'{column} = {types[-1]}')}"
    )


def _rising(types: Sequence[str]) -> str:
    """Return the option with weights that rise with the interest that types show."""
    rising = ",".join(f"{name}={n + 1}" for n, name in enumerate(sorted(types, key=_interest)))
    return f"--events {_quoted(rising)}"


def _quoted(text: str) -> str:
    """Return a text as one word of a command line, always in quotes."""
    return f"'{text}'" if "'" not in text else quote(text)


def _listed(types: Sequence[tuple[str, int]]) -> str:
    """Return the first few types with their counts, and the number of the others."""
    shown = ", ".join(f"{name} {count:,}" for name, count in types[:FEW])
    return shown + f" and {len(types) - FEW:,} more" * (len(types) > FEW)


def _interest(name: str) -> int:
    """Return the position in `RISING` of the last group of words that a name has, 0 for none.

    >>> sorted(["transaction", "addtocart", "view"], key=_interest)
    ['view', 'addtocart', 'transaction']
    """
    groups = enumerate(RISING.split(), 1)
    return max((n for n, words in groups if re.search(words, name.lower())), default=0)


def parsed_weights(text: str) -> dict[str, float]:
    """Return the weights of types of events written as "purchase=3,cart=2,view=1"; raises InputError for other text.

    >>> parsed_weights("purchase=3, view=0.5")
    {'purchase': 3.0, 'view': 0.5}
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.rpartition("="))
        weight = as_numbers(pl.Series([number]))[0]
        if not name or weight is None or not 0 <= weight < float("inf"):
            cause = f"{part.strip()!r} is no type of event with a weight of 0 or more"
            raise InputError("--events", value=text, cause=cause, cure="write --events purchase=3,cart=2,view=1")
        weights[name] = weight
    if not any(weights.values()):
        raise InputError("--events", value=text, cause="no type has a weight above 0", cure="give one a weight")
    return weights
