"""pasand data: get data sets, and look at a log before trusting it."""

from __future__ import annotations

from pathlib import Path

import typer

from pasand.cli import console
from pasand.cli.source import COLUMN, IMPRESSIONS, POSITIVE_FROM, QUERY, SOURCE, options

app = typer.Typer(no_args_is_help=True, help="Get data sets, and check a log.")


@app.command()
def get(
    name: str = typer.Argument(..., help="Name of a public data set, such as ml-100k."),
    folder: Path | None = typer.Option(None, help="Where to put it; by default where `pasand compare NAME` looks."),
    url: str | None = typer.Option(None, help="Fetch from a mirror instead."),
) -> None:
    """Download a public data set: with progress, resumed where it broke off, and checked."""
    from pasand.data import download

    with console.progress():
        place = download.get(name, folder, url=url) if url else download.get(name, folder)
    console.output.print(f"{name} is in {place}", markup=False)


@app.command()
def check(
    source: str = SOURCE,
    query: str | None = QUERY,
    positive_from: float | None = POSITIVE_FROM,
    column: list[str] = COLUMN,
    impressions: str | None = IMPRESSIONS,
    json: Path | None = typer.Option(None, help='Write the report as JSON to a file; "-": standard output.'),
) -> None:
    """Report what a log holds and what is suspicious about it."""
    from pasand.data import check as checks

    with console.progress():
        report = checks.check(source, options(query, positive_from, column, impressions))
    if not console.quiet(json):
        console.output.print(report.text(), markup=False)
    console.write_json(json, report.as_json())
