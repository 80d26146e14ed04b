"""pasand in three lines of Python: load a log, compare models on it, fit one and recommend; tables with external ids.

Every function here is also `pasand.NAME`. Tables that come out are of polars; `.to_pandas()` makes them pandas'.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pasand import bundle as bundles
from pasand import default_recipe, sources
from pasand import recipe as recipes
from pasand.data.dataset import Dataset
from pasand.data.encoding.cells import as_ids, plain
from pasand.data.encoding.encode import encode as as_dataset
from pasand.data.log import Options
from pasand.errors import InputError
from pasand.python_cures import in_python, speaks_python
from pasand.sources import frames
from pasand.types import Queries, Rows

if TYPE_CHECKING:
    from pasand.evaluation.compare import Comparison

logger = logging.getLogger(__name__)

BATCH = 1024
"""Users that are recommended to at a time."""
PLAIN: dict[str, Any] = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True, "tbl_rows": 12}
"""How a leaderboard is shown."""


@speaks_python
def load(source: Any, *, items: Any = None, users: Any = None, encode: str = "", **options: Any) -> Dataset:
    """Return the dataset of a path, a database URL, the name of a data set, or a data frame with a row for each event.

    `items` and `users` are tables of features, paths or data frames. The other options are those of `Options`, such as
    `user="customer"` for the name of a column; what is left out is inferred and noted in `notes`. `encode` names
    columns of items that become vectors, such as "plot=text,poster=image"; see docs/content.md. Raises InputError where
    it cannot be read.
    """
    tables = {"items": items, "users": users}
    for name, table in tables.items():
        if isinstance(table, str | Path):
            options[name], tables[name] = str(table), None
    if isinstance(options.get("where"), str):
        options["where"] = (options["where"],)
    if not frames.is_frame(source) and not isinstance(source, str | os.PathLike):
        cause, cure = (
            f"an object of type {type(source).__name__} is no source",
            "make it a data frame: polars.DataFrame(...)",
        )
        raise InputError("load", cause=cause, cure=cure)
    try:
        chosen = Options(**options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        unknown = str(error).partition("__init__() ")[2]
        cure = (
            f"use one of: {', '.join(field.name for field in fields(Options))}" if unknown else "change that argument"
        )
        raise InputError("load", cause=unknown or str(error), cure=cure) from None
    if frames.is_frame(source):
        log = sources.described(frames.read(source, chosen), chosen)
    else:
        log = sources.open_log(str(source), chosen)
    log = frames.with_tables(log, tables["items"], tables["users"], chosen)
    if encode:
        from pasand.encoders import columns, own_vectors

        requested = columns.parse([encode])
        path = Path(chosen.items or ("." if frames.is_frame(source) else str(source)))
        folder = path if path.is_dir() else path.parent
        data = columns.encode(as_dataset(own_vectors.prepared(log, requested), chosen), requested, folder)
    else:
        data = as_dataset(log, chosen)
    return replace(data, notes=tuple(map(in_python, data.notes)))


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """A comparison as a table, with a verdict in words; shows itself in notebooks."""

    comparison: Comparison
    """All results: metrics by user and by length of history, tests, seconds, memory."""
    named: Mapping[str, str]
    """What `fit` accepts for each contender, a model, recipe or recipe file, by its name in the table."""

    @property
    def table(self) -> pl.DataFrame:
        """A row for each model, best first: metrics with their intervals, verdict against popularity, p, seconds."""
        head, rows = self.comparison.table()
        return pl.DataFrame(rows, schema=head, orient="row")

    @property
    def best(self) -> str:
        """Name of the best model by the main metric; popularity baselines are none. Raises InputError without one."""
        if not self.comparison.results[0].evaluation.n_users["overall"]:
            cause, _, cure = self.verdict.partition(" Cure: ")
            raise InputError("compare", cause=cause, cure=cure)
        for result in self.comparison.results:
            if result.role == "contender":
                return result.name
        raise InputError("compare", cause="only popularity was compared", cure='name models, such as models=["ease"]')

    @property
    def verdict(self) -> str:
        """Which model is best, by how much, and whether that is shown or may be chance."""
        from pasand.evaluation.verdict import verdict

        return in_python(verdict(self.comparison))

    def report(self, path: str | Path) -> Path:
        """Write the report with plots as one HTML file, and return its path."""
        from pasand.evaluation.report import contents, html

        html.write(Path(path), contents.comparison_report(self.comparison))
        return Path(path)

    def _short(self) -> pl.DataFrame:
        main = self.comparison.main_metric
        return self.table.select("model", main, "against popularity", "p (Holm)", "fit s")

    def __repr__(self) -> str:
        with pl.Config(
            tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_rows=12, tbl_width_chars=110
        ):
            return f"{self._short()}\n{self.verdict}"

    def _repr_html_(self) -> str:
        import html

        with pl.Config(**PLAIN):
            return f"{self._short()._repr_html_()}<p>{html.escape(self.verdict)}</p>"


@speaks_python
def compare(
    data: Dataset,
    models: str | Sequence[str] | None = None,
    *,
    k: int = 10,
    protocol: str | None = None,
    seed: int = 0,
    metrics: str | Sequence[str] | None = None,
) -> Leaderboard:
    """Return models and recipes compared on the same test queries, beside popularity baselines.

    `models` are names or recipe files, one or more; None: those that suit the data. The protocol is chosen by the data
    unless it is named. Raises InputError for an unknown name, and where the data cannot be split.
    """
    from pasand.evaluation import protocols
    from pasand.evaluation.compare import compare as compared
    from pasand.evaluation.contenders import contenders

    models = [models] if isinstance(models, str) else models
    metrics = [metrics] if isinstance(metrics, str) else metrics
    k = _whole(k)
    chosen = contenders(data, models, seed=seed)
    split = protocols.default_protocol(data) if protocol is None else protocols.protocol(protocol)
    comparison = compared(data, chosen, split, ks=(k,), seed=seed, metrics=metrics)
    names = [entry.name for entry in chosen]
    return Leaderboard(comparison, dict(zip(names, names if models is None else _as_given(names, models), strict=True)))


def _as_given(names: Sequence[str], models: Sequence[str]) -> list[str]:
    """Return for each name of a contender the name or recipe file that was given for it."""
    given = {label: model for model in models for label in (model, Path(model).name, Path(model).stem)}
    return [given.get(name, name) for name in names]


@dataclass(frozen=True, repr=False)
class Fitted:
    """A fitted recommender, the object that is evaluated and served, queried with external ids."""

    bundle: bundles.Bundle

    @property
    def data(self) -> Dataset:
        """The dataset that it was fitted to."""
        return self.bundle.data

    def recommend(self, users: Any, k: int = 10) -> pl.DataFrame:
        """Return the k best unseen items of each user: columns user_id, item_id, rank from 1, score, and title if any.

        `users` is an id, or a sequence or column of ids; those that are not in the data get what a new user gets, and a
        warning is logged. A user has fewer rows where fewer items are left. Raises InputError for what is no id.
        """
        names, k = _as_ids(users, "users"), self._k(k)
        rows = self._users(names)
        parts = [
            self._table(names[begin : begin + BATCH], self.data.queries(rows[begin : begin + BATCH], k=k))
            for begin in range(0, len(names), BATCH)
        ]
        return pl.concat(parts) if parts else self._table([], self.data.queries(rows, k=1))

    def similar(self, items: Any, k: int = 10) -> pl.DataFrame:
        """Return the k best items for a visitor who chose one item alone: columns of `recommend`, with the item first.

        Raises InputError for an item that is not in the data.
        """
        names = _as_ids(items, "items")
        rows = self._items(names)
        queries = self.data.queries(np.full(len(names), -1, np.int32), k=self._k(k))
        found = self._table(names, _with_history(queries, rows[:, None]))
        return found.rename({"user_id": "similar_to"})

    def explain(self, user: Any, item: Any) -> pl.DataFrame:
        """Return why an item has its rank for a user: a row for each step of the recommender, and for each reason.

        Columns are kind ("step", "reason" or "feature"), name, rank and weight. A user that is not in the data is a new
        one, and a warning is logged. Raises InputError for an item that is not in the data, and for several ids.
        """
        from pasand.explanation import explain, named

        query = self.data.queries(self._users(_one(_as_ids(user, "user"), "user")), k=self._k(10))
        row = int(self._items(_one(_as_ids(item, "item"), "item"))[0])
        found = explain(self.bundle.assembly.recommender, query, row, self.bundle.assembly.components)
        lines: list[tuple[str, str, int | None, float | None]] = [
            ("step", step.name, step.rank, step.score) for step in found.steps
        ]
        for reason in found.reasons:
            about = named(self.data, reason.item)
            lines.append(("reason", about["title"] or about["item_id"], None, float(reason.weight)))
        for influence in found.influences:
            lines += [("feature", name, None, float(weight)) for name, weight in influence.features]
        schema = {"kind": pl.String, "name": pl.String, "rank": pl.Int64, "weight": pl.Float64}
        return pl.DataFrame(lines, schema=schema, orient="row")

    def save(self, path: str | Path) -> Path:
        """Write the bundle to a folder, which `pasand serve` and `pasand.open` read, and return its path."""
        seed = int(self.bundle.manifest.get("seed", 0))
        bundles.write(path, self.bundle.assembly, self.data, seed=seed)
        return Path(path)

    def _k(self, k: int) -> int:
        return min(_whole(k), self.data.n_items)

    def _users(self, names: list[str]) -> Rows:
        rows = self.data.users.rows(names)
        if (rows < 0).any():
            known, unknown = self.data.users.ids([0])[0], names[int(np.flatnonzero(rows < 0)[0])]
            message = "%d of %d users are not in the log and are new users, such as %r; an id of the log is %r"
            logger.warning(message, (rows < 0).sum(), len(rows), unknown, known)
        return rows

    def _items(self, names: list[str]) -> Rows:
        rows = self.data.items.rows(names)
        if (rows < 0).any():
            unknown = names[int(np.flatnonzero(rows < 0)[0])]
            others = f"; {(rows < 0).sum()} of {len(rows)} are none" if len(rows) > 1 else ""
            cause, cure = (
                f"not an item of the data{others}",
                f"give ids as in the log, such as {self.data.items.ids([0])[0]!r}",
            )
            raise InputError("items", value=unknown, cause=cause, cure=cure)
        return rows

    def _table(self, names: list[str], queries: Queries) -> pl.DataFrame:
        found = self.bundle.assembly.recommender(queries)
        b, j = np.nonzero(found.items >= 0)
        items = found.items[b, j]
        columns: dict[str, Any] = {
            "user_id": pl.Series([names[row] for row in b.tolist()], dtype=pl.String),
            "item_id": pl.Series(self.data.items.ids(items), dtype=pl.String),
            "rank": pl.Series(j + 1, dtype=pl.Int64),
            "score": pl.Series(found.scores[b, j], dtype=pl.Float32),
        }
        titles = [self.data.title(row) for row in items.tolist()]
        if any(titles):
            columns["title"] = pl.Series(titles, dtype=pl.String)
        return pl.DataFrame(columns)

    def __repr__(self) -> str:
        data = self.data
        sizes = f"{len(data):,} events of {data.n_users:,} users and {data.n_items:,} items"
        return f"<pasand recommender fitted to {data.name}: {sizes}>"


@speaks_python
def fit(data: Dataset, what: str | Path | Leaderboard | None = None, *, seed: int = 0) -> Fitted:
    """Return a recommender fitted to all events: a model or recipe by name, a recipe file, or a leaderboard's best.

    None: the recipe that suits the data. Raises InputError for an unknown name.
    """
    name = what.named[what.best] if isinstance(what, Leaderboard) else str(what or default_recipe.for_data(data)[0])
    from pasand import models

    known = name in models.classes()
    assembly = recipes.build(default_recipe.of_model(name, {})) if known else recipes.read(name)
    assembly.fit(data, seed=seed)
    return Fitted(bundles.Bundle(assembly, data, {"seed": seed, "files": {}}))


@speaks_python
def open(path: str | Path) -> Fitted:
    """Return the recommender of a bundle; raises InputError where the folder is none."""
    return Fitted(bundles.read(path))


def _with_history(queries: Queries, items: Rows) -> Queries:
    return replace(
        queries,
        history=items,
        history_time=np.zeros(items.shape, np.int64),
        history_value=np.full(items.shape, np.nan, np.float32),
    )


def _as_ids(ids: Any, argument: str) -> list[str]:
    """Return one id, or each of a sequence or column, as text like the ids of a log; a table may have one column.

    Raises InputError for other tables, for missing ids and for what is no id.
    """
    if hasattr(type(ids), "columns"):
        table = frames.as_polars(ids)
        if table.width != 1:
            cause, cure = (
                f"a table of {table.width} columns is given",
                f'give the column of the ids, such as table["{table.columns[0]}"]',
            )
            raise InputError(argument, cause=cause, cure=cure)
        ids = table.to_series()
    elif getattr(ids, "ndim", 1) == 0:
        ids = ids.item()
    if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
        ids = [ids]
    elif isinstance(ids, Iterator):
        ids = list(ids)
    try:
        cells = pl.Series("", ids)
    except (TypeError, ValueError):
        cells = pl.Series("", list(ids), dtype=pl.Object)
    if cells.dtype == pl.Object:  # ids of several types
        cells = pl.Series("", [_as_text(one) for one in cells], dtype=pl.String)
    if cells.dtype.is_nested():
        value, cure = cells.to_list()[0], "give an id, or a list or column of ids"
        raise InputError(argument, value=value, cause="not an id", cure=cure)
    texts = as_ids(plain(cells.to_frame()).to_series())
    if texts.null_count():
        row = int(texts.is_null().arg_max() or 0) + 1 if len(texts) > 1 else None
        cure = "leave out what is missing, in pandas with .dropna()"
        raise InputError(argument, row=row, cause="there is no id", cure=cure)
    return texts.to_list()


def _as_text(one: object) -> str | None:
    """Return an id as text, without the ".0" of a whole number; None where it is missing."""
    return as_ids(pl.Series([one]))[0] if isinstance(one, float) else None if one is None else str(one)


def _one(ids: list[str], argument: str) -> list[str]:
    if len(ids) != 1:
        raise InputError(argument, cause=f"{len(ids)} ids are given", cure="give one id; repeat the call for others")
    return ids


def _whole(k: object) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError("k", value=k, cause="not a whole number of at least 1", cure="write k=10")
    return int(k)
