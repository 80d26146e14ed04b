"""pasand data: downloads public data sets, and checks logs for problems."""

from __future__ import annotations

from pathlib import Path

import typer

from pasand.cli import console
from pasand.cli.source import Reading, reads_log

app = typer.Typer(no_args_is_help=True, help="Download public data sets, and check logs.")


@app.command()
def get(
    name: str = typer.Argument(..., help="Name of a public data set, such as ml-100k."),
    folder: Path | None = typer.Option(
        None, help="Target folder; by default the one where `pasand compare NAME` looks."
    ),
    url: str | None = typer.Option(None, help="Download from this mirror instead."),
) -> None:
    """Download a public data set, verify it and unpack it; an interrupted download is resumed."""
    from pasand.data import download

    with console.progress():
        location = download.get(name, folder, url=url) if url else download.get(name, folder)
    console.output.print(f"{name} is in {location}", markup=False)


@app.command()
@reads_log
def check(
    log: Reading,
    json: Path | None = typer.Option(None, help='Write the report as JSON to a file; "-": standard output.'),
) -> None:
    """Report the size and contents of a log, and suspicious values in it."""
    from pasand.data import check as checks
    from pasand.sources import open_log

    chosen = log.options()
    with console.progress():
        report = checks.check(open_log(log.source, chosen), chosen)
    if not console.quiet(json):
        console.output.print(report.text(), markup=False)
    console.write_json(json, report.as_json())
