"""The validation report against logs whose faults are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pasand.data.check import check
from pasand.data.log import Log
from pasand.data.memory_estimate import estimate, free_bytes
from pasand.errors import InputError
from pasand.sources import load, open_log
from tests.resources import real_data

HOUR = 3600
START = 1_000_000_000


def write(path: Path, rows: list[tuple[object, ...]]) -> Path:
    path.write_text("user,item,rating,time\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def log_of(folder: Path, rows: list[tuple[object, ...]]) -> Log:
    return open_log(str(write(folder / "a.csv", rows)))


def test_a_small_log_by_hand(tmp_path: Path) -> None:
    # ten good events an hour apart: the test is the last two, of user c (cold) on items 1 (warm) and 9 (cold)
    rows: list[tuple[object, ...]] = [("ab"[n % 2], n % 4, 1 + n % 5, START + n * HOUR) for n in range(8)]
    rows += [("c", 1, 5, START + 8 * HOUR), ("c", 9, 5, START + 9 * HOUR), ("c", 9, 5, START + 9 * HOUR)]
    rows += [("c", 9, "bad", START)]
    found = check(log_of(tmp_path, rows))
    assert (found.rows_read, found.rows_dropped, found.duplicates, found.events) == (12, 1, 1, 10)
    fault = found.faults[0]
    assert (fault.column, fault.rows, fault.first_row, fault.first_value) == ("rating", 1, 13, "bad")
    assert found.density == pytest.approx(6 / 15)
    assert (found.first, found.last) == ("2001-09-09 01:46:40", "2001-09-09 10:46:40")
    assert found.events_per_user == {"0": 2, "10": 2.4, "25": 3, "50": 4, "75": 4, "90": 4, "99": 4, "100": 4}
    assert found.cold is not None
    assert (found.cold.users, found.cold.user_events, found.cold.items, found.cold.item_events) == (1, 1, 0.5, 0.5)
    assert (found.positives, found.positive_from, found.n_suspects) == (4, 4, 0)
    assert "1 row: rating is not a number (first: row 13, 'bad')" in str(found)
    assert json.loads(json.dumps(found.as_json()))["cold"]["users"] == 1


def test_a_log_without_a_good_row_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 2, column 'rating': 'bad' is wrong: .* of 2 rows 2 are bad"):
        check(log_of(tmp_path, [("c", 9, "bad", START), ("d", 9, "bad", START)]))


def test_bots_are_suspected_and_people_are_not(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(f"u{u}", n, 3, START + u + n * HOUR) for u in range(20) for n in range(10)]
    rows += [("hasty", n, 3, START + n // 2) for n in range(80)]
    rows += [("crowded", n, 3, START + n // 20 * HOUR) for n in range(80)]
    rows += [("tireless", n, 3, START + n * HOUR) for n in range(400)]
    found = check(log_of(tmp_path, rows))
    assert {suspect.user: suspect.reason for suspect in found.suspects} == {
        "tireless": "40 times the median",
        "crowded": "20.0 events at the same second on average",
        "hasty": "more than 60 events within a minute",
    }


def test_events_of_one_timestamp_have_no_split(tmp_path: Path) -> None:
    assert check(log_of(tmp_path, [(1, 2, 3, START), (2, 2, 3, START)])).cold is None


def test_ml_100k_is_as_cold_as_known() -> None:
    found = check(open_log(str(real_data("ml-100k"))))
    assert (found.events, found.users, found.items, found.positives) == (100_000, 943, 1_682, 55_375)
    assert found.cold is not None
    assert found.cold.user_events == pytest.approx(0.85, abs=0.005)


def test_memory_is_estimated_from_what_is_held(tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.csv", [(n, n % 7, 3, START + n) for n in range(100)]))
    small, wide = estimate(data), estimate(data, model=49)
    assert small.model == 0
    assert small.data >= sum(column.nbytes for column in (data.user, data.item, data.time))
    assert wide.total == small.data + 49
    assert free_bytes() is None or free_bytes() != 0
