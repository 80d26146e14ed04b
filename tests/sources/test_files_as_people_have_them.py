"""Files as people have them: layouts, dates and encodings, each read to the right columns, times and counts.

Those that cannot be understood without help stop, or warn, with the line to type, and that line works.
`python -m tests.sources.test_files_as_people_have_them` prints the table.
"""

from __future__ import annotations

import gzip
import json
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from pasand.cli.source import Reading
from pasand.data.dataset import Dataset
from pasand.data.encoding.encode import encode
from pasand.errors import InputError
from pasand.sources import open_log

N, USERS, ITEMS = 60, 6, 10
BEGIN = datetime(2023, 3, 1, 10, 30, tzinfo=UTC)
"""Time of the first event; there is one a day, on days of the month below and above 12."""
TITLES = ("Amélie", "Señorita", "Über uns", "Garçon", "Fjällräven", "Öl", "Café", "Niño", "Crème", "Año")


@dataclass(frozen=True)
class Row:
    """One event."""

    user: str
    item: str
    rating: int
    at: datetime


ROWS = [Row(f"u{e % USERS}", TITLES[e // USERS], 1 + e % 5, BEGIN + timedelta(days=e)) for e in range(N)]


def text(line: Callable[[Row], Sequence[object]], header: str = "user,item,rating,time", mark: str = ",") -> str:
    """Return the rows as text, with the cells of `line`."""
    return "\n".join([header.replace(",", mark), *(mark.join(map(str, line(row))) for row in ROWS), ""])


def dated(pattern: str) -> str:
    """Return the rows as text with times of a pattern, with ; between cells as dates have commas."""
    return text(lambda row: (row.user, row.item, row.rating, row.at.strftime(pattern)), mark=";")


def serial(row: Row) -> str:
    return f"{(row.at - datetime(1899, 12, 30, tzinfo=UTC)).total_seconds() / 86_400:.9f}"


def records(**columns: Callable[[Row], object]) -> list[dict[str, object]]:
    return [{name: cell(row) for name, cell in columns.items()} for row in ROWS]


def ids(row: Row) -> tuple[str, str]:
    return row.user, row.item


COMMON = dict(
    user=lambda r: r.user, item=lambda r: r.item, rating=lambda r: r.rating, time=lambda r: int(r.at.timestamp())
)
PLAIN = text(lambda r: (*ids(r), r.rating, int(r.at.timestamp())))


@dataclass(frozen=True)
class Case:
    """A file, and what it is read as."""

    name: str
    file: str
    content: str | bytes
    options: str = ""
    """Options of the command."""
    daily: bool = False
    """Whether the times are days."""
    timed: bool = True
    values: str = "rating"
    stops: str = ""
    """Beginning of the cause where it stops; its cure has the options that read it."""
    warns: str = ""
    """Part of a warning whose options read it."""


def jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parquet() -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        pl.DataFrame(records(**{**COMMON, "time": lambda r: r.at})).write_parquet(file.name)
        return Path(file.name).read_bytes()


SHOP = text(lambda r: (r.at.isoformat(), r.user, "view", r.item), "timestamp,visitorid,event,itemid").replace(
    ",view,", ",transaction,", 20
)
KUAI = text(
    lambda r: (*ids(r), 900, 1000, r.at.strftime("%Y-%m-%d %H:%M:%S"), 20230301, r.at.timestamp(), r.rating / 2),
    "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio",
)
GOODREADS = jsonl(
    records(
        user_id=lambda r: r.user,
        book_id=lambda r: r.item,
        review_id=lambda r: f"{r.user}{r.at.timestamp():.0f}",
        is_read=lambda r: True,
        rating=lambda r: r.rating,
        date_added=lambda r: r.at.strftime("%a %b %d %H:%M:%S -0000 %Y"),
    )
)
YELP = jsonl(
    records(
        review_id=lambda r: f"r{r.at.timestamp():.0f}",
        user_id=lambda r: r.user,
        business_id=lambda r: r.item,
        stars=lambda r: float(r.rating),
        useful=lambda r: 0,
        text=lambda r: "good, really\ngood",
        date=lambda r: r.at.strftime("%Y-%m-%d %H:%M:%S"),
    )
)
HM = text(lambda r: (r.at.date(), r.user, r.item, 0.05, 2), "t_dat,customer_id,article_id,price,sales_channel_id")
SPOTIFY = json.dumps(
    [
        {"ts": r.at.strftime("%Y-%m-%dT%H:%M:%SZ"), "username": r.user, "ms_played": 60_000 * r.rating}
        | {"master_metadata_track_name": r.item, "master_metadata_album_artist_name": "A"}
        for r in ROWS
    ]
)
STEAM = "".join(f"{r.user},{r.item},play,{r.rating}.0,0\n" for r in ROWS)
BEHAVIORS = "".join(
    f"{n}\t{r.user}\t{r.at.strftime('%m/%d/%Y %I:%M:%S %p')}\tN9\t{r.item.replace(' ', '_')}-1 N7-0\n"
    for n, r in enumerate(ROWS)
)
NETFLIX = "".join(
    f"{n + 1}:\n" + "".join(f"{r.user[1:]},{r.rating},{r.at.date()}\n" for r in ROWS if r.item == title)
    for n, title in enumerate(TITLES)
)

CASES = [
    Case("comma-separated, seconds", "log.csv", PLAIN),
    Case("tabs, milliseconds", "log.tsv", text(lambda r: (*ids(r), r.rating, int(r.at.timestamp()) * 1000), mark="\t")),
    Case(
        "semicolons, decimal commas", "log.csv", text(lambda r: (*ids(r), f"{r.rating},0", r.at.isoformat()), mark=";")
    ),
    Case("UTF-8 with a byte order mark", "log.csv", PLAIN.encode("utf-8-sig")),
    Case("UTF-16, as Excel writes Unicode text", "log.txt", PLAIN.replace(",", "\t").encode("utf-16")),
    Case("Latin-1", "log.csv", PLAIN.encode("latin-1")),
    Case("gzip", "log.csv.gz", gzip.compress(PLAIN.encode())),
    Case("yyyymmdd", "log.csv", text(lambda r: (*ids(r), r.rating, r.at.strftime("%Y%m%d"))), daily=True),
    Case("days of Excel", "log.csv", text(lambda r: (*ids(r), r.rating, serial(r)), "user,item,rating,date")),
    Case("dd/mm/yyyy", "log.csv", dated("%d/%m/%Y"), daily=True),
    Case("dd.mm.yyyy hh:mm", "log.csv", dated("%d.%m.%Y %H:%M")),
    Case("dd-mm-yyyy", "log.csv", dated("%d-%m-%Y"), daily=True),
    Case("mm/dd/yyyy with AM and PM", "log.csv", dated("%m/%d/%Y %I:%M %p")),
    Case("27 Apr 2023", "log.csv", dated("%d %b %Y"), daily=True),
    Case("Jan 28, 2023", "log.csv", dated("%b %d, %Y"), daily=True),
    Case("Jan 28, 2023 05:00 PM", "log.csv", dated("%b %d, %Y %I:%M %p")),
    Case("ISO with a time zone", "log.csv", dated("%Y-%m-%dT%H:%M:%S+00:00")),
    Case("Twitter's and Goodreads' dates", "log.csv", dated("%a %b %d %H:%M:%S +0000 %Y")),
    Case("JSON lines", "log.jsonl", jsonl(records(**COMMON))),
    Case("a JSON array of records", "log.json", json.dumps(records(**COMMON), indent=1)),
    Case("Parquet", "log.parquet", parquet()),
    Case(
        "other names of columns",
        "log.csv",
        text(lambda r: (*ids(r), r.rating, int(r.at.timestamp())), "kunde,ware,rating,time"),
        stops="no column looks like the user or the item",
    ),
    Case(
        "no header, and a first row like one",
        "log.csv",
        text(lambda r: (*ids(r), r.rating, int(r.at.timestamp())), "").lstrip("\n"),
    ),
    Case("RetailRocket: types of events", "events.csv", SHOP, warns="holds types of events", values="strength"),
    Case("KuaiRec: watch ratio", "small_matrix.csv", KUAI, values="strength"),
    Case("Goodreads: JSON lines", "goodreads_interactions.json", GOODREADS),
    Case("Yelp: reviews", "yelp_academic_dataset_review.json", YELP),
    Case("H&M: transactions", "transactions_train.csv", HM, daily=True, values="none"),
    Case("Spotify: listening history", "Streaming_History_Audio_2023_1.json", SPOTIFY, values="strength"),
    Case("Steam: hours of play", "steam-200k.csv", STEAM, timed=False, values="strength"),
    Case("MIND: behaviors", "behaviors.tsv", BEHAVIORS, values="none"),
    Case("Netflix: combined data", "combined_data_1.txt", NETFLIX, daily=True),
    Case(
        "days and months that look alike",
        "log.csv",
        text(
            lambda r: (*ids(r), r.rating, f"{1 + (r.at - BEGIN).days % 6:02}/{7 + (r.at - BEGIN).days // 10:02}/2023")
        ),
        stops="no date of this column shows",
        daily=True,
    ),
]


def write(case: Case, folder: Path) -> Path:
    file = folder / case.file
    file.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    return file


def reading(file: Path, options: Sequence[str]) -> Reading:
    """Return the source and these options as the command line would."""
    given: dict[str, list[str]] = {}
    words = iter(options)
    for word in words:
        given.setdefault(word.removeprefix("--").replace("-", "_"), []).append(next(words))
    many = {"column", "where"}
    return Reading(source=str(file), **{name: v if name in many else v[0] for name, v in given.items()})  # type: ignore[arg-type]


def opened(file: Path, options: Sequence[str] = ()) -> Dataset:
    chosen = reading(file, options).options()
    return encode(open_log(str(file), chosen), chosen)


def options_in(message: str) -> list[str]:
    """Return the first options that a message has to type."""
    words = shlex.split(message[message.index("--") :].replace("', ", "' ").rstrip("."))
    found: list[str] = []
    for word, value in pairwise(words):
        if word.startswith("--") and (not found or word == found[0] == "--column"):
            found += [word, value.rstrip(",.;")]
    return found


def read(case: Case, folder: Path) -> tuple[Dataset, str]:
    """Return the dataset of a case, and the options that its message had to add."""
    file = write(case, folder)
    own = shlex.split(case.options)
    if case.stops:
        with pytest.raises(InputError, match=case.stops) as why:
            opened(file, own)
        own += options_in(str(why.value).partition("Cure: ")[2])
    data = opened(file, own)
    if case.warns:
        (warning,) = [note for note in data.notes if case.warns in note]
        assert warning.startswith("warning: ")
        own += options_in(warning)
        data = opened(file, own)
        assert not any(case.warns in note for note in data.notes)
    return data, shlex.join(own)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_file_is_read_as_it_is_meant(case: Case, tmp_path: Path) -> None:
    data, _ = read(case, tmp_path)
    assert (len(data), data.n_users) == (N, USERS)
    assert data.n_items - ("MIND" in case.name) == ITEMS
    assert (data.order == "time", data.values) == (case.timed, case.values)
    if case.timed and "alike" not in case.name:
        expected = [r.at.replace(hour=0, minute=0) if case.daily else r.at for r in ROWS]
        assert data.time.tolist() == [int(at.timestamp()) for at in expected]
    if "Netflix" not in case.name and "alike" not in case.name and case.timed:
        assert data.users.ids(data.user) == [r.user for r in ROWS]
    if case.values == "rating" and "alike" not in case.name:
        assert data.value is not None
        assert data.value.tolist() == [r.rating for r in ROWS]


def table() -> None:
    """Print what each file is read as."""
    print("| file | users | items | events | first | last | values | added |\n|---|---:|---:|---:|---|---|---|---|")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            data, added = read(case, Path(folder))
        ends = [str(datetime.fromtimestamp(int(data.time[e]), UTC))[:16] if case.timed else "" for e in (0, -1)]
        cells = [case.name, data.n_users, data.n_items, len(data), *ends, data.values, added]
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    table()
