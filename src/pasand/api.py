"""pasand in three lines of Python: load a log, compare models on it, fit one and recommend; tables with external ids.

Every function here is also `pasand.NAME`. Tables that come out are of polars; `.to_pandas()` makes them pandas'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pasand import bundle as bundles
from pasand import default_recipe, sources
from pasand import recipe as recipes
from pasand.data.dataset import Dataset
from pasand.data.encoding.encode import encode as as_dataset
from pasand.data.log import Options
from pasand.errors import InputError
from pasand.python_cures import in_python, speaks_python
from pasand.sources import frames
from pasand.types import Queries, Rows

if TYPE_CHECKING:
    from pasand.evaluation.compare import Comparison

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
    try:
        chosen = Options(**options)
    except TypeError as error:
        cure = f"use one of: {', '.join(field.name for field in fields(Options))}"
        raise InputError("load", cause=str(error).partition(") ")[2], cure=cure) from None
    if frames.is_frame(source):
        log = sources.described(frames.read(source, chosen), chosen)
    else:
        log = sources.open_log(str(source), chosen)
    log = frames.with_tables(log, tables["items"], tables["users"])
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
        for result in self.comparison.results:
            if result.role == "contender":
                return result.name
        raise InputError("compare", cause="only popularity was compared", cure='name models, such as models=["ease"]')

    @property
    def verdict(self) -> str:
        """Which model is best, by how much, and whether that is shown or may be chance."""
        from pasand.evaluation.verdict import verdict

        return verdict(self.comparison)

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
    models: Sequence[str] | None = None,
    *,
    k: int = 10,
    protocol: str | None = None,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
) -> Leaderboard:
    """Return models and recipes compared on the same test queries, beside popularity baselines.

    `models` are names or recipe files; None: those that suit the data. The protocol is chosen by the data unless it is
    named. Raises InputError for an unknown name, and where the data cannot be split.
    """
    from pasand.evaluation import protocols
    from pasand.evaluation.compare import compare as compared
    from pasand.evaluation.contenders import contenders

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

        `users` is an id or a sequence of ids; those that are not in the data get what a new user gets. A user has fewer
        rows where fewer items are left.
        """
        names = _as_ids(users)
        rows = self.data.users.rows(names)
        parts = [
            self._table(names[begin : begin + BATCH], self.data.queries(rows[begin : begin + BATCH], k=self._k(k)))
            for begin in range(0, len(names), BATCH)
        ]
        return pl.concat(parts) if parts else self._table([], self.data.queries(rows, k=1))

    def similar(self, items: Any, k: int = 10) -> pl.DataFrame:
        """Return the k best items for a visitor who chose one item alone: columns of `recommend`, with the item first.

        Raises InputError for an item that is not in the data.
        """
        names = _as_ids(items)
        rows = self._items(names)
        queries = self.data.queries(np.full(len(names), -1, np.int32), k=self._k(k))
        found = self._table(names, _with_history(queries, rows[:, None]))
        return found.rename({"user_id": "similar_to"})

    def explain(self, user: Any, item: Any) -> pl.DataFrame:
        """Return why an item has its rank for a user: a row for each step of the recommender, and for each reason.

        Columns are kind ("step", "reason" or "feature"), name, rank and weight. Raises InputError for an item that is
        not in the data.
        """
        from pasand.explanation import explain, named

        query = self.data.queries(self.data.users.rows(_as_ids(user)), k=self._k(10))
        row = int(self._items(_as_ids(item))[0])
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
        if k < 1:
            raise InputError("k", value=k, cause="not a whole number of at least 1", cure="write k=10")
        return min(k, self.data.n_items)

    def _items(self, names: list[str]) -> Rows:
        rows = self.data.items.rows(names)
        if (rows < 0).any():
            unknown = names[int(np.flatnonzero(rows < 0)[0])]
            raise InputError("items", value=unknown, cause="not an item of the data", cure="give ids of data.items")
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


def _as_ids(ids: Any) -> list[str]:
    """Return one id or many as texts."""
    if isinstance(ids, str | int | np.integer):
        return [str(ids)]
    return [str(one) for one in (ids.to_list() if hasattr(ids, "to_list") else ids)]
