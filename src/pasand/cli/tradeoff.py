"""pasand tradeoff: shows what accuracy each strength of a policy costs, what it buys, and how much of it is free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pasand.cli import console
from pasand.cli.audit import as_fitted, names
from pasand.cli.source import Reading, reads_log

if TYPE_CHECKING:
    from rich.table import Table

    from pasand.audit.tradeoff import Curve, Tradeoff


@reads_log
def command(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle whose policy is turned.")],
    log: Reading,
    policy: str | None = typer.Option(
        None,
        help="Tables to turn, with commas between them: names of rules, or kinds such as calibration. By default all.",
    ),
    strengths: str | None = typer.Option(
        None, help="Values of one table, with commas between them, such as 0.1,0.2,0.4. By default about five."
    ),
    user_groups: str | None = typer.Option(
        None, help="Features of users to group them by, as in pasand audit. By default all categorical ones."
    ),
    item_groups: str | None = typer.Option(
        None, help="Features of items to group them by, as in pasand audit. By default all categorical ones."
    ),
    k: int = typer.Option(10, min=1, help="Length of the lists."),
    json: Path | None = typer.Option(None, help='Write the result as JSON to a file; "-": standard output.'),
    report: Path | None = typer.Option(None, help="Write the result as a page (HTML) with charts to a file."),
) -> None:
    """Trade accuracy of BUNDLE against fairness on the events of SOURCE that are later than all it was fitted to.

    Turns each table of the recipe's policy from weak to strong and prints accuracy, its loss against the lists without
    the table, and measures of fairness, with intervals over users; marks the strongest value of which no loss is shown.
    """
    from pasand import bundle as bundles
    from pasand.audit import tradeoff_page
    from pasand.audit.tradeoff import tradeoff

    console.check_writable(json, report)
    with console.progress():
        read = bundles.read(bundle)
        data = as_fitted(log, read).opened(quiet=console.quiet(json))
        done = tradeoff(
            read,
            data,
            policies=names(policy),
            strengths=numbers(strengths),
            user_groups=names(user_groups),
            item_groups=names(item_groups),
            k=k,
            typed=log.typed(),
        )
    if not console.quiet(json):
        show(done)
    console.write_json(json, done.as_json())
    if report is not None:
        tradeoff_page.write(report, done)


def numbers(text: str | None) -> list[float]:
    """Return the numbers in a list with commas; [] for None. Raises InputError for what is no number.

    >>> numbers("0.1, 2")
    [0.1, 2.0]
    """
    from pasand.errors import InputError

    found = []
    for word in names(text):
        try:
            found.append(float(word))
        except ValueError:
            cure = "write --strengths 0.1,0.2,0.4"
            raise InputError("--strengths", value=word, cause="not a number", cure=cure) from None
    return found


def show(done: Tradeoff) -> None:
    """Print the tradeoff: what was known, two tables per policy table, and what is free."""
    from pasand.audit.tradeoff import CORRECTION

    out = console.output
    for line in done.known:
        out.print(line, soft_wrap=True)
    out.print(f"{done.n_users:,} test users, {done.n_queries:,} test queries, lists of {done.k}", style="dim")
    for curve in done.curves:
        out.print(accuracy_table(curve))
        out.print(fairness_table(curve))
    out.print(f"What is free ({CORRECTION})", style="bold")
    for curve in done.curves:
        out.print(f"  {curve.sentence}", soft_wrap=True)


def accuracy_table(curve: Curve) -> Table:
    """Return the accuracy at each value, with its change from the lists without the policy table."""
    import numpy as np
    from rich.text import Text

    from pasand.audit import words
    from pasand.audit.page import p_text

    loss = curve.points[0].loss
    heads = (curve.dial.field, f"{loss.measure} [95 %]", "change [95 %]", "p (Holm)", "result", "detectable", "")
    shown = _table(f"{curve.dial.name}: accuracy", heads)
    shown.add_row("without", words.interval_text(loss, loss.reference))
    for point in curve.points:
        found = point.loss
        marks = [*["recipe"] * point.current, *["free up to here"] * (point is curve.free)]
        cells = (
            f"{point.value:g}",
            words.interval_text(found, found.value),
            words.interval_text(found, found.difference),
            p_text(found.p_holm),
            found.verdict or "not tested",
            "" if np.isnan(found.detectable) else words.figure(found, found.detectable),
            ", ".join(marks),
        )
        shown.add_row(*(Text(console.printable(cell, lines=False)) for cell in cells))
    return shown


def fairness_table(curve: Curve) -> Table:
    """Return each measure at each value; a star marks a change whose 95 % interval excludes 0."""
    from rich.text import Text

    from pasand.audit import words

    heads = ("measure", "fairer", "without", *(f"{point.value:g}" for point in curve.points))
    shown = _table(f"{curve.dial.name}: fairness by {curve.dial.field} (*: changed, 95 % interval)", heads)
    for m, measure in enumerate(curve.measures):
        found = [point.fairness[m] for point in curve.points]
        stars = ["*" if one.difference.low > 0 or one.difference.high < 0 else "" for one in found]
        values = [f"{words.figure(one, one.value.mean)}{star}" for one, star in zip(found, stars, strict=True)]
        cells = (measure.name, measure.fairer, words.figure(found[0], found[0].reference.mean), *values)
        shown.add_row(*(Text(console.printable(cell, lines=False)) for cell in cells))
    return shown


def _table(title: str, heads: tuple[str, ...]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    printable = Text(console.printable(title, lines=False))
    shown = Table(title=printable, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        left = head in ("measure", "fairer", "result", "")
        shown.add_column(head, justify="left" if left else "right", overflow="fold", no_wrap="[" in head)
    return shown
