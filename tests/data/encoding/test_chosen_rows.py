"""Which rows of a table are events: conditions as people type them, and weights of types of events."""

from __future__ import annotations

import shlex
from pathlib import Path

import polars as pl
import pytest

import pasand as ps
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.sources import load


def written(path: Path, column: str, cells: list[str]) -> Path:
    """Write an event for each cell of a column."""
    frame = pl.DataFrame({"user": [f"u{e % 5}" for e in range(len(cells))], column: cells})
    frame.with_columns(item=pl.Series([f"i{e}" for e in range(len(cells))])).write_csv(path)
    return path


def warnings_of(data: Dataset) -> list[str]:
    return [note for note in data.notes if note.startswith("warning") and "no time" not in note]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("price > 400", ["12,999.00", "499.00", "1,29,999.00"]),
        ("price > 1,000", ["12,999.00", "1,29,999.00"]),
        ("price = 12999", ["12,999.00"]),
        ("price != 1,29,999", ["12,999.00", "499.00", "99.50"]),
    ],
)
def test_numbers_with_commas_are_compared_as_numbers(tmp_path: Path, text: str, kept: list[str]) -> None:
    cells = ["12,999.00", "499.00", "1,29,999.00", "99.50"]
    data = load(written(tmp_path / "log.csv", "price", cells), where=text)
    assert data.items.ids(range(data.n_items)) == [f"i{cells.index(cell)}" for cell in kept]
    assert not warnings_of(data)


def test_cells_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    data = load(written(tmp_path / "log.csv", "price", ["500", "about 900", "", "free", "3"]), where="price > 100")
    assert len(data) == 1
    (note,) = warnings_of(data)
    assert note.startswith("warning: --where 'price > 100': 2 cells are no numbers")


@pytest.mark.parametrize("text", ["ret != True", "ret != true", "ret != 1", "ret = FALSE", "ret = 0"])
@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_truth_is_compared_however_it_is_spelled(tmp_path: Path, text: str, ending: str) -> None:
    path = written(tmp_path / "log.csv", "ret", ["True", "False", "False"])
    frame = pl.read_csv(path, schema_overrides={"ret": pl.String}).with_columns(pl.col("ret") == "True")
    if ending == "parquet":
        frame.write_parquet(tmp_path / "log.parquet")
    elif ending == "jsonl":
        frame.write_ndjson(tmp_path / "log.jsonl")
    assert load(tmp_path / f"log.{ending}", where=text).items.ids([0, 1]) == ["i1", "i2"]


def test_true_beside_other_texts_is_text(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", "ret", ["True", "true", "unknown"])
    assert len(load(path, where="ret = true")) == 1
    assert len(load(path, where="ret != true")) == 2


def test_a_condition_without_effect_is_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", "kind", ["view", "buy", "view"])
    data = load(path, where=("kind != View", "kind != buy"))
    assert (len(data), warnings_of(data)) == (2, ["warning: --where 'kind != View' leaves out no row"])
    assert 'warning: where="kind != View" leaves out no row' in ps.load(path, where="kind != View").notes


def test_a_type_that_no_event_has_is_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", "event", ["view"] * 5 + ["purchase"] * 3)
    data = load(path, events={"view": 1, "purchse": 3})
    assert len(data) == 5
    (note,) = warnings_of(data)
    assert note.startswith("warning: no event is of type 'purchse'")
    assert note.endswith("did you mean purchase? there are view 5, purchase 3")
    assert "types of events left out: purchase 3" in data.notes
    many = written(tmp_path / "many.csv", "event", [f"kind{n}" for n in range(9) for _ in range(9 - n)])
    listed = "kind1 8, kind2 7, kind3 6, kind4 5, kind5 4 and 3 more"
    assert f"types of events left out: {listed}" in load(many, events={"kind0": 1}).notes


def test_types_are_compared_without_regard_to_case_and_spaces(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", "event", ["view", " view ", "Purchase", "Purchase"])
    data = load(path, events={" View": 1, "purchase": 3})
    assert data.value is not None
    assert (data.value.tolist(), warnings_of(data)) == ([1, 1, 3, 3], [])


def test_types_that_differ_in_case_only_are_kept_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", "event", ["view", "View", "buy", "view"])
    assert len(load(path, events={"view": 1})) == 2
    data = load(path, events={"View": 2, "view": 1})
    assert data.value is not None
    assert data.value.tolist() == [1, 2, 1]
    assert len(load(path, events={"BUY": 2})) == 1


def test_a_type_that_begins_late_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", "event", ["view"] * 2_500 + ["purchase"] * 300)
    data = load(path, events={"purchase": 3})
    assert (len(data), data.values) == (300, "strength")
    assert len(load(path, events={"purchase": 3}, event="event")) == 300
    (note,) = warnings_of(load(path))
    assert "holds types of events (view, purchase), which all count alike" in note
    with pytest.raises(InputError, match="there are view, purchase") as why:
        load(path, events={"rent": 3})
    assert shlex.split(str(why.value).partition("Cure: write ")[2].rstrip(".")) == ["--events", "view=1,purchase=2"]
    assert len(load(path, events={"view": 1, "purchase": 2})) == 2_800


def test_a_column_with_several_types_is_preferred(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a", "b", "a"], "item": ["x", "y", "z"], "event": ["app"] * 3})
    frame = frame.with_columns(event_type=pl.Series(["view", "buy", "view"]))
    assert len(ps.load(frame, events={"buy": 1})) == 1
    assert not any("types of events" in note for note in ps.load(frame.drop("event_type")).notes)
