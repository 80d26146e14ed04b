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
    """Report the size and contents of a log, suspicious values in it, and items that fake profiles seem to push."""
    from dataclasses import replace

    from pasand.attacks.detection import detect
    from pasand.data import check as checks
    from pasand.data.encoding.encode import read
    from pasand.sources import open_log

    chosen = log.options()
    with console.progress():
        data, summary = read(open_log(log.source, chosen), replace(chosen, bad_rows=1))
        report, attacks = checks.report(data, summary), detect(data)
    if not console.quiet(json):
        console.output.print(report.text(), markup=False)
        console.output.print("\n".join(attacks.lines()), markup=False)
    console.write_json(json, {**report.as_json(), "attacks": attacks.as_json()})
