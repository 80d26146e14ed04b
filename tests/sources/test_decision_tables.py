"""Tables of decisions: lists by id or by user and time, and every bad row by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand.errors import InputError
from pasand.sources.decision_tables import Decisions, decisions

HEADER = "request_id,user,item,time,position,clicked,propensity"
ROWS = ["r2,v,b,2000000001,1,0,1", "r1,u,c,2000000000,2,1,0.5", "r1,u,a,2000000000,1,0,1", "r2,v,a,2000000001,2,1,0.25"]


def read(folder: Path, rows: list[str], header: str = HEADER, **more: object) -> Decisions:
    file = folder / "log.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return decisions(str(file), **more)  # type: ignore[arg-type]


def test_rows_are_in_order_of_list_and_position(tmp_path: Path) -> None:
    log = read(tmp_path, ROWS)
    assert [log.items[i] for i in log.item] == ["a", "c", "b", "a"]
    assert log.slot.tolist() == [0, 1, 0, 1]
    assert log.list.tolist() == [0, 0, 1, 1]
    assert log.padded(log.propensity, 1.0).tolist() == [[1, 0.5], [1, 0.25]]
    assert log.time is not None
    assert log.time[0] == 2_000_000_000


def test_without_ids_lists_are_those_of_a_user_and_time(tmp_path: Path) -> None:
    rows = [row.partition(",")[2] for row in ROWS]
    log = read(tmp_path, rows, HEADER.partition(",")[2])
    assert log.list.tolist() == [0, 0, 1, 1]


def test_without_users_each_row_is_a_decision(tmp_path: Path) -> None:
    log = read(tmp_path, ["a,1,0.5,0", "b,2,0.5,1"], "item_id,position,propensity_score,click")
    assert log.slot.tolist() == [0, 0]
    assert log.positions == (1, 2)
    assert log.position.tolist() == [0, 1]
    assert log.users is None
    assert any("each row is one decision" in note for note in log.notes)


def test_duplicates_are_dropped_and_noted_the_rewarded_one_stays(tmp_path: Path) -> None:
    log = read(tmp_path, [*ROWS, "r1,u,c,2000000000,2,0,0.5"])
    assert log.reward.tolist() == [0, 1, 0, 1]
    assert any(note.startswith("1 rows dropped") for note in log.notes)


def test_of_a_list_that_was_shown_again_the_last_one_stays(tmp_path: Path) -> None:
    log = read(tmp_path, [*ROWS, "r1,u,a,2000000009,1,0,1", "r1,u,z,2000000009,2,0,0.25"])
    assert sorted(log.items) == sorted({*"az", *(row.split(",")[2] for row in ROWS if row.startswith("r2"))})
    assert any("2 rows dropped: the list was shown again with other items" in note for note in log.notes)


def test_slot_propensities_are_read(tmp_path: Path) -> None:
    header = HEADER + ",slot_propensity"
    log = read(
        tmp_path, [f"{row},{1 if row.split(',')[4] == '1' else '0.125'}" for row in ROWS[:3]] + [ROWS[3] + ","], header
    )
    assert log.slot_propensity is not None
    np.testing.assert_array_equal(log.slot_propensity, [1, 0.125, 1, np.nan])
    with pytest.raises(InputError, match=r"slot_propensity.*above 0 and at most 1"):
        read(tmp_path, [f"{ROWS[0]},0"], header)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("r3,u,a,2000000000,1,0,0", "propensity.*above 0"),
        ("r3,u,a,2000000000,1,0,1.5", "at most 1"),
        ("r3,u,a,2000000000,1,0,-0.1", "above 0"),
        ("r3,u,a,2000000000,1,0,", "propensity.*not a number"),
        ("r3,u,a,2000000000,1,0,nan", "propensity.*not a number"),
        ("r3,u,a,2000000000,1,nan,1", "clicked.*not a number"),
        ("r3,u,a,2000000000,1,-1,1", "at least 0"),
        ("r3,u,,2000000000,1,0,1", "item is missing"),
        ("r3,u,a,9999999999,1,0,1", "time cannot be read"),
        ("r3,u,a,100,1,0,1", "1971 and 2100"),
        ("r1,u,b,2000000000,2,0,0.5", "two items of one list"),
    ],
)
def test_bad_rows_are_refused_by_name(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as found:
        read(tmp_path, [*ROWS, row])
    assert "Cure" in str(found.value)


def test_a_log_without_propensities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no other policy can be evaluated"):
        read(tmp_path, ["a,1"], "item,clicked")
    assert read(tmp_path, ["a,1"], "item,clicked", needs_propensity=False).propensity.tolist() == [1.0]


def test_columns_are_named(tmp_path: Path) -> None:
    log = read(
        tmp_path, ["a,1,0.5,x,0.2"], "film,y,p,segment,new", columns={"propensity": "p"}, also={"segment": "text"}
    )
    assert log.columns["segment"].tolist() == ["x"]
    with pytest.raises(InputError, match=r"no column 'q'"):
        read(tmp_path, ["a,1,0.5"], "film,y,p", columns={"propensity": "q"})
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        read(tmp_path, ["a,1,0.5,1.5"], "film,y,prob,new", also={"new": "probability"})


def test_some_lists_are_selected(tmp_path: Path) -> None:
    log = read(tmp_path, ROWS)
    part = log.select(log.list == 1)
    assert part.list.tolist() == [0, 0]
    assert np.array_equal(part.reward, [0, 1])


def test_what_attribution_writes_is_read(tmp_path: Path) -> None:
    columns = {
        "request_id": ["r", "r"],
        "time": [2_000_000_000] * 2,
        "user": ["u", "u"],
        "item": ["a", "b"],
        "position": pl.Series([1, 2], dtype=pl.Int32),
        "score": [1.0, 0.5],
        "propensity": pl.Series([1, 0.25], dtype=pl.Float32),
        "variant": ["x", "x"],
        "bundle": ["y", "y"],
        "clicked": [True, False],
        "watched_seconds": pl.Series([60, 0], dtype=pl.Float32),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "shown.parquet")
    log = decisions(str(tmp_path / "shown.parquet"), also={"variant": "text"})
    assert log.reward.tolist() == [1, 0]
    assert log.propensity.tolist() == [1, 0.25]
    assert log.list.tolist() == [0, 0]
    assert log.columns["variant"].tolist() == ["x", "x"]
