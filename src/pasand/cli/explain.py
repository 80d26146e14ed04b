"""pasand explain: explains the rank of an item in a user's recommendations."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pasand.cli import console
from pasand.cli.recommend import HISTORY

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from pasand.bundle import Bundle
    from pasand.data.dataset import Dataset
    from pasand.data.vocabulary import Vocabulary

SHOWN = 8
"""Number of reasons, and of features of a model, that are printed."""


EXAMPLES = ("pasand explain bundle --user 42 --item film-7",)


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    user: str | None = typer.Option(None, help="Id of the user; leave out for an anonymous user."),
    item: str = typer.Option(..., help="Id of the item."),
    history: list[str] = HISTORY,
    feature: list[str] = typer.Option(
        [], help="Feature of the user: NAME=VALUE, such as language=Hindi; may be repeated."
    ),
    k: int = typer.Option(10, "-k", min=1, help="Number of recommendations."),
    json: Path | None = typer.Option(None, help='Write the explanation as JSON to a file; "-": standard output.'),
) -> None:
    """Explain the rank of an item for a user: its sources, its rank after each stage, and the reasons for its score."""
    from pasand import bundle as bundles

    console.check_writable(json)
    with console.progress():
        loaded = bundles.read(bundle)
        explanation = explained(loaded, user, item, history, feature, k)
    if not console.quiet(json):
        show(explanation)
    console.write_json(json, explanation)


def explained(
    bundle: Bundle, user: str | None, item: str, history: list[str], feature: list[str], k: int
) -> dict[str, Any]:
    """Return the explanation of an item's rank, in ids, titles and numbers.

    Raises InputError for an item that is not in the bundle, and for such a user unless a history is given. The message
    names near matches.
    """
    from dataclasses import replace

    from pasand.cli.recommend import history_items, single_query, user_features
    from pasand.explanation import explain

    data = bundle.data
    row = row_of(data.items, item, "--item", data)
    if user is not None and not history:
        row_of(data.users, user, "--user")
    given = history_items(data, history)
    for name in given:
        row_of(data.items, name, "--history", data)
    query = single_query(data, user, given, min(k, data.n_items))
    query = replace(query, features={**query.features, **user_features(data, feature)})
    found = explain(bundle.assembly.recommender, query, row, bundle.assembly.components)
    return {"user_id": user, "known": bool(query.users[0] >= 0), **found.as_json(data)}


def row_of(vocabulary: Vocabulary, name: str, option: str, titled: Dataset | None = None) -> int:
    """Return the row of an id; raises InputError for an unknown id, naming near matches among ids and titles."""
    from pasand.errors import InputError

    row = int(vocabulary.rows([name])[0])
    if row >= 0:
        return row
    ids = vocabulary.series.to_list()
    near = get_close_matches(name, ids, n=3, cutoff=0.5)
    if titled is not None:
        titles = {titled.title(row): item_id for row, item_id in enumerate(ids)}
        titles.pop("", None)
        found = [title for title in titles if name.lower() in title.lower()] or get_close_matches(name, titles, n=3)
        with_titles = [titles[title] + ("" if title == titles[title] else f" ({title})") for title in found]
        near = [*with_titles, *(item_id for item_id in near if item_id not in [titles[title] for title in found])]
    cure = f"did you mean {', '.join(near[:3])}?" if near else "give an id of the log"
    kind = "a user" if option == "--user" else "an item"
    alternative = ", or give the items of a new user with --history" if option == "--user" else ""
    raise InputError(option, value=name, cause=f"not {kind} of the bundle", cure=cure.rstrip("?") + alternative)


def show(explanation: dict[str, Any]) -> None:
    """Print the item's rank, its sources, its rank after each stage, and the reasons and features behind its score."""
    from rich.text import Text

    out = console.output
    user = console.printable(explanation["user_id"] or "an anonymous user", lines=False)
    out.print(Text.assemble((_name(explanation["item"]), "bold"), " for ", (user, "bold")), soft_wrap=True)
    out.print(_verdict(explanation), soft_wrap=True)
    out.print(_sources(explanation["sources"]))
    out.print(_steps(explanation["steps"]))
    for move in explanation["moves"]:
        out.print(console.printable(move["text"], lines=False), markup=False, soft_wrap=True)
    if explanation["above"]:
        out.print(_list("items ranked above it" if explanation["rank"] else "recommended items", explanation["above"]))
    elif explanation["rank"] == 1:
        out.print("no item is ranked above it")
    if explanation["reason"]:
        table = _table("history items behind it", "item", "share of the score")
        for reason in explanation["reason"][:SHOWN]:
            table.add_row(_name(reason), f"{reason['weight']:+.4g}")
        out.print(table)
    else:
        out.print("no history item contributed to its score")
    for influence in explanation["influences"]:
        method = "fall of the score if unknown" if influence["method"] == "left out" else "share of the score"
        table = _table(f"inputs that moved the score of {influence['name']} ({influence['kind']})", "input", method)
        for feature in influence["features"][:SHOWN]:
            table.add_row(console.printable(feature["feature"], lines=False), f"{feature['contribution']:+.4g}")
        out.print(table)
    for name in explanation["unexplained"]:
        out.print(f"{name} cannot explain its score", markup=False)


