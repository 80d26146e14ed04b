"""SOURCE and the options for reading it, which all commands that read a log have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

import typer
from rich.text import Text

from pasand.cli import console
from pasand.data.dataset import Dataset, Values
from pasand.data.log import Options
from pasand.errors import InputError

if TYPE_CHECKING:
    from pasand.evaluation.protocols import SplitsData

SOURCE_HELP = "Log of events: a file, a folder, - for standard input, a database URL (with --query), or a name: " + (
    "bollywood, market, ml-100k, ml-1m ..."
)
PANEL = "How SOURCE is read"
ROLES = ("user", "item", "time", "value", "event")

PROTOCOL = typer.Option(
    None,
    help="Evaluation protocol: temporal (default for logs with timestamps), leave-last-out, strong-generalisation, "
    "folds, sampled-negatives, cold-items or newest-items.",
)
HISTORIES = typer.Option(
    None,
    help="Test histories of the temporal protocol: live, up to each test query (default), or frozen at the split.",
)


def _option(*names: str, help: str) -> Any:
    """Return a field that is an option of the command line; it is None if it is not given."""
    return field(default=None, metadata={"option": typer.Option(None, *names, help=help, rich_help_panel=PANEL)})


def _repeated(*names: str, help: str) -> Any:
    """Return a field that is an option which may be repeated."""
    option = typer.Option([], *names, help=f"{help}; may be repeated.", rich_help_panel=PANEL)
    return field(default_factory=list, metadata={"option": option})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A log and how to read it, as given on the command line."""

    source: str = field(metadata={"option": typer.Argument(..., metavar="SOURCE", help=SOURCE_HELP)})
    items: str | None = _option(help="Table of items with titles and other features, a file.")
    users: str | None = _option(help="Table of users with their features, a file.")
    column: list[str] = _repeated(
        help="Name a column: user=NAME, item=NAME, time=NAME, value=NAME or event=NAME; of the tables: items.id=NAME, "
        "users.id=NAME; of the impressions: impressions.clicked=NAME and so on"
    )
    events: str | None = _option(
        help="Weigh types of events, and leave out the others: purchase=3,cart=2,view=1; an event of weight 0 is read "
        "and is not positive."
    )
    where: list[str] = _repeated(help="Read only rows that meet a condition, such as 'event = purchase'")
    time_format: str | None = _option(
        help="How times are written: dmy or mdy for dates such as 03/04/2024, seconds, milliseconds, spreadsheet, or a "
        "pattern such as '%d/%m/%Y %H:%M'; by default inferred, and printed."
    )
    no_header: bool | None = field(
        default=None,
        metadata={
            "option": typer.Option(
                None, "--no-header", help="The first line of a text file is an event.", rich_help_panel=PANEL
            )
        },
    )
    value_as: str | None = _option(
        help="Read the value column as ratings, as strengths such as play counts, or not at all: rating, strength or "
        "none; by default inferred from its name and values, and printed."
    )
    keep_duplicates: bool | None = field(
        default=None,
        metadata={
            "option": typer.Option(
                None,
                "--keep-duplicates",
                help="Read rows that repeat another one in all columns that are read, as events of their own.",
                rich_help_panel=PANEL,
            )
        },
    )
    positive_from: float | None = _option(
        help="Lowest rating that counts as positive; by default three quarters of the rating scale."
    )
    query: str | None = _option(help="SQL query that returns the events, for a database.")
    encode: list[str] = _repeated(
        help="Encode columns of the items as vectors: plot=text,poster=image; COLUMN=KIND or COLUMN=KIND:FILE "
        "of the kinds text, tfidf, image, audio, chroma, video, and vector for vectors that you have"
    )
    impressions: str | None = _option(
        help='Table of impressions, a file or a folder; "none" ignores those that belong to SOURCE.'
    )

    def options(self) -> Options:
        """Return the options for reading the log; raises InputError for a role that columns do not have."""
        from pasand.data.encoding.chosen_rows import parsed_weights

        chosen = dict(console.assignments(self.column, "--column"))
        of_impressions = {name: chosen.pop(name) for name in list(chosen) if name.startswith("impressions.")}
        if of_impressions and self.impressions in (None, "none"):
            cause = "no table of impressions is given"
            raise InputError("--column", value=next(iter(of_impressions)), cause=cause, cure="add --impressions FILE")
        id_columns = {name.removesuffix(".id"): chosen.pop(name) for name in ("items.id", "users.id") if name in chosen}
        if wrong := [name for name in chosen if name not in ROLES]:
            cure = f"write {', '.join(ROLES[:-1])} or {ROLES[-1]}"
            raise InputError("--column", value=wrong[0], cause="events have no such column", cure=cure)
        if self.value_as not in (None, *get_args(Values)):
            cause, cure = "the value of an event has no such meaning", "write rating, strength or none"
            raise InputError("--value-as", value=self.value_as, cause=cause, cure=cure)
        return Options(
            **chosen,  # type: ignore[arg-type]
            values=cast(Values | None, self.value_as),
            time_format=self.time_format,
            events={} if self.events is None else parsed_weights(self.events),
            where=tuple(self.where),
            header=False if self.no_header else None,
            keep_duplicates=bool(self.keep_duplicates),
            items=self.items,
            users=self.users,
            id_columns=id_columns,
            query=self.query,
            positive_from=self.positive_from,
            impressions=self.impressions,
            impression_columns={name.removeprefix("impressions."): column for name, column in of_impressions.items()},
        )

    def opened(self, *, quiet: bool = False) -> Dataset:
        """Return the dataset of the log, and print its size and how its columns were interpreted."""
        from pasand.data.encoding.encode import encode
        from pasand.sources import open_log

        chosen = self.options()
        log = open_log(self.source, chosen)
        if self.encode:
            from pasand.encoders import columns, own_vectors

            requested = columns.parse(self.encode)
            data = columns.encode(encode(own_vectors.prepared(log, requested), chosen), requested, self.folder())
        else:
            data = encode(log, chosen)
        if not quiet:
            sizes = f"{len(data):,} events of {data.n_users:,} users and {data.n_items:,} items"
            name = console.printable(data.name, lines=False)
            console.output.print(Text.assemble((name, "bold"), f": {sizes}"), soft_wrap=True)
            for note in data.notes:
                style = "yellow" if note.startswith("warning") else None
                console.output.print(f"  {console.printable(note, lines=False)}", style=style, soft_wrap=bool(style))
        return data

    def folder(self) -> Path:
        """Return the folder that names of files are relative to: that of the table of items, or else of the source."""
        path = Path(self.items or self.source)
        return path if path.is_dir() else path.parent

    def typed(self) -> str:
        """Return SOURCE and the options as they are typed, for commands that are printed."""
        from shlex import quote

        words = [quote(self.source)]
        for one in fields(self):
            given = getattr(self, one.name)
            if one.name == "source" or given in (None, False, []):
                continue
            option = f"--{one.name.replace('_', '-')}"
            for value in given if isinstance(given, list) else [given]:
                words += [option] if value is True else [option, quote(str(value))]
        return " ".join(words)

    def protocol(self, data: Dataset, name: str | None, histories: str | None) -> SplitsData:
        """Return the protocol of this name, or by default the one that suits the data.

        The protocols `folds` and `sampled-negatives` read files beside the log: they get its folder.
        """
        from pasand.data.download import data_folder
        from pasand.evaluation import protocols

        options: dict[str, object] = {"histories": histories} if histories else {}
        if name in ("folds", "sampled-negatives"):
            path = Path(self.source)
            folders = [path, path.resolve().parent] if path.exists() else [data_folder() / self.source]
            options["folder"] = next((folder for folder in folders if folder.is_dir()), None)
        if name is None and not histories:
            return protocols.default_protocol(data)
        return protocols.protocol(name or "temporal", **options)


def reads_log(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameter `log` is given on the command line by the fields of `Reading`."""
    own, hints = inspect.signature(command).parameters, get_type_hints(command, include_extras=True)
    types = get_type_hints(Reading)
    read = [
        inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=one.metadata["option"], annotation=types[one.name]
        )
        for one in fields(Reading)
    ]
    parameters: list[inspect.Parameter] = []
    for name, one in own.items():
        as_keyword = one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        parameters += read if name == "log" else [as_keyword]

    def run(**given: Any) -> None:
        log = Reading(**{one.name: given.pop(one.name) for one in fields(Reading)})
        command(log=log, **given)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
