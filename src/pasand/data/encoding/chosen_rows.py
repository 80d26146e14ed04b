"""Which rows of a table are events, and how much each counts: conditions on columns, and weights of types of events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from pasand.data.encoding.cells import as_numbers, is_missing
from pasand.errors import InputError

LEFT_OUT = "left out "
"""Column of a log's frames that marks the rows that are no events; the space keeps it apart from a table's columns."""
MAX_TYPES = 20
"""Largest number of distinct values of a column that holds types of events."""
NAMES = (
    "event eventtype eventname action actiontype behavior behaviour behaviortype behaviourtype interaction "
    "interactiontype activity activitytype"
)
"""Column names of types of events, best first; only letters and digits are compared."""

RISING = "click cart|basket order|checkout purchase|buy|bought|transaction|sale"
"""Words in the names of types of events that show more interest than those before them, and than all other types."""

CONDITION = re.compile(r"\s*(?P<column>.+?)\s*(?P<operator>!=|<=|>=|==|=|<|>)\s*(?P<value>.*?)\s*", re.DOTALL)


def condition(text: str, columns: Sequence[str], where: str) -> tuple[str, pl.Expr]:
    """Return the column of a condition such as "event = purchase" or "price >= 10", and the condition.

    Numbers are compared as numbers, and anything else as text; a cell that is missing or no number meets none but !=.
    Raises InputError for text that is no condition, and for a column that does not exist.
    """
    found = CONDITION.fullmatch(text)
    if found is None or not found["value"]:
        cure = "write COLUMN = VALUE, with one of =, !=, <, <=, >, >="
        raise InputError("--where", value=text, cause="no condition on a column", cure=cure)
    name, operator, value = found["column"].strip("'\""), found["operator"], found["value"].strip("'\"")
    if name not in columns:
        cause = f"there is no column {name!r}; there are {', '.join(columns)}"
        raise InputError(where, cause=cause, cure="name one of them: --where 'COLUMN = VALUE'")
    number = as_numbers(pl.Series([value]))[0]
    if number is None and operator not in ("=", "==", "!="):
        cause, cure = f"{value!r} is not a number, and only numbers are smaller or larger", "write = or !="
        raise InputError("--where", value=text, cause=cause, cure=cure)
    cells = pl.col(name).cast(pl.String).str.strip_chars()
    same = cells == value
    if number is None:
        return name, (~same if operator == "!=" else same).fill_null(operator == "!=")
    numbers = cells.cast(pl.Float64, strict=False)
    compared = {
        "=": (numbers == number) | same,
        "==": (numbers == number) | same,
        "!=": (numbers != number) & ~same,
        "<": numbers < number,
        "<=": numbers <= number,
        ">": numbers > number,
        ">=": numbers >= number,
    }
    return name, compared[operator].fill_null(operator == "!=")


def type_column(sample: pl.DataFrame, free: Sequence[str]) -> str | None:
    """Return the column that holds types of events, by its name and its few texts; None if there is none."""
    by_name = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(free)}
    for name in NAMES.split():
        if name in by_name and sample[by_name[name]].dtype == pl.String:
            cells = sample[by_name[name]].filter(~is_missing(sample[by_name[name]]))
            if 2 <= cells.n_unique() <= MAX_TYPES and as_numbers(cells).null_count() == len(cells):
                return by_name[name]
    return None


def types_note(sample: pl.DataFrame, column: str) -> str:
    """Return the warning that events of all types count alike, with the options that weigh or choose them."""
    counts = sample[column].str.strip_chars().value_counts(sort=True)
    types = sorted((str(name) for name in counts[column].to_list() if name), key=_interest)
    rising = ",".join(f"{name}={n + 1}" for n, name in enumerate(types))
    return (
        f"warning: column {column!r} holds types of events ({', '.join(types)}), which all count alike: weigh them, "
        f"--events '{rising}', or keep one, --where '{column} = {types[-1]}'"
    )


def _interest(name: str) -> int:
    """Return the position in `RISING` of the last group of words that a name has, 0 for none.

    >>> sorted(["transaction", "addtocart", "view"], key=_interest)
    ['view', 'addtocart', 'transaction']
    """
    groups = enumerate(RISING.split(), 1)
    return max((n for n, words in groups if re.search(words, name.lower())), default=0)


def weights_of(column: str, weights: Mapping[str, float]) -> tuple[pl.Expr, pl.Expr]:
    """Return the weight of each row by its type of event, and whether its type has one."""
    cells = pl.col(column).cast(pl.String).str.strip_chars()
    known = cells.is_in(list(weights)).fill_null(False)
    return cells.replace_strict(dict(weights), default=None, return_dtype=pl.Float64).fill_null(0.0), known


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