def _verdict(explanation: dict[str, Any]) -> Text:
    from rich.text import Text

    if explanation["excluded_by"]:
        filters = ", ".join(explanation["excluded_by"])
        rest = f" by {filters}; the ranks below are those that it would have otherwise"
        return Text.assemble(("excluded", "bold red"), rest)
    if explanation["rank"]:
        rank = (f"rank {explanation['rank']}", "green")
        return Text.assemble(rank, f" of the {explanation['k']} recommended items")
    steps, refused = explanation["steps"], ("not recommended", "red")
    if not steps[0]["rank"]:
        return Text.assemble(refused, f": it is not among the {steps[0]['of']:,} candidates retrieved")
    dropped_by = next((step["name"] for step in steps if not step["rank"]), None)
    if dropped_by:
        return Text.assemble(refused, f": {dropped_by} dropped it")
    only = f"only {explanation['k']} items are recommended"
    return Text.assemble(refused, f": its rank is {steps[-1]['rank']}, and {only}")


def _sources(sources: list[dict[str, Any]]) -> Table:
    from rich.text import Text

    table = _table("sources of candidates", "source", "model", "rank", "score", "")
    for source in sources:
        rank = f"{source['rank']:,} of {source['of']:,}" if source["rank"] else f"not in its {source['of']:,}"
        note = Text("ranked too low" if source["rank"] else "")
        note = Text("candidate", style="green") if source["proposed"] else note
        note = note if source["used"] else Text("not used")
        style = None if source["proposed"] else "dim"
        table.add_row(source["name"], source["kind"], rank, _figure(source["score"]), note, style=style)
    return table


def _steps(steps: list[dict[str, Any]]) -> Table:
    from rich.text import Text

    table = _table("rank after each step", "step", "rank before", "rank after", "moved", "score")
    before = None
    for number, step in enumerate(steps):
        rank, moved = step["rank"], Text()
        if number and before and rank:
            up = before - rank
            moved = Text(f"{up:+}" if up else "=", style="green" if up > 0 else "red" if up else "")
        elif number and before:
            moved = Text("dropped", style="red")
        after = f"{rank:,} of {step['of']:,}" if rank else f"not in the {step['of']:,}"
        table.add_row(
            f"{step['name']} ({step['kind']})" if step["name"] != step["kind"] else step["name"],
            f"{before:,}" if number and before else "",
            after,
            moved,
            _figure(step["score"]),
        )
        before = rank
    return table


def _list(title: str, lines: list[dict[str, Any]]) -> Table:
    table = _table(title, "rank", "item", "score")
    for line in lines:
        table.add_row(str(line["rank"]), _name(line), _figure(line["score"]))
    return table


def _table(title: str, *head: str) -> Table:
    from rich import box
    from rich.table import Table

    shape: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "min_width": len(title)}
    table = Table(title=title, title_justify="left", title_style="bold", **shape)
    for name in head:
        right = name.startswith(("rank", "score", "share", "fall", "moved"))
        table.add_column(name, justify="right" if right else "left")
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _name(item: dict[str, Any]) -> str:
    titled = item["title"] not in ("", item["item_id"])
    return console.printable(f"{item['title']} ({item['item_id']})" if titled else item["item_id"], lines=False)
