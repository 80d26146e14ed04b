"""Impressions: validation, splits together with the events, and encoding of tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand.data.check import check
from pasand.data.dataset import Dataset
from pasand.data.impressions import Impressions
from pasand.errors import InputError
from pasand.evaluation.protocols import protocol
from pasand.evaluation.protocols.sampled_negatives import _with_items
from pasand.simulation.world import World
from pasand.sources import load
from pasand.training.validation import split_latest
from tests.logs import log

EVENTS = "user,item,time,rating\nana,a,100,5\nbo,b,200,4\nana,b,300,3\nbo,c,400,5\n"


def impressions(rows: list[tuple[int, int, int, int, int]], **more: object) -> Impressions:
    """Impressions of (user, item, time, position, clicked), in order."""
    user, item, time, position, clicked = (np.array(column) for column in zip(*rows, strict=True))
    return Impressions(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=time.astype(np.int64),
        position=position.astype(np.int32),
        clicked=clicked.astype(np.bool_),
        **more,  # type: ignore[arg-type]
    )


def read(folder: Path, shown: str, *, events: str = EVENTS, name: str = "shown.csv", **options: object) -> Dataset:
    (folder / "events.csv").write_text(events)
    (folder / name).write_text(shown)
    return load(folder / "events.csv", impressions=folder / name, **options)  # type: ignore[arg-type]


def has_note(data: Dataset, *words: str) -> bool:
    return any(all(word in note for word in words) for note in data.notes)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


TWO = [(0, 0, 10, 1, 1), (0, 1, 10, 2, 0)]


@pytest.mark.parametrize(
    ("rows", "more", "word"),
    [
        ([TWO[1], TWO[0]], {}, "order"),
        ([(0, 0, 11, 1, 1), (0, 1, 10, 2, 0)], {}, "order"),
        ([(0, 0, 10, -1, 1)], {}, "position"),
        ([(-1, 0, 10, 1, 1)], {}, "rows"),
        (TWO, {"watched_seconds": floats(-1, 0)}, "watched_seconds"),
        (TWO, {"watched_seconds": floats(1, 5)}, "watched_seconds"),
        (TWO, {"propensity": floats(0, 1)}, "propensity"),
        (TWO, {"propensity": floats(0.5, 1.5)}, "propensity"),
        (TWO, {"propensity": floats(0.5, np.nan)}, "propensity"),
        (TWO, {"propensity": floats(0.5)}, "shape"),
        (TWO, {"features": {"shelf": floats(1)}}, "shelf"),
    ],
)
def test_invalid_impressions_are_rejected(
    rows: list[tuple[int, int, int, int, int]], more: dict[str, object], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        impressions(rows, **more)


def test_select_before_and_since_cut_every_column() -> None:
    rows = [(0, 0, 10, 1, 1), (1, 1, 10, 2, 0), (0, 2, 20, 1, 0), (1, 0, 30, 1, 1)]
    shown = impressions(
        rows,
        watched_seconds=floats(60, 0, 0, np.nan),
        propensity=floats(0.5, 0.4, 0.3, 0.2),
        features={"shelf": floats(1, 2, 3, 4)},
    )
    assert len(shown) == 4
    early = shown.before(20)
    assert early.item.tolist() == [0, 1], "impressions at the time itself are not before it"
    assert early.propensity is not None
    assert early.propensity.tolist() == floats(0.5, 0.4).tolist()
    assert early.features["shelf"].tolist() == [1, 2]
    assert shown.since(20).item.tolist() == [2, 0]
    each = shown.before(np.array([15, 31], np.int64))
    assert each.item.tolist() == [0, 1, 0], "user 0 up to 15, user 1 up to 31"
    assert shown.select(~shown.clicked).watched_seconds is not None
    assert len(shown.before(0)) == 0
    assert shown.before(0).before(5).features["shelf"].shape == (0,)


def test_the_fingerprint_depends_on_impressions() -> None:
    data = log([("u", "a", 10, 5), ("u", "b", 20, 5)])
    shown = impressions(TWO)
    fingerprints = {
        data.fingerprint,
        replace(data, impressions=shown).fingerprint,
        replace(data, impressions=replace(shown, clicked=~shown.clicked)).fingerprint,
        replace(data, impressions=replace(shown, propensity=floats(0.5, 0.5))).fingerprint,
    }
    assert len(fingerprints) == 4
    assert replace(data, impressions=impressions(TWO)).fingerprint in fingerprints
    with pytest.raises(ValueError, match="vocabularies"):
        replace(data, impressions=impressions([(0, 2, 10, 1, 1)]))


def impression_table() -> Dataset:
    """Two users; each clicked impression is 5 seconds before its event, as where the click is logged later."""
    data = log([("u", "a", 10, 5), ("v", "b", 20, 5), ("u", "b", 30, 5), ("v", "c", 40, 5), ("u", "c", 50, 5)])
    rows = [
        (0, 0, 5, 1, 1),
        (1, 1, 15, 1, 1),
        (1, 2, 15, 2, 0),
        (0, 1, 25, 1, 1),
        (0, 2, 25, 2, 0),
        (1, 2, 35, 1, 1),
        (0, 2, 45, 1, 1),
    ]
    return replace(data, impressions=impressions(rows))


def kept(data: Dataset) -> list[tuple[int, int, int]] | None:
    shown = data.impressions
    if shown is None:
        return None
    return list(zip(shown.user.tolist(), shown.item.tolist(), shown.time.tolist(), strict=True))


def test_a_temporal_split_keeps_the_impressions_known_at_its_cut() -> None:
    (split,) = protocol("temporal", train_share=0.6).split(impression_table())
    # the cut is at 40: v was shown c at 35, but that v clicked it is known only from 40 on
    assert kept(split.train) == [(0, 0, 5), (1, 1, 15), (1, 2, 15), (0, 1, 25), (0, 2, 25)]
    assert kept(split.test) == [(0, 2, 45)]
    inner = protocol("temporal", train_share=0.6).split(split.train)[0]
    assert inner.train.impressions is not None
    assert inner.train.impressions.time.max(initial=0) < 20


def test_leave_last_out_keeps_the_impressions_before_each_held_out_event() -> None:
    (split,) = protocol("leave-last-out", min_events=2).split(impression_table())
    # held out are v's c at 40 and u's c at 50; their clicked impressions are at 35 and 45
    assert kept(split.train) == [(0, 0, 5), (1, 1, 15), (1, 2, 15), (0, 1, 25), (0, 2, 25)]


def test_other_protocols_never_train_on_impressions_of_test_events() -> None:
    data = impression_table()
    (split,) = protocol("strong-generalisation", holdout_share=0.5).split(data)
    held = np.unique(split.test.user)
    assert split.train.impressions is not None
    assert len(split.train.impressions) in (3, 4)
    assert not np.isin(split.train.impressions.user, held).any()
    assert all(kept(part.train) is None for part in protocol("folds", n=2).split(data))
    assert kept(data.select(slice(0, 3))) is None, "a selection of events has only the impressions passed in"
    assert kept(replace(data, order="sequence").before(30)) is None
    assert kept(data.positives()) == kept(data)
    assert kept(data.with_items(["new"], {})) == kept(data)
    assert kept(_with_items(data, ["0"])) is None, "rows were renumbered"


def test_a_table_is_read_with_ids_of_the_log_and_in_order(tmp_path: Path) -> None:
    shown = (
        "viewer,film,timestamp,rank,clicked,watch_time,pscore,shelf,page\n"
        "bo,b,190,2,1,50,0.25,3,home\n"
        "bo,a,190,1,0,,0.5,2,home\n"
        "cy,d,1970-01-01,1,0,,0.5,2,home\n"
        "ana,a,90,1,true,30,1,1,home\n"
    )
    with pytest.raises(InputError, match="timestamp cannot be read"):
        read(tmp_path, shown)
    data = read(tmp_path, shown.replace("1970-01-01", "60"))
    assert data.items.series.to_list() == ["a", "b", "c", "d"], "an item that was only shown belongs to the catalogue"
    assert data.users.series.to_list() == ["ana", "bo", "cy"]
    found = data.impressions
    assert found is not None
    assert found.time.tolist() == [60, 90, 190, 190]
    assert data.users.ids(found.user) == ["cy", "ana", "bo", "bo"]
    assert data.items.ids(found.item) == ["d", "a", "a", "b"]
    assert found.position.tolist() == [1, 1, 1, 2]
    assert found.clicked.tolist() == [False, True, False, True]
    assert found.watched_seconds is not None
    assert found.watched_seconds.tolist() == [0, 30, 0, 50]
    assert found.propensity is not None
    assert found.propensity.tolist() == [0.5, 1, 0.5, 0.25]
    assert {name: values.tolist() for name, values in found.features.items()} == {"shelf": [2, 1, 2, 3]}
    assert has_note(data, "not used: page")
    assert has_note(data, "users with impressions but without an event", "1")
    report = check(data)
    assert report.impressions is not None
    assert report.impressions.clicks_by_position == {"1": pytest.approx(1 / 3), "2": 1.0}
    assert report.impressions.events_found == 0.5
    assert "impressions 4 of 3 items to 3 users, clicked 50.00%" in report.text()


def test_parquet_json_lines_and_folders_give_the_same_impressions(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"user": ["ana", "bo"], "item": ["a", "b"], "time": [90, 190], "position": [1, 1], "clicked": [True, False]}
    )
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "parts").mkdir()
    frame.head(1).write_csv(tmp_path / "parts" / "1.csv")
    frame.tail(1).write_csv(tmp_path / "parts" / "2.csv")
    frame.write_parquet(tmp_path / "shown.parquet")
    frame.write_ndjson(tmp_path / "shown.jsonl")
    fingerprints = {
        load(tmp_path / "events.csv", impressions=tmp_path / name).fingerprint
        for name in ("parts", "shown.parquet", "shown.jsonl")
    }
    assert len(fingerprints) == 1
    assert load(tmp_path / "events.csv").impressions is None


HEAD = "user,item,time,position,clicked,watched_seconds,propensity\n"
GOOD = [f"ana,a,{time},1,{time % 2},{10 * (time % 2)},0.5" for time in range(1, 41)]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("bo,b,190,1,1,20,0", ("propensity is 0",)),
        ("bo,b,190,1,1,20,-0.1", ("propensity is not a probability",)),
        ("bo,b,190,1,1,20,1.01", ("propensity is not a probability",)),
        ("bo,b,190,1,1,20,often", ("propensity is not a number",)),
        ("bo,b,190,1,1,20,", ("1 impression dropped", "propensity is missing")),
        ("bo,b,190,1,1,-3,0.5", ("watched_seconds is negative",)),
        ("bo,b,190,1,1,long,0.5", ("watched_seconds is not a number",)),
        ("bo,b,,1,1,20,0.5", ("time is missing", "row 42")),
        ("bo,b,soon,1,1,20,0.5", ("time cannot be read",)),
        ("bo,b,-5,1,1,20,0.5", ("time is before 1970",)),
        ("bo,b,190,1,2,20,0.5", ("clicked is neither 0 nor 1", "'2'")),
        ("bo,b,190,1,,20,0.5", ("clicked is missing",)),
        (",b,190,1,1,20,0.5", ("user is missing",)),
        (GOOD[0], ("1 impression dropped", "duplicates")),
    ],
)
def test_bad_rows_are_dropped_and_noted(tmp_path: Path, row: str, words: tuple[str, ...]) -> None:
    data = read(tmp_path, HEAD + "\n".join([*GOOD, row]) + "\n")
    assert data.impressions is not None
    assert len(data.impressions) == 40
    assert has_note(data, *words)


def test_many_bad_rows_are_rejected_with_the_most_frequent_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"propensity is 0.*of 43 rows 3 are bad"):
        read(tmp_path, HEAD + "\n".join([*GOOD, *["bo,b,190,1,1,20,0"] * 3]) + "\n")
    with pytest.raises(InputError, match="header but no rows"):
        read(tmp_path, HEAD)
    with pytest.raises(InputError, match="user is missing"):
        read(tmp_path, HEAD + ",a,5,1,1,1,1\n")


def test_a_table_without_good_rows_is_rejected(tmp_path: Path) -> None:
    rows = ["ana,a,1,1,1,5,", "ana,a,2,1,1,5,"]
    data = read(tmp_path, HEAD + "\n".join(rows) + "\n")
    assert data.impressions is not None
    assert data.impressions.propensity is None, "a column that is missing throughout is unknown"
    with pytest.raises(InputError, match="of 2 rows 2 are bad"):
        read(tmp_path, HEAD + "ana,a,1,1,maybe,5,1\nana,a,2,1,maybe,5,1\n")


def test_unknown_positions_and_propensities_do_not_cost_rows(tmp_path: Path) -> None:
    rows = ["ana,a,1,0,1,5,", "ana,b,2,-1,0,0,", "ana,a,3,1.5,0,0,", "bo,a,4,,0,0,", "bo,a,5,3,0,0,"]
    data = read(tmp_path, HEAD + "\n".join(rows) + "\n")
    assert data.impressions is not None
    assert data.impressions.position.tolist() == [0, 0, 0, 0, 3]
    assert data.impressions.propensity is None
    assert has_note(data, "4 impressions of unknown position", "1 are 0", "add one")


def test_of_duplicates_the_clicked_row_is_kept(tmp_path: Path) -> None:
    rows = ["ana,a,1,1,0,,0.5", "ana,a,1,1,1,7,0.5", "ana,a,1,1,1,,0.5", "ana,a,1,2,0,,0.5"]
    data = read(tmp_path, HEAD + "\n".join(rows) + "\n")
    assert data.impressions is not None
    assert data.impressions.clicked.tolist() == [True, False]
    assert data.impressions.watched_seconds is not None
    assert data.impressions.watched_seconds.tolist() == [7, 0]


def test_watch_times_far_beyond_the_running_time_are_clipped_and_noted(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "events.csv").write_text(EVENTS)
    (tmp_path / "log" / "items.csv").write_text("id,minutes\na,2\nb,10\nc,5\n")
    (tmp_path / "shown.csv").write_text(
        "user,item,time,taken,watched_seconds\nana,a,1,1,360\nana,a,2,1,361\nbo,b,3,1,361\nbo,b,4,0,9\nbo,c,5,1,\n"
    )
    data = load(tmp_path / "log", impressions=tmp_path / "shown.csv")
    assert data.impressions is not None
    assert data.impressions.watched_seconds is not None
    assert data.impressions.watched_seconds[:4].tolist() == [360, 360, 361, 0]
    assert np.isnan(data.impressions.watched_seconds[4]), "clicked, with an unknown watch time"
    assert has_note(data, "1 impression watched for more than 3 times", "minutes")
    assert has_note(data, "1 impression watched but not clicked")


def test_clicks_follow_from_watch_times_and_constant_labels_are_noted(tmp_path: Path) -> None:
    data = read(tmp_path, "user,item,time,watched_seconds\nana,a,1,5\nana,b,2,0\nbo,a,3,\n")
    assert data.impressions is not None
    assert data.impressions.clicked.tolist() == [True, False, False]
    for label, count in (("1", "all"), ("0", "none")):
        data = read(tmp_path, f"user,item,time,clicked\nana,a,1,{label}\nana,b,2,{label}\n")
        assert has_note(data, f"{count} of them were clicked")


@pytest.mark.parametrize(
    "cells", [[1, 0, 1], [1.0, 0.0, 1.0], [True, False, True], ["yes", "NO", "true"], ["1.0", " 0 ", "1"]]
)
def test_clicked_may_be_written_in_many_ways(tmp_path: Path, cells: list[object]) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    pl.DataFrame({"user": ["ana"] * 3, "item": ["a"] * 3, "time": [1, 2, 3], "clicked": cells}).write_parquet(
        tmp_path / "shown.parquet"
    )
    data = load(tmp_path / "events.csv", impressions=tmp_path / "shown.parquet")
    assert data.impressions is not None
    assert data.impressions.clicked.tolist() == [True, False, True]
    assert data.impressions.position.tolist() == [0, 0, 0]


def test_nan_in_a_table_is_missing(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    nothing = [float("nan")] * 2
    shown = {"user": ["ana"] * 2, "item": ["a", "b"], "time": [1, 2], "clicked": [1.0, 0.0]}
    frame = pl.DataFrame({**shown, "propensity": nothing, "watched_seconds": nothing, "position": nothing})
    frame.write_parquet(tmp_path / "shown.parquet")
    data = load(tmp_path / "events.csv", impressions=tmp_path / "shown.parquet")
    assert data.impressions is not None
    assert data.impressions.propensity is None
    assert data.impressions.watched_seconds is not None
    assert np.isnan(data.impressions.watched_seconds).tolist() == [True, False]
    assert data.impressions.position.tolist() == [0, 0]


def test_columns_can_be_named_and_missing_ones_are_rejected(tmp_path: Path) -> None:
    shown = "user,item,time,hit,p\nana,a,1,1,0.5\nana,b,2,0,0.5\n"
    with pytest.raises(InputError, match=r"impressions\.clicked=NAME"):
        read(tmp_path, shown)
    data = read(tmp_path, shown, impression_columns={"clicked": "hit", "propensity": "p"})
    assert data.impressions is not None
    assert data.impressions.clicked.tolist() == [True, False]
    assert data.impressions.propensity is not None
    with pytest.raises(InputError, match="no column 'nothing'"):
        read(tmp_path, shown, impression_columns={"clicked": "nothing"})
    with pytest.raises(InputError, match="impressions have no such column"):
        read(tmp_path, shown, impression_columns={"score": "p"})
    with pytest.raises(InputError, match="looks like the time"):
        read(tmp_path, "user,item,clicked\nana,a,1\n")
    with pytest.raises(InputError, match="header"):
        read(tmp_path, "1,2,3,1\n2,3,4,0\n")
    with pytest.raises(InputError, match="no such file or folder"):
        load(tmp_path / "events.csv", impressions=tmp_path / "nowhere.csv")


def test_the_validation_split_does_not_leak_its_positives_through_impressions() -> None:
    found = split_latest(impression_table(), np.random.default_rng(0))
    assert found is not None
    # too few users for a cut in time: the last positives are held out, v's c at 40 and u's c at 50
    assert sorted(found.item.tolist()) == [2, 2]
    assert kept(found.train) == [(0, 0, 5), (1, 1, 15), (1, 2, 15), (0, 1, 25), (0, 2, 25)]
    data = World(n_users=2500, n_items=60, days=40, seed=2, visits=0.8, new_viewers=0).dataset()
    assert data.impressions is not None
    cut = split_latest(data, np.random.default_rng(0))
    assert cut is not None
    cut_time = data.time[int(0.9 * len(data))]
    assert cut.train.time.max() < cut_time, "with enough users there is one cut"
    assert cut.train.impressions is not None
    assert 0.8 * len(data.impressions) < len(cut.train.impressions) < len(data.impressions)
    assert cut.train.impressions.time.max() < cut_time
    none = split_latest(replace(impression_table(), order="none"), np.random.default_rng(0))
    assert none is not None
    assert none.train.impressions is None
