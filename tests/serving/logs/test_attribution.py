"""Impressions labelled with the events that followed; `load` reads the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand.errors import InputError
from pasand.serving.logs.attribution import attribute
from pasand.serving.logs.impressions import ImpressionList, ImpressionLog, hash_user
from pasand.serving.logs.segments import log_files
from pasand.serving.schemas import Recommended
from pasand.serving.states.contract import Event
from pasand.sources import load

EVENTS = [
    Event("a", "u", "i1", 100),
    Event("b", "u", "i2", 130, watched_seconds=60.0),
    Event("c", "v", "i1", 50),
]


def shown(
    request: str, user: str, item: str, time: int, position: int = 1, propensity: float | None = None
) -> ImpressionList:
    return ImpressionList(
        request, time, user, [Recommended(item, "", position, 0.5, propensity=propensity)], "main", "digest"
    )


def logged(folder: Path, rows: list[ImpressionList], secret: bytes | None = None) -> Path:
    """Return a log of the impressions, in two files."""
    log = ImpressionLog(folder, secret=secret)
    for i, row in enumerate(rows):
        log.add(row)
        if i == len(rows) // 2 - 1:
            log.flush()
    log.close()
    return folder


def clicked(folder: Path, events: list[Event], out: Path, window: int = 1000) -> list[str]:
    """Return the requests whose impressions were clicked."""
    attribute(folder, events, out, window=window)
    table = pl.read_parquet(out)
    return sorted(table.filter("clicked")["request_id"])


def test_an_event_is_attributed_to_the_latest_impression_before_it(tmp_path: Path) -> None:
    rows = [
        shown("first", "u", "i", 100),
        shown("second", "u", "i", 200),
        shown("third", "u", "i", 300),
        shown("other user", "v", "i", 210),
        shown("other item", "u", "j", 210),
    ]
    log, out = logged(tmp_path / "log", rows), tmp_path / "out.parquet"
    assert clicked(log, [Event("e", "u", "i", 250)], out) == ["second"]
    assert clicked(log, [Event("e", "u", "i", 200)], out) == ["second"]
    assert clicked(log, [Event("e", "u", "i", 199)], out) == ["first"]
    assert clicked(log, [Event("e", "u", "i", 99)], out) == []
    assert clicked(log, [Event("e", "u", "i", 310), Event("f", "u", "i", 110)], out) == ["first", "third"]
    assert clicked(log, [Event("e", "u", "i", 310), Event("f", "u", "i", 320)], out) == ["third"]
    assert clicked(log, [], out) == []


def test_the_window_ends(tmp_path: Path) -> None:
    log, out = logged(tmp_path / "log", [shown("r", "u", "i", 100)]), tmp_path / "out.parquet"
    assert clicked(log, [Event("e", "u", "i", 110)], out, window=10) == ["r"]
    assert clicked(log, [Event("e", "u", "i", 111)], out, window=10) == []
    named = Event("e", "u", "i", 111, request_id="r")
    assert clicked(log, [named], out, window=10) == []
    assert clicked(log, [named], out, window=11) == ["r"]


def test_an_event_that_names_its_response_is_attributed_to_that_or_none(tmp_path: Path) -> None:
    rows = [shown("first", "u", "i", 100), shown("second", "u", "i", 200), shown("third", "v", "i", 200)]
    log, out = logged(tmp_path / "log", rows), tmp_path / "out.parquet"
    assert clicked(log, [Event("e", "u", "i", 250, request_id="first")], out) == ["first"]
    assert clicked(log, [Event("e", "u", "i", 250, request_id="unknown")], out) == []
    assert clicked(log, [Event("e", "u", "i", 250, request_id="third")], out) == []
    assert clicked(log, [Event("e", "u", "i", 150, request_id="second")], out) == []


def test_an_item_that_one_response_shows_twice_is_clicked_once(tmp_path: Path) -> None:
    rows = [shown("r", "u", "i", 100, 1), shown("r", "u", "i", 100, 5)]
    log, out = logged(tmp_path / "log", rows), tmp_path / "out.parquet"
    assert clicked(log, [Event("e", "u", "i", 150, request_id="r")], out) == ["r"]
    assert clicked(log, [Event("e", "u", "i", 150)], out) == ["r"]


def test_load_reads_it_back(tmp_path: Path) -> None:
    rows = [
        shown("r1", "u", "i1", 90, 1, 0.5),
        shown("r1", "u", "i2", 90, 2),
        shown("r1", "u", "i3", 90, 3, 0.25),
        shown("r2", "v", "i1", 60, 1),
        shown("r3", "never came", "i9", 70, 1),
    ]
    out, events = tmp_path / "shown.parquet", tmp_path / "events.csv"
    assert attribute(logged(tmp_path / "log", rows), EVENTS, out) == (5, 2)
    events.write_text("user,item,time\n" + "".join(f"{one.user_id},{one.item_id},{one.time}\n" for one in EVENTS))
    data = load(events, impressions=out)
    impressions = data.impressions
    assert impressions is not None
    assert data.users.ids(impressions.user) == ["v", "never came", "u", "u", "u"]
    assert data.items.ids(impressions.item) == ["i1", "i9", "i1", "i2", "i3"]
    assert impressions.time.tolist() == [60, 70, 90, 90, 90]
    assert impressions.position.tolist() == [1, 1, 1, 2, 3]
    assert impressions.clicked.tolist() == [False, False, True, True, False]
    assert impressions.propensity is not None
    assert impressions.propensity.tolist() == [1, 1, 0.5, 1, 0.25]
    assert impressions.watched_seconds is not None
    np.testing.assert_array_equal(impressions.watched_seconds, [0, 0, np.nan, 60, 0])
    assert list(impressions.features) == ["score"]


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    folder, out = logged(tmp_path / "log", [shown("r1", "u", "i1", 90, 1, 0.1)]), tmp_path / "shown.parquet"
    new = log_files(folder)[0]
    old = (
        pl.read_parquet(new)
        .drop("slot_propensity", "list_propensity")
        .with_columns(pl.col("propensity").cast(pl.Float32))
    )
    old.with_columns(request_id=pl.lit("r0")).write_parquet(new.with_name("shown-00000000000000001.parquet"))
    attribute(folder, [], out)
    table = pl.read_parquet(out).sort("request_id")
    assert table["propensity"].to_list() == [float(np.float32(0.1)), 0.1]
    assert table["slot_propensity"].to_list() == [None, None]


def test_columns_without_known_values_are_left_out(tmp_path: Path) -> None:
    log, out = logged(tmp_path / "log", [shown("r", "u", "i", 100)]), tmp_path / "out.parquet"
    attribute(log, [Event("e", "u", "i", 150)], out)
    assert {"propensity", "watched_seconds"}.isdisjoint(pl.read_parquet(out).columns)


def test_the_longest_watch_time_counts(tmp_path: Path) -> None:
    log, out = logged(tmp_path / "log", [shown("r", "u", "i", 100)]), tmp_path / "out.parquet"
    attribute(log, [Event(f"e{n}", "u", "i", 150 + n, watched_seconds=s) for n, s in enumerate([5, 300, 20])], out)
    assert pl.read_parquet(out)["watched_seconds"].to_list() == [300]


def test_undone_events_are_no_clicks(tmp_path: Path) -> None:
    rows = [shown("one", "u", "i", 100), shown("two", "u", "j", 100), shown("three", "v", "i", 100)]
    log, out = logged(tmp_path / "log", rows), tmp_path / "out.parquet"
    events = [Event("a", "u", "i", 150), Event("b", "u", "j", 151), Event("c", "u", "i", 152, undoes="a")]
    assert clicked(log, events, out) == ["two"]
    assert clicked(log, [*events, Event("a", "v", "i", 150)], out) == ["three", "two"]  # ids are those of a user


def test_hashed_users_are_found(tmp_path: Path) -> None:
    log, out = logged(tmp_path / "log", [shown("r", "u", "i", 100)], b"salt"), tmp_path / "out.parquet"
    assert attribute(log, [Event("e", "u", "i", 150)], out, secret=b"salt") == (1, 1)
    assert pl.read_parquet(out)["user"].to_list() == [hash_user("u", b"salt")]


def test_unreadable_logs_and_unwritable_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no impressions"):
        attribute(tmp_path, EVENTS, tmp_path / "out.parquet")
    log = logged(tmp_path / "log", [shown("r", "u", "i", 100)])
    with pytest.raises(InputError, match="cannot be"):
        attribute(log, EVENTS, tmp_path / "none" / "out.parquet")
