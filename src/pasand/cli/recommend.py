"""pasand recommend: prints the recommendations of a bundle for one user."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pasand.cli import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pasand.bundle import Bundle
    from pasand.data.dataset import Dataset
    from pasand.types import Array, Queries, Rows

HISTORY = typer.Option(
    [],
    help="Items of further events, after those of the log: ITEM,ITEM (oldest first); may be repeated. An id with a "
    "comma needs double quotes inside single ones: '\"ITEM, PART 2\"'.",
)


EXAMPLES = (
    "pasand recommend bundle --user 42 --why",
    "pasand recommend bundle --history film-7,film-12 -k 5",
)


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    user: str | None = typer.Option(None, help="Id of the user, who may be new; leave out for an anonymous user."),
    history: list[str] = HISTORY,
    feature: list[str] = typer.Option(
        [], help="Feature of the user: NAME=VALUE, such as language=Hindi; may be repeated."
    ),
    add: Path | None = typer.Option(None, help="Table of new items to recommend as well, as for `pasand add`."),
    k: int = typer.Option(10, "-k", min=1, help="Number of recommendations."),
    why: bool = typer.Option(
        False, "--why", help="Show the history items, or the features, behind each recommendation."
    ),
    json: Path | None = typer.Option(None, help='Write the recommendations as JSON to a file; "-": standard output.'),
) -> None:
    """Print the k best items for a user, who may be known from the log, new or anonymous."""
    from pasand import bundle as bundles

    with console.progress():
        loaded = bundles.read(bundle)
        if add is not None:
            loaded = with_items(loaded, add)
    features = user_features(loaded.data, feature)
    response = recommend(loaded, user, history_items(loaded.data, history), k, why, features)
    if not console.quiet(json):
        show(response, k)
        if why and not explains(loaded):
            console.output.print("no model of this bundle can explain its recommendations")
    console.write_json(json, response)


def recommend(
    bundle: Bundle, user: str | None, history: list[str], k: int, why: bool, features: Mapping[str, Array] | None = None
) -> dict[str, object]:
    """Return the recommendations of a bundle for one user, ready for JSON.

    The keys are "user_id", "known" (whether the user is in the log), "history" (its length), "features" (names of those
    given), "items", each with rank, item_id, title, score and, with `why`, reason, and "notes", such as on a rule of
    the policy that cannot hold. `features`, (1, ...) each, are added to those of the user in the log, or replace them.
    Raises InputError for a history item that is not in the bundle.
    """
    from pasand.contracts import Notes
    from pasand.explanation import named
    from pasand.recommender import matches, reasons

    query = single_query(bundle.data, user, history, min(k, bundle.data.n_items))
    query = replace(query, features={**query.features, **(features or {})})
    found = bundle.assembly.recommender(query)
    causes = reasons(bundle.assembly.recommender, query, found.items) if why and explains(bundle) else None
    content = (
        [[[]] * found.items.shape[1]] if causes is None else matches(bundle.assembly.recommender, query, found.items)
    )
    lines = []
    for position, row in enumerate(found.items[0]):
        if row < 0:
            break
        line = {"rank": position + 1, **named(bundle.data, int(row)), "score": float(found.scores[0, position])}
        if causes is not None:
            line["reason"] = [named(bundle.data, reason.item) for reason in causes[0][position][:3]]
            if not line["reason"] and content[0][position]:
                line["matches"] = content[0][position][:3]
        lines.append(line)
    stages = [stage for stage in bundle.assembly.recommender.stages if isinstance(stage, Notes)]
    return {
        "user_id": user,
        "known": bool(query.users[0] >= 0),
        "history": query.history.shape[1],
        "features": sorted(features or {}),
        "items": lines,
        "notes": [note for stage in stages for note in stage.notes(query, found)[0]],
    }


def explains(bundle: Bundle) -> bool:
    """Return whether a model of the bundle can explain its recommendations."""
    from pasand.contracts import Explains

    return any(isinstance(part, Explains) for part in bundle.assembly.components.values())


def with_items(bundle: Bundle, table: Path) -> Bundle:
    """Return the bundle with the items of a table added; its columns are an id and features named as in the dataset.

    Raises InputError for a table that cannot be read, an item that is in the catalogue already, and a column that
    cannot be read as the feature of that name.
    """
    from pasand.data import ids
    from pasand.data.encoding.column_roles import with_id
    from pasand.data.encoding.feature_kinds import features_of, table_ids
    from pasand.data.encodings import with_columns
    from pasand.data.log import Options
    from pasand.data.vocabulary import Vocabulary
    from pasand.errors import InputError
    from pasand.sources.tables import feature_table

    lines, _ = with_id(feature_table(table, Options()), "item")
    new = Vocabulary(table_ids(lines["id"], bundle.data.items.series).drop_nulls())
    for item in new.series:
        if (found := ids.fault(item)) is not None:
            raise InputError(table, value=item, cause=f"an id of an item is invalid: {found}", cure=ids.RULE)
    accepted = with_columns(bundle.data.item_features, bundle.data.encodings)
    kinds = {name: feature.kind for name, feature in accepted.items()}
    features, _ = features_of(new, lines, kinds, "items", list(kinds), str(table))
    return bundle.add_items(new.series.to_list(), features, files=table.parent)


def user_features(data: Dataset, texts: list[str]) -> dict[str, Array]:
    """Return the features of one user given as NAME=VALUE, encoded as in the dataset, (1, ...) each.

    Several values of a bag are given as several texts, or as one text with | between them. Raises InputError for a name
    or a category that the dataset does not have, and for a value that cannot be read.
    """
    import numpy as np
    import polars as pl

    from pasand.data.encoding import feature_kinds
    from pasand.errors import InputError

    given: dict[str, list[str]] = {}
    for text in texts:
        for name, value in console.assignments([text], "--feature").items():
            given.setdefault(name, []).append(value)
    encoded = {}
    for name, values in given.items():
        known = data.user_features.get(name)
        if known is None:
            cure = f"choose from: {_first_names(list(data.user_features))}"
            raise InputError("--feature", value=name, cause="the bundle has no such user feature", cure=cure)
        if len(values) > 1 and known.kind != "bag":
            raise InputError("--feature", value=values[1], cause=f"{name} was given before", cure="give it once")
        found = feature_kinds.feature(pl.Series(["|".join(values)]), known.kind)
        try:
            coded, unknown = found.coded_as(known)
        except ValueError as error:
            cure = "write it as in the table of users"
            raise InputError("--feature", column=name, value=values[0], cause=str(error), cure=cure) from None
        if unknown:
            cure = f"choose from: {_first_names(known.names)}"
            raise InputError("--feature", value=unknown[0], cause=f"no such {name} in the bundle", cure=cure)
        if coded.is_missing().all():
            cause = f"{name} is of kind {known.kind}, which cannot be read from that"
            raise InputError("--feature", value=values[0], cause=cause, cure="write it as in the table of users")
        encoded[name] = coded.take(np.zeros(1, np.int32))
    return encoded


def _first_names(names: Sequence[str]) -> str:
    """Return the first 20 names as a text, and how many there are beyond them."""
    shown = ", ".join(names[:20]) or "(there are none)"
    return shown + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")


def history_items(data: Dataset, texts: list[str]) -> list[str]:
    """Return the items named in texts of comma-separated values; spaces around an id count only if it has them."""
    items = [item for fields in csv.reader(texts) for item in fields]
    known = data.items.rows(items) >= 0
    return [item if is_known else item.strip() for item, is_known in zip(items, known, strict=True)]


def single_query(data: Dataset, user: str | None, history: list[str], k: int) -> Queries:
    """Return a query of one user, whose history is that of the log followed by the given items.

    Raises InputError for a history item that is not in the dataset.
    """
    import numpy as np

    from pasand.errors import InputError

    users = data.users.rows([user] if user is not None else [""])
    items: Rows = data.items.rows(history)
    if (items < 0).any():
        unknown = history[int(np.flatnonzero(items < 0)[0])]
        cure = "give ids of the log, and one with a comma in double quotes"
        raise InputError("--history", value=unknown, cause="not an item of the bundle", cure=cure)
    queries = data.queries(users, k=k)
    n_further = len(items)
    return replace(
        queries,
        history=np.hstack([queries.history, items[None, :]]),
        history_time=np.hstack([queries.history_time, np.repeat(queries.time[:, None], n_further, 1)]),
        history_value=np.hstack([queries.history_value, np.full((1, n_further), np.nan, np.float32)]),
        time=queries.time + 1,
    )


def show(response: dict[str, object], k: int) -> None:
    """Print the recommendations as a table, with their reasons if they have any."""
    from rich.table import Table

    items = response["items"]
    assert isinstance(items, list)
    if not response["known"]:
        given = [name for name in ("history", "features") if response[name]]
        basis = f"the given {' and '.join(given)}" if given else "popularity"
        user = "anonymous user" if response["user_id"] is None else f"{response['user_id']} is not in the log"
        console.output.print(f"{console.printable(user, lines=False)}: recommendations are based on {basis}")
    reasons = any("reason" in line for line in items)
    titled = any(line["title"] not in ("", line["item_id"]) for line in items)
    table = Table("", "item", *(["title"] if titled else []), "score", *(["why"] if reasons else []))
    for line in items:
        cells = [str(line["rank"]), line["item_id"], *([line["title"]] if titled else []), f"{line['score']:.4g}"]
        if reasons:
            because = ", ".join(cause["title"] or cause["item_id"] for cause in line["reason"])
            content = ", ".join(line.get("matches", []))
            cells.append(f"because of {because}" if because else f"matches {content}" if content else "popular")
        table.add_row(*(console.printable(cell, lines=False) for cell in cells))
    console.output.print(table)
    if len(items) < k:
        console.output.print(f"only {len(items)} items are left that the user has not seen")
    notes = response["notes"]
    assert isinstance(notes, list)
    for note in notes:
        console.output.print(console.printable(note), soft_wrap=True)
