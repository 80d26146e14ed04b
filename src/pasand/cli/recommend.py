"""pasand recommend: ask a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pasand.cli import console

if TYPE_CHECKING:
    from pasand.bundle import Bundle
    from pasand.data.dataset import Dataset
    from pasand.types import Queries, Rows


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    user: str | None = typer.Option(None, help="Id of the user; one who is not in the log is answered too."),
    history: str | None = typer.Option(None, help="Items taken since, or by somebody new: ITEM,ITEM (oldest first)."),
    k: int = typer.Option(10, "-k", min=1, help="Number of items wanted."),
    why: bool = typer.Option(False, "--why", help="Say which items of the history speak for each one."),
    json: Path | None = typer.Option(None, help='Write the answer as JSON to a file; "-": standard output.'),
) -> None:
    """Print the k best items for a user, whether the log knows the user or not."""
    from pasand import bundle as bundles

    with console.progress():
        loaded = bundles.read(bundle)
    answer = recommend(loaded, user, (history or "").split(",") if history else [], k, why)
    if not console.quiet(json):
        show(answer, k)
    console.write_json(json, answer)


def recommend(bundle: Bundle, user: str | None, history: list[str], k: int, why: bool) -> dict[str, object]:
    """Return the answer of a bundle: known (is the user in the log), and a list of rank, item, title, score, reasons.

    Raises InputError for a history item that the bundle does not know.
    """
    from pasand.recommender import reasons

    queries = asked(bundle.data, user, history, min(k, bundle.data.n_items))
    found = bundle.assembly.recommender(queries)
    causes = reasons(bundle.assembly.recommender, queries, found.items) if why else None
    lines = []
    for place, row in enumerate(found.items[0]):
        if row < 0:
            break
        line = {"rank": place + 1, **_item(bundle.data, int(row)), "score": float(found.scores[0, place])}
        if causes is not None:
            line["because"] = [_item(bundle.data, reason.item) for reason in causes[0][place][:3]]
        lines.append(line)
    return {"user": user, "known": bool(queries.users[0] >= 0), "history": queries.history.shape[1], "items": lines}


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


def _item(data: Dataset, row: int) -> dict[str, object]:
    texts = [name for name, feature in data.item_features.items() if feature.kind == "text"]
    names = [name for name in ("title", "name") if name in texts] or texts
    return {"item": data.items.ids([row])[0], "title": data.item_features[names[0]].show(row) if names else ""}


def show(answer: dict[str, object], k: int) -> None:
    """Print the answer as a table, with the reasons where there are any."""
    from rich.table import Table

    items = answer["items"]
    assert isinstance(items, list)
    if not answer["known"]:
        basis = "answered from the given history" if answer["history"] else "answered by what is popular"
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
