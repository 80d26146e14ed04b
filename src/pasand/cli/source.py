"""The arguments by which every command opens a log."""

from __future__ import annotations

import typer

from pasand.cli import console
from pasand.data.dataset import Dataset

SOURCE = typer.Argument(
    ..., help="A file, a folder, a database URL (with --query), or a name: bollywood, ml-100k, ml-1m ..."
)
QUERY = typer.Option(None, help="SQL query that gives the events, for a database.")
POSITIVE_FROM = typer.Option(None, help="A rating is a liking from this on; by default three quarters of the scale.")

COLUMN = typer.Option([], help="What a column is: user=NAME, item=NAME, time=NAME or value=NAME.")


def opened(
    source: str, query: str | None, positive_from: float | None, columns: list[str], *, quiet: bool = False
) -> Dataset:
    """Return the log, and print what was taken for what."""
    from pasand.data.sources import load

    chosen = console.assignments(columns, "--column")
    data = load(source, query=query, positive_from=positive_from, **chosen)
    if not quiet:
        console.output.print(
            f"[bold]{data.name}[/]: {len(data):,} events of {data.n_users:,} users and {data.n_items:,} items"
        )
        for note in data.notes:
            console.output.print(f"  {note}", markup=False)
    return data
