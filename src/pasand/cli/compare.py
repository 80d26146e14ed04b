"""pasand compare: ranks models and recipes on a log by their test metrics, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pasand.cli import console
from pasand.cli.source import HISTORIES, PROTOCOL, Reading, reads_log
from pasand.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from pasand.evaluation.compare import Comparison
    from pasand.evaluation.funnel import Funnel
    from pasand.evaluation.protocols import SplitsData
    from pasand.evaluation.significance import PairedComparison

GROUP_COLUMNS = {
    "0 events": "0",
    "1-5 events": "1-5",
    "6-20 events": "6-20",
    "more than 20 events": "> 20",
    "users not in train": "not in train",
}
"""Column of the leaderboard by group of test queries."""
OPTIONAL_COLUMNS = (
    *("MB", "coverage", "fit s", "recall", "rmse", "cold items", "not in train", "> 20", "6-20", "1-5", "0"),
    "over seeds",
)
"""Columns of the leaderboard that are left out on a narrow terminal, the least important first."""

VERDICT_STYLES = {"worse": "bold red", "not shown": "yellow"}
"""Style of a cell that begins with this verdict."""
NOT_IN_TRAIN = "users not in train"


EXAMPLES = (
    "pasand compare events.csv --items products.csv --report report.html",
    "pasand compare events.csv --models ease,ials,item_knn --out bundle",
    "pasand compare events.csv --events 'purchase=3,cart=2,view=1' --json report.json",
)


@reads_log
def command(
    log: Reading,
    models: str | None = typer.Option(
        None,
        help="Models and recipes to compare, separated by commas; write NAME.toml for a recipe with the name of a "
        "model. Popularity is always included.",
    ),
    protocol: str | None = PROTOCOL,
    histories: str | None = HISTORIES,
    k: str = typer.Option("10", help="List lengths, separated by commas; the first one ranks the models."),
    seed: int = typer.Option(0, min=0, help="Seed of all random numbers."),
    seeds: int = typer.Option(
        1,
        min=1,
        help="Train models whose training is random with this number of seeds, --seed and the next ones, and show the "
        "mean and the standard deviation over seeds.",
    ),
    set_: list[str] = typer.Option(
        [],
        "--set",
        help="Set a hyper-parameter, as MODEL.FIELD=VALUE (VALUE,VALUE or none for lists) or "
        "RECIPE.TABLE.OPTION=VALUE; may be repeated.",
    ),
    parts: bool = typer.Option(False, "--parts", help="Compare each recipe with each of its parts alone as well."),
    robust: bool = typer.Option(
        False,
        "--robust",
        help="Find profiles in train that seem to push an item, and let their events count less in training; see "
        "docs/attacks.md.",
    ),
    isolate: bool = typer.Option(
        False,
        "--isolate",
        help="Train and test every model in a process of its own, so that a crash costs its row only; models that need "
        "most of the free memory always are.",
    ),
    metrics: str | None = typer.Option(None, help="Further metrics, separated by commas, such as auc."),
    json: Path | None = typer.Option(None, help='Write all results as JSON to a file; "-": standard output.'),
    report: Path | None = typer.Option(None, help="Write a report with plots to this HTML file."),
    out: Path | None = typer.Option(None, help="Fit the best to all events, and save it as a bundle in this folder."),
) -> None:
    """Train models on one part of SOURCE, test them on the rest, and print a leaderboard."""
    from pasand.bundle_files import check_target
    from pasand.cli.fit import fit_winner, show_written
    from pasand.evaluation.compare import compare
    from pasand.evaluation.contenders import contenders
    from pasand.evaluation.memory_estimate import training_memory
    from pasand.evaluation.report import contents
    from pasand.evaluation.report import html as reports
    from pasand.evaluation.verdict import verdict
    from pasand.evaluation.winner import winner

    ks, changes = list_lengths(k), console.assignments(set_, "--set")
    console.check_writable(json, report)
    if out is not None:
        check_target(out)
        console.check_folder(out)
    printed: set[str] = set()

    def kept(comparison: Comparison) -> None:
        """Write the results so far as JSON, and print the new one."""
        if not console.quiet(json):
            console.write_json(json, comparison.as_json())
        for result in comparison.results:
            if result.name not in printed:
                value = result.evaluation.overall[comparison.main_metric]
                figures = f"{comparison.main_metric} {str(value) or 'undefined'}; fitted in {result.fit_seconds:.2f} s"
                console.errors.print(f"{result.name}: {figures}", soft_wrap=True)
                printed.add(result.name)

    with console.progress():
        data = log.opened(quiet=console.quiet(json))
        named = models.split(",") if models else None
        chosen = contenders(data, named, changes, seed, parts=parts)
        components = [component for contender in chosen for component in contender.components]
        console.errors.print(str(training_memory(data, components)))
        splits = log.protocol(data, protocol, histories)
        if robust:
            splits = weighing(splits, components)
        comparison = compare(
            data,
            chosen,
            splits,
            ks=ks,
            seed=seed,
            n_seeds=seeds,
            metrics=metrics.split(",") if metrics else None,
            isolate=isolate,
            on_result=kept,
        )
    if not console.quiet(json):
        show(comparison)
        if comparison.complete:
            console.output.print(verdict(comparison), style="bold", markup=False, soft_wrap=True)
    console.write_json(json, comparison.as_json())
    if report is not None:
        reports.write(report, contents.comparison_report(comparison))
        console.errors.print(f"report written to {report}", markup=False)
    if not comparison.complete:
        raise KeyboardInterrupt
    if out is not None:
        won = winner(comparison.as_json(), data.name)
        fit_winner(won, data, out, seed=seed, robust=robust)
        if not console.quiet(json):
            console.output.print(f"{won.name}: {won.sentence}", markup=False, soft_wrap=True)
            show_written(out, data, report)
    elif not console.quiet(json) and comparison.results[0].evaluation.n_users["overall"]:
        options = fitting_options(comparison, json, named or [], changes)
        if options is None:
            line = "to fit it, add to this command: --out bundle"
        else:
            options += f" --seed {seed}" * bool(seed) + " --robust" * robust
            line = f"fit it: {console.program()} fit {log.typed()} {options} --out bundle"
        console.output.print(line, markup=False, soft_wrap=True)


def weighing(protocol: SplitsData, components: Sequence[object]) -> SplitsData:
    """Return the protocol with training weights, and warn of the models that do not use them."""
    from pasand.attacks.weighing import RobustSplits, without_weights

    if ignoring := without_weights(components):
        text = f"warning: these models count every event fully: {', '.join(ignoring)}"
        console.errors.print(text, markup=False, soft_wrap=True, style="yellow")
    return RobustSplits(protocol)


def fitting_options(
    comparison: Comparison, json: Path | None, named: Sequence[str], changes: Mapping[str, str]
) -> str | None:
    """Return the options of `pasand fit` that fit the best recommender of a comparison, with its changes of settings.

    None if no options do: a recipe with changes, and a part of one.
    """
    from shlex import quote

    from pasand.evaluation.winner import winner
    from pasand.models import classes

    if json is not None:
        return f"--like {quote(str(json))}"
    best = winner(comparison.as_json()).name
    baseline = {"popularity_half_life": " --set half_life_days=14"}
    baseline |= {f"popularity_{days}_days": f" --set window_days={days}" for days in (7, 30)}
    if best in comparison.baselines:
        return f"--model popularity{baseline.get(best, '')}"
    own = {key.removeprefix(f"{best}."): value for key, value in changes.items() if key.startswith(f"{best}.")}
    if best in classes():
        return " ".join([f"--model {best}", *(f"--set {quote(f'{field}={own[field]}')}" for field in own)])
    files = [Path(name.strip()) for name in named]
    typed = next((str(file) for file in files if best in (file.name, file.stem)), None)
    return None if own or typed is None else f"--recipe {quote(typed)}"


def list_lengths(text: str) -> list[int]:
    """Return the list lengths of a text such as "10,20"; raises InputError unless all are whole numbers above 0."""
    ks = [int(piece) if piece.strip().isdecimal() else 0 for piece in text.split(",")]
    if 0 in ks:
        raise InputError("--k", value=text, cause="not whole numbers of at least 1", cure="write --k 10 or --k 10,20")
    return ks


def show(comparison: Comparison) -> None:
    """Print the leaderboard, best first, with the evaluation protocol and its rules."""
    from rich.text import Text

    from pasand.evaluation.report.contents import describe_leakage
    from pasand.evaluation.training_seeds import spread_text
    from pasand.evaluation.verdict import repeats

    out, split, k = console.output, comparison.splits[0], comparison.ks[0]
    out.print(Text.assemble(("protocol", "bold"), " ", comparison.protocol))
    style = "bold red" if split.leakage else "green"
    out.print(describe_leakage(split), style=style)
    for name, rule in comparison.rules.items():
        out.print(f"  {name}: {rule}", markup=False, style="dim")
    first = comparison.results[0].evaluation
    users, new, groups = first.n_users, first.n_cold_items, [group for group in first.groups if group.n_users]
    for_new = f"; {users['cold_items']:,} have test queries for {new:,} cold items" if new else ""
    out.print(f"test users: {users['overall']:,}, {users['not_in_train']:,} of them not in train{for_new}")
    if groups:
        sizes = ", ".join(f"{group.n_queries:,} of {group.n_users:,} users with {group.name}" for group in groups)
        sizes = sizes.replace(f"users with {NOT_IN_TRAIN}", NOT_IN_TRAIN)
        out.print(f"test queries by number of events in their history: {sizes}")
    n_events = sum(len(split.test) for split in comparison.splits)
    n_repeats = sum(int(repeats(comparison.data, split.test).sum()) for split in comparison.splits)
    if 2 * n_repeats > n_events:
        repeated = f"{n_repeats:,} of {n_events:,} test events are repeats of items that their user already had"
        out.print(f"{repeated}: they are no test queries")
    main = [f"ndcg@{k}", f"recall@{k}", f"coverage@{k}", "rmse"]
    main = [name for name in main if any(name in r.evaluation.overall for r in comparison.results)]
    head = [
        "model",
        f"{main[0]} [95 %]",
        *(["over seeds"] if comparison.n_seeds > 1 else []),
        *main[1:],
        *(GROUP_COLUMNS[group.name] for group in groups),
        *(["cold items"] if new else []),
        "against popularity",
        "fit s",
        "MB",
    ]
    rows = []
    for result in comparison.results:
        evaluation = result.evaluation
        parts = [group.metrics for group in evaluation.groups if group.n_users]
        parts += [evaluation.cold_items] if new else []
        cells = [str(evaluation.overall[main[0]])]
        if comparison.n_seeds > 1:
            cells.append(spread_text(evaluation.seed_means[main[0]]) or "trained once")
        cells += [_figure(evaluation.overall, name) for name in main[1:]]
        cells += [_figure(part, main[0]) for part in parts]
        compared = result.against_popularity
        verdict = result.role if compared is None else f"{compared.verdict}, {compared.p_text}"
        costs = [f"{result.fit_seconds:.2f}", f"{result.peak_memory_mb:.0f}"]
        rows.append([result.name, *cells, verdict, *costs])
    rows += [[name, "failed", *[""] * (len(head) - 2)] for name in comparison.failed]
    out.print(leaderboard(head, rows, out.width))
    against = {r.name: r.against_popularity for r in comparison.results if r.against_popularity is not None}
    for title, compared_pairs in (
        (f"models compared with {comparison.best_baseline}, the best of the popularity baselines", against),
        ("hybrids compared with the best of their parts", {h.name: h.comparison for h in comparison.hybrids}),
    ):
        if compared_pairs and users["overall"]:
            out.print(comparison_table(f"{title}: {comparison.main_metric}, paired by user", compared_pairs))
    for result in comparison.results:
        if result.funnel is not None and users["overall"]:
            recall = ", ".join(f"{value:.4f} at {depth}" for depth, value in result.funnel.recall.items())
            retrieved = f"{result.funnel.n_candidates} candidates are retrieved"
            out.print(f"{result.name}: candidate recall {recall}; {retrieved}", markup=False)
            out.print(funnel_table(result.funnel))
        if result.minutes is not None:
            total = float(result.minutes.count @ result.minutes.observed)
            pairs = f"{result.minutes.count.sum():,} test impressions with {total:,.0f} minutes watched"
            errors = f"error of the predicted minutes by decile, lowest first: {result.minutes}"
            out.print(f"{result.name}: {pairs}; {errors}", markup=False)
    for name, cause in comparison.failed.items():
        out.print(f"{name} failed: {cause}")


def leaderboard(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """Return the leaderboard; for a narrow terminal, without the least important columns."""
    from rich.table import Table
    from rich.text import Text

    kept = list(range(len(head)))
    optional = [i for name in OPTIONAL_COLUMNS for i in kept if head[i].partition("@")[0] == name]

    def table_width() -> int:
        return 1 + sum(3 + max(len(row[i]) for row in (head, *rows)) for i in kept)

    while table_width() > width and optional:
        kept.remove(optional.pop(0))
    table = Table()
    for i in kept:
        table.add_column(Text(head[i]), justify="right" if i else "left", no_wrap=table_width() <= width)
    for row in rows:
        table.add_row(
            *(
                Text(console.printable(row[i], lines=False), style=VERDICT_STYLES.get(row[i].partition(",")[0], ""))
                for i in kept
            )
        )
    return table


def comparison_table(title: str, compared: Mapping[str, PairedComparison]) -> Table:
    """Return the table of paired comparisons, by name, with difference, p value and verdict."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "compared with", "difference [95 %]", "p (Holm)", "verdict"):
        table.add_column(column, justify="right" if column.startswith(("difference", "p (")) else "left")
    for name, pair in compared.items():
        names = [console.printable(cell, lines=False) for cell in (name, pair.reference)]
        verdict = Text(pair.verdict, style=VERDICT_STYLES.get(pair.verdict, ""))
        table.add_row(*names, pair.difference_text, pair.p_text.removeprefix("p ").removeprefix("= "), verdict)
    return table


def funnel_table(funnel: Funnel) -> Table:
    """Return the table of a recommender's parts, with NDCG@10 before and after each and its time."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("part", "ndcg@10 before", "ndcg@10 after", "ms per query"):
        table.add_column(column, justify="left" if column == "part" else "right")
    before = ""
    for part in funnel.parts:
        after = f"{part.ndcg:.4f}"
        table.add_row(console.printable(part.name, lines=False), before, after, f"{part.milliseconds:.2f}")
        before = after
    return table


def _figure(values: Any, name: str) -> str:
    value = values.get(name)
    return "" if value is None or value.mean != value.mean else f"{value.mean:.4f}"
