"""pasand compare: which recommender is best on this log, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pasand.cli import console
from pasand.cli.source import (
    COLUMN,
    HISTORIES,
    IMPRESSIONS,
    POSITIVE_FROM,
    PROTOCOL,
    QUERY,
    SOURCE,
    opened,
    protocol_of,
)
from pasand.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from pasand.data.dataset import Dataset
    from pasand.evaluation.compare import Comparison, Entry
    from pasand.evaluation.funnel import Funnel

LESSER = ("MB", "coverage", "fit s", "recall", "rmse", "cold items", "cold", "warm")
"""Columns of the leaderboard that a narrow terminal does without, first the one that matters least."""

MODELS = ("item_knn", "user_knn", "ease", "ials", "biased_mf")
MANY_ITEMS = 10_000
"""Items above which EASE, cubic in them, is not compared unasked."""


def command(
    source: str = SOURCE,
    models: str | None = typer.Option(
        None, help="Models and recipes (NAME.toml where a model has that name), commas between; popularity is there."
    ),
    protocol: str | None = PROTOCOL,
    histories: str | None = HISTORIES,
    k: str = typer.Option("10", help="Lengths of list with commas between; the first decides."),
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    set_: list[str] = typer.Option(
        [],
        "--set",
        help="A hyper-parameter, as MODEL.FIELD=VALUE (VALUE,VALUE or none for lists) or RECIPE.TABLE.OPTION=VALUE; "
        "may be repeated.",
    ),
    parts: bool = typer.Option(False, "--parts", help="Put the parts of each recipe beside it, each answering alone."),
    metrics: str | None = typer.Option(None, help="Further metrics with commas between, such as auc."),
    query: str | None = QUERY,
    positive_from: float | None = POSITIVE_FROM,
    column: list[str] = COLUMN,
    impressions: str | None = IMPRESSIONS,
    json: Path | None = typer.Option(None, help='Write all figures as JSON to a file; "-": standard output.'),
    report: Path | None = typer.Option(None, help="Write a page with plots to this HTML file."),
) -> None:
    """Train models on one part of SOURCE and rank them by what they foresee of the other."""
    from pasand.evaluation.compare import compare
    from pasand.evaluation.memory_estimate import needed
    from pasand.evaluation.report import contents
    from pasand.evaluation.report import html as reports

    ks = lengths(k)
    console.check_writable(json, report)
    with console.progress():
        data = opened(source, query, positive_from, column, impressions=impressions, quiet=console.quiet(json))
        named = models.split(",") if models else None
        chosen = contenders(data, named, console.assignments(set_, "--set"), seed, parts=parts)
        console.errors.print(str(needed(data, [contender.model for contender in chosen])), markup=False)
        asked = protocol_of(data, source, protocol, histories)
        comparison = compare(data, chosen, asked, ks=ks, seed=seed, metrics=metrics.split(",") if metrics else None)
    if not console.quiet(json):
        show(comparison)
    console.write_json(json, comparison.as_json())
    if report is not None:
        reports.write(report, contents.of_comparison(comparison))
        console.errors.print(f"report written to {report}", markup=False)


def lengths(text: str) -> list[int]:
    """Return the lengths of list that a text names; raises InputError where one is no whole number above 0."""
    ks = [int(piece) if piece.strip().isdecimal() else 0 for piece in text.split(",")]
    if 0 in ks:
        raise InputError("--k", value=text, cause="not whole numbers of at least 1", cure="write --k 10 or --k 10,20")
    return ks


def contenders(
    data: Dataset, names: Sequence[str] | None, changes: Any = None, seed: int = 0, *, parts: bool = False
) -> list[Entry]:
    """Return the contenders of these names, by default those that the data can carry, with changed fields."""
    from pasand import models
    from pasand import recipe as recipes
    from pasand.evaluation.compare import RECENT, entry
    from pasand.evaluation.recipe_entries import Shared, beside_parts, of_recipe
    from pasand.evaluation.tune import OfRecipe, changed, single
    from pasand.models.classical.ease import memory_free, memory_needed

    changes = dict(changes or {})
    if names is None:
        names = [name for name in MODELS if name != "biased_mf" or data.values == "rating"]
        if data.n_items > MANY_ITEMS or memory_needed(data.n_items) > memory_free() // 2:
            size = memory_needed(data.n_items) / 1e9
            told = f"ease is left out: {data.n_items:,} items take it minutes and {size:.1f} GB; name it in --models"
            console.errors.print(told, markup=False)
            names = [name for name in names if name != "ease"]
    chosen: list[Entry] = []
    shared, texts = Shared(seed), {}
    for name in dict.fromkeys(name.strip() for name in names if name.strip() != RECENT):
        if name.endswith(".toml") or (name in recipes.packaged() and name not in models.classes()):
            file = Path(name)
            label = file.name if file.stem in models.classes() else file.stem
            text = recipes.read(name).text
            if own := _own(changes, label):
                searched = OfRecipe(label, text, seed)
                text = recipes.changed(text, {option: searched.value(option, told) for option, told in own.items()})
            texts[label] = text
            chosen.append(of_recipe(label, text, shared))
            continue
        model: Any = models.find(name)()
        chosen.append(entry(name, changed(model, single(model, _own(changes, name)))))
    if changes:
        raise InputError("--set", value=next(iter(changes)), cause="of no model in the comparison", cure="add it")
    return beside_parts(chosen, texts, shared) if parts else chosen


def _own(changes: dict[str, str], name: str) -> dict[str, str]:
    """Return, and take out of the changes, those of one contender, without its name."""
    own = [key for key in changes if key.startswith(f"{name}.")]
    return {key.removeprefix(f"{name}."): changes.pop(key) for key in own}


def show(comparison: Comparison) -> None:
    """Print the leaderboard, best first, with the rules by which it came about."""
    from pasand.evaluation.compare import ALL_TIME, RECENT
    from pasand.evaluation.report.contents import sentence

    out, split, k = console.output, comparison.splits[0], comparison.ks[0]
    out.print(f"[bold]protocol[/] {comparison.protocol}")
    style = "bold red" if split.leaks else "green"
    out.print(f"[{style}]{sentence(split).partition('. ')[2]}[/]")
    for name, rule in comparison.rules.items():
        out.print(f"  {name}: {rule}", markup=False, style="dim")
    users, new = comparison.results[0].evaluation.n_users, comparison.results[0].evaluation.n_cold_items
    for_new = f"; {users['cold_items']:,} of them for {new:,} cold items" if new else ""
    out.print(f"asked: {users['overall']:,} users, {users['warm']:,} warm and {users['cold']:,} cold{for_new}")
    if not users["overall"]:
        out.print("[bold red]nothing is relevant[/]: no test event is a liking, so lists cannot be judged", style="red")
    main = [f"ndcg@{k}", f"recall@{k}", f"coverage@{k}", "rmse"]
    main = [name for name in main if any(name in r.evaluation.overall for r in comparison.results)]
    head = [
        "model",
        f"{main[0]} [95 %]",
        *main[1:],
        "warm",
        "cold",
        *(["cold items"] if new else []),
        "beats popularity",
        "fit s",
        "MB",
    ]
    rows = []
    for result in comparison.results:
        told = result.evaluation
        first = told.overall[main[0]]
        told_first = f"{first.mean:.4f} [{first.low:.4f}, {first.high:.4f}]" if first.mean == first.mean else ""
        cells = [told_first]
        cells += [_figure(told.overall, name) for name in main[1:]]
        cells += [_figure(part, main[0]) for part in (told.warm, told.cold, *([told.cold_items] if new else []))]
        baseline = result.name in (ALL_TIME, RECENT)
        beats = "baseline" if baseline else "yes" if result.beats_popularity else "NO"
        sure = "" if baseline or not result.corrected < 0.05 else " (p < .05)"
        rows.append([result.name, *cells, beats + sure, f"{result.fit_seconds:.2f}", f"{result.peak_memory_mb:.0f}"])
    out.print(board(head, rows, out.width))
    if comparison.hybrids:
        out.print(against_parts(comparison))
    for result in comparison.results:
        if result.funnel is not None and users["overall"]:
            recall = ", ".join(f"{value:.4f} at {depth}" for depth, value in result.funnel.recall.items())
            out.print(
                f"{result.name}: recall of the candidates {recall}; {result.funnel.n_candidates} are taken",
                markup=False,
            )
            out.print(stages(result.funnel))
        if result.minutes is not None:
            total = float(result.minutes.count @ result.minutes.came)
            compared = (
                f"minutes foreseen of {result.minutes.count.sum():,} later impressions, against {total:,.0f} watched"
            )
            out.print(f"{result.name}: {compared}; by tenth, least foreseen first: {result.minutes}", markup=False)
    for name, reason in comparison.failed.items():
        out.print(f"{name} failed: {reason}", markup=False)


def board(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """Return the leaderboard; where the terminal is narrow, without the columns that matter least."""
    from rich.table import Table
    from rich.text import Text

    kept = list(range(len(head)))
    lesser = [i for name in LESSER for i in kept if head[i].partition("@")[0] == name]

    def needs() -> int:
        return 1 + sum(3 + max(len(row[i]) for row in (head, *rows)) for i in kept)

    while needs() > width and lesser:
        kept.remove(lesser.pop(0))
    table = Table()
    for i in kept:
        table.add_column(Text(head[i]), justify="right" if i else "left", no_wrap=needs() <= width)
    for row in rows:
        table.add_row(*(Text(row[i], style="bold red" if row[i].startswith("NO") else "") for i in kept))
    return table


def against_parts(comparison: Comparison) -> Table:
    """Return the table of hybrids, each against the best of its parts."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"hybrids against the best of their parts here, {comparison.decided_by}, paired by user"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("hybrid", "best part", "difference [95 %]", "p (Holm)", ""):
        table.add_column(column, justify="right" if column.startswith(("difference", "p (")) else "left")
    for hybrid in comparison.hybrids:
        told = f"{hybrid.difference.mean:+.4f} [{hybrid.difference.low:+.4f}, {hybrid.difference.high:+.4f}]"
        sure = "" if hybrid.corrected != hybrid.corrected else f"{hybrid.corrected:.3g}"
        table.add_row(escape(hybrid.name), escape(hybrid.best), escape(told), sure, hybrid.verdict)
    return table


def stages(funnel: Funnel) -> Table:
    """Return the table of a recommender's parts."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("part", "ndcg@10 before", "ndcg@10 after", "ms a query"):
        table.add_column(column, justify="left" if column == "part" else "right")
    before = ""
    for part in funnel.parts:
        after = f"{part.ndcg:.4f}"
        table.add_row(escape(part.name), before, after, f"{part.milliseconds:.2f}")
        before = after
    return table


def _figure(values: Any, name: str) -> str:
    value = values.get(name)
    return "" if value is None or value.mean != value.mean else f"{value.mean:.4f}"
