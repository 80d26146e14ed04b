"""Arguments and options of all commands that read a log, and reading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer
from rich.text import Text

from pasand.cli import console
from pasand.data.dataset import Dataset, Values
from pasand.data.log import Options
from pasand.errors import InputError

if TYPE_CHECKING:
    from pasand.evaluation.protocols import SplitsData

SOURCE = typer.Argument(
    ...,
    help="Log of events: a file, a folder, - for standard input, a database URL (with --query), or a name: bollywood, "
    "ml-100k, ml-1m ...",
)
QUERY = typer.Option(None, help="SQL query that returns the events, for a database.")
POSITIVE_FROM = typer.Option(
    None, help="Lowest rating that counts as positive; by default three quarters of the rating scale."
)

VALUE_AS = typer.Option(
    None,
    help="Read the value column as ratings, or as strengths such as play counts: rating or strength; by default "
    "inferred from its name and values, and printed.",
)

COLUMN = typer.Option(
    [],
    help="Name a column: user=NAME, item=NAME, time=NAME or value=NAME; of the impressions: impressions.clicked=NAME "
    "and so on; may be repeated.",
)

IMPRESSIONS = typer.Option(
    None, help='Table of impressions, a file or a folder; "none" ignores those that belong to SOURCE.'
)

PROTOCOL = typer.Option(
    None,
    help="Evaluation protocol: temporal (default for logs with timestamps), leave-last-out, strong-generalisation, "
    "folds or sampled-negatives.",
)
HISTORIES = typer.Option(
    None,
    help="Test histories of the temporal protocol: live, up to each test query (default), or frozen at the split.",
)


def options(
    query: str | None,
    positive_from: float | None,
    columns: list[str],
    impressions: str | None = None,
    value_as: str | None = None,
) -> Options:
    """Return the options for reading a log; raises InputError for a role that columns do not have."""
    chosen = dict(console.assignments(columns, "--column"))
    of_impressions = {name: chosen.pop(name) for name in list(chosen) if name.startswith("impressions.")}
    if of_impressions and impressions in (None, "none"):
        cause = "no table of impressions is given"
        raise InputError("--column", value=next(iter(of_impressions)), cause=cause, cure="add --impressions FILE")
    wrong = [name for name in chosen if name not in ("user", "item", "time", "value")]
    if wrong:
        cure = "write user, item, time or value"
        raise InputError("--column", value=wrong[0], cause="events have no such column", cure=cure)
    if value_as not in (None, "rating", "strength"):
        cause, cure = "the value of an event has no such meaning", "write rating or strength"
        raise InputError("--value-as", value=value_as, cause=cause, cure=cure)
    return Options(
        user=chosen.get("user"),
        item=chosen.get("item"),
        time=chosen.get("time"),
        value=chosen.get("value"),
        values=cast(Values | None, value_as),
        query=query,
        positive_from=positive_from,
        impressions=impressions,
        impression_columns={name.removeprefix("impressions."): column for name, column in of_impressions.items()},
    )


def opened(
    source: str,
    query: str | None,
    positive_from: float | None,
    columns: list[str],
    *,
    impressions: str | None = None,
    value_as: str | None = None,
    quiet: bool = False,
) -> Dataset:
    """Return the dataset of a log, and print its size and how its columns were interpreted."""
    from pasand.data.encoding.encode import encode
    from pasand.sources import open_log

    chosen = options(query, positive_from, columns, impressions, value_as)
    data = encode(open_log(source, chosen), chosen)
    if not quiet:
        sizes = f"{len(data):,} events of {data.n_users:,} users and {data.n_items:,} items"
        name = console.printable(data.name, lines=False)
        console.output.print(Text.assemble((name, "bold"), f": {sizes}"), soft_wrap=True)
        for note in data.notes:
            console.output.print(f"  {console.printable(note, lines=False)}")
    return data


def protocol_of(data: Dataset, source: str, name: str | None, histories: str | None) -> SplitsData:
    """Return the protocol of this name, or by default the one that suits the data.

    The protocols `folds` and `sampled-negatives` read files beside the log: they get its folder.
    """
    from pasand.data.download import data_folder
    from pasand.evaluation import protocols

    options: dict[str, object] = {"histories": histories} if histories else {}
    if name in ("folds", "sampled-negatives"):
        path = Path(source)
        folders = [path, path.resolve().parent] if path.exists() else [data_folder() / source]
        options["folder"] = next((folder for folder in folders if folder.is_dir()), None)
    if name is None and not histories:
        return protocols.default_protocol(data)
    return protocols.protocol(name or "temporal", **options)
