"""pasand audit: shows who a bundle serves how well, which items are seen, and what each rule costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pasand.cli import console
from pasand.cli.source import Reading, reads_log

if TYPE_CHECKING:
    from rich.table import Table

    from pasand.audit.audit import Audit, Section
    from pasand.bundle import Bundle


EXAMPLES = ("pasand audit bundle events.csv --user-groups gender --item-groups language --json audit.json",)


@reads_log
def command(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle to audit.")],
    log: Reading,
    user_groups: str | None = typer.Option(
        None,
        help="Features of users to group them by, with commas between them; history: by number of earlier events. By "
        "default all categorical ones, and history.",
    ),
    item_groups: str | None = typer.Option(
        None,
        help="Features of items to group them by; NAME_band and NAME_age mean bands of a number and ages of a time; "
        "popularity: head, middle and tail. By default all categorical ones, and popularity.",
    ),
    k: int = typer.Option(10, min=1, help="Length of the lists."),
    young_days: float = typer.Option(30, min=0, help="Age in days below which an item counts as new."),
    feature: list[str] = typer.Option(
        [],
        help="Feature that a named measure reads, as MEASURE=NAME: geography, gender, category, language or price; may "
        "be repeated.",
    ),
    rounds: int = typer.Option(
        0, min=0, help="Rounds of a closed loop of lists, choices and fits, for a simulated log (bollywood) only."
    ),
    json: Path | None = typer.Option(None, help='Write the audit as JSON to a file; "-": standard output.'),
    report: Path | None = typer.Option(None, help="Write the audit as a page (HTML) to a file."),
) -> None:
    """Audit BUNDLE on the events of SOURCE that are later than all events it was fitted to.

    Prints metrics by group of users, the exposure of groups of items, named measures of bias, and what each rule of the
    recipe costs, with intervals over users and one correction for all tests. Fit to the earlier part of the log first:
    pasand fit SOURCE --until 0.8 --out BUNDLE.
    """
    from pasand import bundle as bundles
    from pasand.audit import page
    from pasand.audit.audit import audit
    from pasand.sources import bollywood

    console.check_writable(json, report)
    with console.progress():
        read = bundles.read(bundle)
        data = as_fitted(log, read).opened(quiet=console.quiet(json))
        done = audit(
            read,
            data,
            user_groups=names(user_groups),
            item_groups=names(item_groups),
            k=k,
            young_days=young_days,
            features=console.assignments(feature, "--feature"),
            rounds=rounds,
            world=bollywood.world_of(log.source) if bollywood.recognises(log.source) else None,
            typed=log.typed(),
        )
    if not console.quiet(json):
        show(done)
    console.write_json(json, done.as_json())
    if report is not None:
        page.write(report, done)


def as_fitted(log: Reading, bundle: Bundle) -> Reading:
    """Return the log read without impressions, and with the limit of positives that the bundle was fitted with."""
    limit = log.positive_from
    if limit is None and bundle.data.values == "rating":
        limit = float(bundle.data.positive_from)
    return replace(log, impressions="none", positive_from=limit)


def names(text: str | None) -> list[str]:
    """Return the names in a list with commas; [] for None.

    >>> names("gender, city_tier")
    ['gender', 'city_tier']
    """
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def show(audit: Audit) -> None:
    """Print the audit: what was known, a table per section, what is shown, and what is left out."""
    from pasand.audit import words
    from pasand.audit.audit import CORRECTION

    out = console.output
    for line in audit.known:
        out.print(line, soft_wrap=True)
    out.print(f"{audit.n_users:,} test users, {audit.n_queries:,} test queries, lists of {audit.k}", style="dim")
    for section in audit.sections:
        out.print(table(section, f"ndcg@{audit.k}"))
    out.print(f"{len(audit.shown)} of {audit.n_tests} tests show a difference ({CORRECTION})", style="bold")
    for section in audit.sections:
        for finding in section.findings:
            if finding.verdict in ("higher", "lower"):
                out.print(f"  {words.sentence(section.name, finding)}", soft_wrap=True)
    for line in audit.left_out:
        out.print(f"left out: {line}", style="dim", soft_wrap=True)


def table(section: Section, main: str) -> Table:
    """Return the table of a section; of metrics by group of users the main one, and every difference that is shown."""
    import numpy as np
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pasand.audit import words
    from pasand.audit.page import p_text

    measures = {finding.measure for finding in section.findings}
    references = {finding.reference_name for finding in section.findings}
    context = list(dict.fromkeys(name for finding in section.findings for name in finding.context))
    heads = {
        "group": any(finding.group for finding in section.findings),
        "measure": len(measures) > 1 or not any(finding.group for finding in section.findings),
        "figure [95 %]": True,
        next(iter(references)) if len(references) == 1 else "compared with": True,
        **dict.fromkeys(context, True),
        **dict.fromkeys(("ratio [95 %]", "p (Holm)", "result", "detectable"), True),
    }
    title = section.title if heads["measure"] else f"{section.title}: {next(iter(measures))}"
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in (head for head, used in heads.items() if used):
        left = head in ("group", "measure", "result")
        shown.add_column(head, justify="left" if left else "right", overflow="fold", no_wrap="[" in head)
    for finding in section.findings:
        if section.name == "users" and finding.measure != main and finding.verdict == "not shown":
            continue
        reference = words.figure(finding, finding.reference.mean)
        cells = (
            finding.name if finding.name != finding.measure else "",
            finding.measure,
            words.interval_text(finding, finding.value),
            reference if len(references) == 1 else f"{reference} {finding.reference_name}",
            *(words.figure(finding, finding.context[name].mean) if name in finding.context else "" for name in context),
            str(finding.ratio) and f"{finding.ratio.mean:.2f} [{finding.ratio.low:.2f}, {finding.ratio.high:.2f}]",
            p_text(finding.p_holm),
            finding.verdict or "not tested",
            "" if np.isnan(finding.detectable) else words.figure(finding, finding.detectable),
        )
        kept = (cell for cell, used in zip(cells, heads.values(), strict=True) if used)
        shown.add_row(*(Text(console.printable(cell, lines=False)) for cell in kept))
    return shown
