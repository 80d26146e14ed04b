"""pasand explain: why an item stands where it stands in a user's list."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pasand.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from pasand.bundle import Bundle
    from pasand.data.dataset import Dataset
    from pasand.data.vocabulary import Vocabulary

SHOWN = 8
"""Reasons, and features of a model, that are printed."""


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    user: str | None = typer.Option(None, help="Id of the user; leave out for somebody new."),
    item: str = typer.Option(..., help="Id of the item."),
    history: str | None = typer.Option(None, help="Items taken since, or by somebody new: ITEM,ITEM (oldest first)."),
    feature: list[str] = typer.Option(
        [], help="What the request tells of the user: NAME=VALUE, such as language=Hindi."
    ),
    k: int = typer.Option(10, "-k", min=1, help="Length of the list."),
    json: Path | None = typer.Option(None, help='Write the answer as JSON to a file; "-": standard output.'),
) -> None:
    """Say who proposed an item to a user, what each stage did with it, and what speaks for it."""
    from pasand import bundle as bundles

    console.check_writable(json)
    with console.progress():
        loaded = bundles.read(bundle)
        told = answer(loaded, user, item, history, feature, k)
    if not console.quiet(json):
        show(told)
    console.write_json(json, told)


def answer(
    bundle: Bundle, user: str | None, item: str, history: str | None, feature: list[str], k: int
) -> dict[str, Any]:
    """Return the explanation of a bundle, in ids, titles and numbers.

    Raises InputError for an item that the bundle does not know, and for such a user unless a history is given; the
    message names near matches.
    """
    from dataclasses import replace

    from pasand.cli.recommend import asked, told_features
    from pasand.explanation import explain

    data = bundle.data
    row = known(data.items, item, "--item", data)
    if user is not None and history is None:
        known(data.users, user, "--user")
    given = history.split(",") if history else []
    for one in given:
        known(data.items, one.strip(), "--history", data)
    queries = asked(data, user, given, min(k, data.n_items))
    queries = replace(queries, features={**queries.features, **told_features(data, feature)})
    found = explain(bundle.assembly.recommender, queries, row, bundle.assembly.components)
    return {"user": user, "known": bool(queries.users[0] >= 0), **found.as_json(data)}


def known(vocabulary: Vocabulary, name: str, option: str, titled: Dataset | None = None) -> int:
    """Return the row of an id; raises InputError, naming near matches, by title as well where there are titles."""
    from pasand.errors import InputError

    row = int(vocabulary.rows([name])[0])
    if row >= 0:
        return row
    ids = vocabulary.series.to_list()
    near = get_close_matches(name, ids, n=3, cutoff=0.5)
    if titled is not None:
        titles = {titled.title(at): one for at, one in enumerate(ids)}
        titles.pop("", None)
        found = [title for title in titles if name.lower() in title.lower()] or get_close_matches(name, titles, n=3)
        named = [titles[title] + ("" if title == titles[title] else f" ({title})") for title in found]
        near = [*named, *(one for one in near if one not in [titles[title] for title in found])]
    cure = f"did you mean {', '.join(near[:3])}?" if near else "give an id of the log"
    kind = "a user" if option == "--user" else "an item"
    more = ", or say what somebody new took with --history" if option == "--user" else ""
    raise InputError(option, value=name, cause=f"not {kind} of the bundle", cure=cure.rstrip("?") + more)


def show(told: dict[str, Any]) -> None:
    """Print where the item stands, its sources, its way through the stages, and what speaks for it."""
    from rich.markup import escape

    out = console.output
    who = told["user"] or "somebody new"
    out.print(f"[bold]{escape(_name(told['item']))}[/] for [bold]{escape(who)}[/]", soft_wrap=True)
    out.print(_verdict(told), soft_wrap=True)
    out.print(_sources(told["sources"]))
    out.print(_steps(told["steps"]))
    if told["above"]:
        out.print(_list("above it" if told["rank"] else "the list", told["above"]))
    elif told["rank"] == 1:
        out.print("nothing stands above it")
    if told["because"]:
        table = _table("because of the history", "item", "share of the score")
        for cause in told["because"][:SHOWN]:
            table.add_row(escape(_name(cause)), f"{cause['weight']:+.4g}")
        out.print(table)
    else:
        out.print("no item of the history speaks for it")
    for influence in told["influences"]:
        how = "fall of the score when not known" if influence["method"] == "left out" else "share of the score"
        table = _table(f"what moved the score of {influence['name']} ({influence['kind']})", "input", how)
        for feature in influence["features"][:SHOWN]:
            table.add_row(escape(feature["feature"]), f"{feature['contribution']:+.4g}")
        out.print(table)
    for name in told["silent"]:
        out.print(f"{name} cannot say what moved its score", markup=False)


def _verdict(told: dict[str, Any]) -> str:
    if told["barred_by"]:
        return f"[bold red]barred[/] by {', '.join(told['barred_by'])}; below is the way it would go otherwise"
    if told["rank"]:
        return f"[green]rank {told['rank']}[/] of the {told['k']} shown"
    steps = told["steps"]
    if not steps[0]["rank"]:
        return f"[red]not shown[/]: it was not among the {steps[0]['of']:,} candidates retrieved"
    lost = next((step["name"] for step in steps if not step["rank"]), None)
    if lost:
        return f"[red]not shown[/]: {lost} dropped it"
    return f"[red]not shown[/]: it came to rank {steps[-1]['rank']}, and {told['k']} are shown"


def _sources(sources: list[dict[str, Any]]) -> Table:
    table = _table("who proposed it", "source", "model", "rank", "score", "")
    for source in sources:
        rank = f"{source['rank']:,} of {source['of']:,}" if source["rank"] else f"not in its {source['of']:,}"
        note = "[green]proposed it[/]" if source["proposed"] else "too far down" if source["rank"] else ""
        note = note if source["asked"] else "not asked"
        style = None if source["proposed"] else "dim"
        table.add_row(source["name"], source["kind"], rank, _figure(source["score"]), note, style=style)
    return table


def _steps(steps: list[dict[str, Any]]) -> Table:
    table = _table("what became of it", "step", "rank before", "rank after", "moved", "score")
    before = None
    for number, step in enumerate(steps):
        rank, moved = step["rank"], ""
        if number and before and rank:
            up = before - rank
            moved = f"[green]+{up}[/]" if up > 0 else f"[red]{up}[/]" if up < 0 else "="
        elif number and before:
            moved = "[red]dropped[/]"
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
    from rich.markup import escape

    table = _table(title, "rank", "item", "score")
    for line in lines:
        table.add_row(str(line["rank"]), escape(_name(line)), _figure(line["score"]))
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
    return f"{item['title']} ({item['item']})" if item["title"] not in ("", item["item"]) else str(item["item"])
