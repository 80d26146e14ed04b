"""Times as spreadsheets, web services and people write them, read to the second or refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.encoding.times import SECOND, TimeFormat
from pasand.errors import InputError
from pasand.sources import load

SPELLINGS = (
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%Y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "%b %d, %Y %I:%M:%S %p",
    "%B %d, %Y at %I:%M:%S %p",
    "%a %b %d %H:%M:%S +0000 %Y",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%Y-%m-%d %I:%M:%S %p",
    "%Y/%m/%d %H:%M:%S",
)


def seconds(texts: Sequence[object], *, is_time: bool = True) -> list[int | None]:
    """Return the times as they are read, in seconds since 1970."""
    cells = pl.Series(texts)
    found = TimeFormat.infer(cells, is_time=is_time)
    assert found is not None
    return [None if time is None else time // SECOND for time in found.parse(cells).to_list()]


@pytest.mark.parametrize("spelling", ["%y-%m-%d", "%y/%m/%d %H:%M", "%y.%m.%d %H:%M:%S"])
def test_years_of_two_digits_may_be_first(tmp_path: Path, spelling: str) -> None:
    """They were read as days, and the days of the month as years from 2001 to 2031."""
    start = dt.datetime(2024, 1, 3, 9, 7, 5, tzinfo=dt.UTC)
    times = [(start + dt.timedelta(days=e)).strftime(spelling) for e in range(60)]
    file = tmp_path / "log.csv"
    file.write_text("user,item,time\n" + "".join(f"u{e % 7},i{e},{time}\n" for e, time in enumerate(times)))
    with pytest.raises(InputError, match="may begin or end with the year") as error:
        load(file)
    assert f"--time-format '{spelling}'" in str(error.value)
    data = load(file, time_format=spelling)
    expected = [int(dt.datetime.strptime(time, spelling).replace(tzinfo=dt.UTC).timestamp()) for time in times]
    assert data.time.tolist() == expected
    times = [(start + dt.timedelta(days=e)).strftime("%d/%m/%y") for e in range(60)]
    assert seconds(times) == [
        int(dt.datetime.strptime(time, "%d/%m/%y").replace(tzinfo=dt.UTC).timestamp()) for time in times
    ]


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=20)
@given(times=st.lists(st.integers(631_152_000, 4_102_444_799), min_size=1, max_size=8))
def test_dates_written_in_any_spelling_are_read_back(spelling: str, times: list[int]) -> None:
    times = [*times, 1_706_486_400 + 12_345]  # the 29th of January, which tells the order
    texts = [dt.datetime.fromtimestamp(time, dt.UTC).strftime(spelling) for time in times]
    assert seconds(texts) == times


@pytest.mark.parametrize(
    ("texts", "date"),
    [
        (["27 Apr 2023", "1st May 2023"], (2023, 4, 27)),
        (["Jan 28, 2023", "Feb 1, 2023"], (2023, 1, 28)),
        (["Sept. 5, 2023", "October 6, 2023"], (2023, 9, 5)),
        (["28.01.23", "01.02.23"], (2023, 1, 28)),
        (["1/2/2023", "13/2/2023"], (2023, 2, 1)),
        (["1/2/2023", "1/13/2023"], (2023, 1, 2)),
        (["1.2.2023", "3.2.2023"], (2023, 2, 1)),
        (["31/12/70", "01/01/70"], (1970, 12, 31)),
        (["20230905", "20230906"], (2023, 9, 5)),
    ],
)
def test_days(texts: list[str], date: tuple[int, int, int]) -> None:
    assert seconds(texts)[0] == int(dt.datetime(*date, tzinfo=dt.UTC).timestamp())


def test_zones_of_web_services() -> None:
    texts = ["Mon May 01 12:34:56 -0700 2017", "Tue May 02 12:34:56 +0530 2017"]
    assert seconds(texts) == [1493667296, 1493708696]


def test_numbers_of_a_spreadsheet_are_days_where_the_column_is_a_time() -> None:
    assert seconds([45174.0, 45175.5, 45175.52145833333]) == [1693872000, 1694001600, 1694003454]
    unnamed = TimeFormat.infer(pl.Series([45174, 45175]))
    assert unnamed is not None
    assert unnamed.unit == "seconds"


def test_titles_and_codes_are_no_times() -> None:
    for cells in (["Mary Poppins", "March of the Penguins"], ["may", "monday"], ["12-34", "1/2"], ["99/99/2020"] * 3):
        assert TimeFormat.infer(pl.Series(cells), is_time=True) is None


def log(path: Path, times: Sequence[object]) -> Path:
    rows = "".join(f'u{e % 5},i{e // 5},"{time}"\n' for e, time in enumerate(times))
    path.write_text(f"user,item,date\n{rows}")
    return path


def test_the_order_of_day_and_month_is_asked_for_where_no_date_tells_it(tmp_path: Path) -> None:
    path = log(tmp_path / "log.csv", [f"0{1 + e % 9}/0{1 + e % 8}/2023" for e in range(40)])
    with pytest.raises(InputError, match=r"row 2, column 'date': '01/01/2023'.*--time-format dmy.*--time-format mdy"):
        load(path)
    first = {name: load(path, time_format=name) for name in ("dmy", "mdy")}
    assert first["dmy"].time.tolist() != first["mdy"].time.tolist()
    assert "time: 'date', read as dates with the day first, as in 31/12/2024" in first["dmy"].notes
    assert int(load(log(tmp_path / "one.csv", ["03/04/2023"]), time_format="mdy").time[0]) == 1677888000


def test_a_pattern_reads_what_no_spelling_knows(tmp_path: Path) -> None:
    path = log(tmp_path / "log.csv", ["2023~28~01 10h05", "2023~01~02 11h00"])
    with pytest.raises(InputError, match=r"nor dates in a known spelling.*--time-format '%d/%m/%Y %H:%M'"):
        load(path)
    assert load(path, time_format="%Y~%d~%m %Hh%M").time.tolist() == [1674900300, 1675249200]
    with pytest.raises(InputError, match=r"most times are not dates like %Y"):
        load(path, time_format="%Y-%m")
    with pytest.raises(InputError, match=r"--time-format: 'day' is wrong: no such format of times"):
        load(path, time_format="day")


def test_spreadsheet_days_and_years_before_1990_are_said(tmp_path: Path) -> None:
    data = load(log(tmp_path / "days.csv", [45174 + e / 7 for e in range(30)]))
    assert int(data.time[0]) == 1693872000
    assert any("days of a spreadsheet since 1899-12-30; if they are seconds" in note for note in data.notes)
    old = load(log(tmp_path / "old.csv", range(100, 130)))
    assert any("warning: all events are before 1990, from 1970-01-01T00:01:40" in note for note in old.notes)
    assert load(log(tmp_path / "days.csv", [45174 + e for e in range(30)]), time_format="seconds").time[0] == 45174
