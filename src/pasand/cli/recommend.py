"""pasand recommend: ask a bundle."""

from __future__ import annotations

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


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    user: str | None = typer.Option(None, help="Id of the user; one who is not in the log is answered too."),
    history: str | None = typer.Option(None, help="Items taken since, or by somebody new: ITEM,ITEM (oldest first)."),
    feature: list[str] = typer.Option(
        [], help="What the request tells of the user: NAME=VALUE, such as language=Hindi."
    ),
    add: Path | None = typer.Option(None, help="Table of new items, like that of the items: taken in for this answer."),
    k: int = typer.Option(10, "-k", min=1, help="Number of items wanted."),
    why: bool = typer.Option(False, "--why", help="Say which items of the history speak for each one."),
    json: Path | None = typer.Option(None, help='Write the answer as JSON to a file; "-": standard output.'),
) -> None:
    """Print the k best items for a user, whether the log knows the user or not."""
    from pasand import bundle as bundles

    with console.progress():
        loaded = bundles.read(bundle)
        if add is not None:
            loaded = with_items(loaded, add)
    told = told_features(loaded.data, feature)
    answer = recommend(loaded, user, (history or "").split(",") if history else [], k, why, told)
    if not console.quiet(json):
        show(answer, k)
        if why and not explains(loaded):
            console.output.print("no model of this bundle can say why")
    console.write_json(json, answer)


def recommend(
    bundle: Bundle, user: str | None, history: list[str], k: int, why: bool, features: Mapping[str, Array] | None = None
) -> dict[str, object]:
    """Return the answer of a bundle: known (is the user in the log), and a list of rank, item, title, score, reasons.

    With it stand the length of the history and the names of the features that were given. `features`, (1, ...) each,
    are told of the user beyond the log, or in place of what the log says. Raises InputError for a history item that the
    bundle does not know.
    """
    from pasand.explanation import named
    from pasand.recommender import reasons

    queries = asked(bundle.data, user, history, min(k, bundle.data.n_items))
    queries = replace(queries, features={**queries.features, **(features or {})})
    found = bundle.assembly.recommender(queries)
    causes = reasons(bundle.assembly.recommender, queries, found.items) if why and explains(bundle) else None
    lines = []
    for place, row in enumerate(found.items[0]):
        if row < 0:
            break
        line = {"rank": place + 1, **named(bundle.data, int(row)), "score": float(found.scores[0, place])}
        if causes is not None:
            line["because"] = [named(bundle.data, reason.item) for reason in causes[0][place][:3]]
        lines.append(line)
    return {
        "user": user,
        "known": bool(queries.users[0] >= 0),
        "history": queries.history.shape[1],
        "features": sorted(features or {}),
        "items": lines,
    }


def explains(bundle: Bundle) -> bool:
    """Return whether a model of the bundle can say why."""
    from pasand.contracts import Explains

    return any(isinstance(part, Explains) for part in bundle.assembly.components.values())


def with_items(bundle: Bundle, table: Path) -> Bundle:
    """Return the bundle with the items of a table, whose columns are an id and features by the names of the data's.

    Raises InputError for a table that cannot be read, an item that is in the catalogue already, and a column that
    cannot be read as the feature of that name.
    """
    from pasand.data.encoding.cells import as_ids
    from pasand.data.encoding.feature_kinds import features_of
    from pasand.data.log import Options
    from pasand.data.vocabulary import Vocabulary
    from pasand.sources.tables import side_table

    lines = side_table(table, Options())
    new = Vocabulary(as_ids(lines["id"], whole=True).drop_nulls())
    kinds = {name: feature.kind for name, feature in bundle.data.item_features.items()}
    features, _ = features_of(new, lines, kinds, "items", list(kinds), str(table))
    return bundle.add_items(new.series.to_list(), features)


def told_features(data: Dataset, texts: list[str]) -> dict[str, Array]:
    """Return features of one user from texts NAME=VALUE, coded as in the data, (1, ...) each.

    Several values of a bag come as several texts, or as one with | between them. Raises InputError for a name or a
    category that the data do not have, and for a value that cannot be read.
    """
    import polars as pl

    from pasand.data.encoding import feature_kinds
    from pasand.errors import InputError

    given: dict[str, list[str]] = {}
    for text in texts:
        for name, value in console.assignments([text], "--feature").items():
            given.setdefault(name, []).append(value)
    told = {}
    for name, values in given.items():
        known = data.user_features.get(name)
        if known is None:
            cure = f"choose from: {_some(list(data.user_features))}"
            raise InputError("--feature", value=name, cause="the bundle has no such feature of users", cure=cure)
        if len(values) > 1 and known.kind != "bag":
            raise InputError("--feature", value=values[1], cause=f"{name} was given before", cure="give it once")
        found = feature_kinds.feature(pl.Series(["|".join(values)]), known.kind)
        try:
            coded, unknown = found.coded_as(known)
        except ValueError as error:
            raise InputError("--feature", column=name, value=values[0], cause=str(error), cure="mend it") from None
        if unknown:
            cure = f"choose from: {_some(known.names)}"
            raise InputError("--feature", value=unknown[0], cause=f"no such {name} in the bundle", cure=cure)
        if coded.absent().all():
            cause = f"{name} is of kind {known.kind}, which cannot be read from that"
            raise InputError("--feature", value=values[0], cause=cause, cure="write it as in the table of users")
        told[name] = coded.values
    return told


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20]) or "(there are none)"
    return shown + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")


def asked(data: Dataset, user: str | None, history: list[str], k: int) -> Queries:
    """Return the one query: the user's own history, then the given items, now."""
    import numpy as np

    from pasand.errors import InputError

    users = data.users.rows([user] if user is not None else [""])
    items: Rows = data.items.rows([item.strip() for item in history])
    if (items < 0).any():
        unknown = history[int(np.flatnonzero(items < 0)[0])]
        raise InputError("--history", value=unknown, cause="not an item of the bundle", cure="give ids of the log")
    queries = data.queries(users, k=k)
    more = len(items)
    return replace(
        queries,
        history=np.hstack([queries.history, items[None, :]]),
        history_time=np.hstack([queries.history_time, np.repeat(queries.time[:, None], more, 1)]),
        history_value=np.hstack([queries.history_value, np.full((1, more), np.nan, np.float32)]),
        time=queries.time + 1,
    )


def show(answer: dict[str, object], k: int) -> None:
    """Print the answer as a table, with the reasons where there are any."""
    from rich.table import Table

    items = answer["items"]
    assert isinstance(items, list)
    if not answer["known"]:
        given = [name for name in ("history", "features") if answer[name]]
        basis = f"answered from the given {' and '.join(given)}" if given else "answered by what is popular"
        console.output.print(f"{answer['user'] or 'somebody new'}: not in the log, {basis}", markup=False)
    reasons = any("because" in line for line in items)
    titled = any(line["title"] not in ("", line["item"]) for line in items)
    table = Table("", "item", *(["title"] if titled else []), "score", *(["why"] if reasons else []))
    for line in items:
        cells = [str(line["rank"]), line["item"], *([line["title"]] if titled else []), f"{line['score']:.4g}"]
        if reasons:
            because = ", ".join(cause["title"] or cause["item"] for cause in line["because"])
            cells.append(f"because of {because}" if because else "popular")
        table.add_row(*cells)
    console.output.print(table)
    if len(items) < k:
        console.output.print(f"only {len(items)} items are left that this user has not seen")
