"""The arguments by which every command opens a log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from pasand.cli import console
from pasand.data.dataset import Dataset
from pasand.data.log import Options
from pasand.errors import InputError

if TYPE_CHECKING:
    from pasand.evaluation.protocols import SplitsData

SOURCE = typer.Argument(
    ..., help="A file, a folder, a database URL (with --query), or a name: bollywood, ml-100k, ml-1m ..."
)
QUERY = typer.Option(None, help="SQL query that gives the events, for a database.")
POSITIVE_FROM = typer.Option(None, help="A rating is a liking from this on; by default three quarters of the scale.")

COLUMN = typer.Option(
    [], help="What a column is: user=NAME, item=NAME, time=NAME, value=NAME; of impressions: impressions.taken=NAME ..."
)

IMPRESSIONS = typer.Option(None, help='Table of what was shown, a file or a folder; "none": not even what SOURCE has.')

PROTOCOL = typer.Option(
    None,
    help="temporal (default where times are known), leave-last-out, strong-generalisation, folds, sampled-negatives.",
)
HISTORIES = typer.Option(None, help="Of the temporal protocol: live (default) or frozen.")


def options(
    query: str | None, positive_from: float | None, columns: list[str], impressions: str | None = None
) -> Options:
    """Return what was told about the log; raises InputError for a part of an event that there is not."""
    chosen = dict(console.assignments(columns, "--column"))
    shown = {name: chosen.pop(name) for name in list(chosen) if name.startswith("impressions.")}
    if shown and impressions in (None, "none"):
        cause = "no table of impressions was given"
        raise InputError("--column", value=next(iter(shown)), cause=cause, cure="name it: --impressions FILE")
    wrong = [name for name in chosen if name not in ("user", "item", "time", "value")]
    if wrong:
        raise InputError("--column", value=wrong[0], cause="no such part of an event", cure="user, item, time or value")
    return Options(
        user=chosen.get("user"),
        item=chosen.get("item"),
        time=chosen.get("time"),
        value=chosen.get("value"),
        query=query,
        positive_from=positive_from,
        impressions=impressions,
        impression_columns={name.removeprefix("impressions."): column for name, column in shown.items()},
    )


def opened(
    source: str,
    query: str | None,
    positive_from: float | None,
    columns: list[str],
    *,
    impressions: str | None = None,
    quiet: bool = False,
) -> Dataset:
    """Return the log, and print what was taken for what."""
    from pasand.data.encoding.encode import encode
    from pasand.sources import open_log

    told = options(query, positive_from, columns, impressions)
    data = encode(open_log(source, told), told)
    if not quiet:
        sizes = f"{len(data):,} events of {data.n_users:,} users and {data.n_items:,} items"
        console.output.print(f"[bold]{escape(data.name)}[/]: {sizes}", soft_wrap=True)
        for note in data.notes:
            console.output.print(f"  {note}", markup=False)
    return data


def protocol_of(data: Dataset, source: str, name: str | None, histories: str | None) -> SplitsData:
    """Return the protocol asked for, or the one that the data allow, told where the files of its folds may lie."""
    from pasand.evaluation import protocols
    from pasand.sources import folder_of_data

    options: dict[str, object] = {"histories": histories} if histories else {}
    if name in ("folds", "sampled-negatives"):
        places = [Path(source), Path(source).resolve().parent] if Path(source).exists() else [folder_of_data() / source]
        options["folder"] = next((folder for folder in places if folder.is_dir()), None)
    if name is None and not histories:
        return protocols.default_protocol(data)
    return protocols.protocol(name or "temporal", **options)
