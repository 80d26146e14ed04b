"""What once went wrong silently is printed, with the line to type."""

from __future__ import annotations

import shlex
from pathlib import Path

import polars as pl
import pytest

import pasand as ps
from pasand.errors import InputError
from pasand.sources import load
from tests.cli.test_commands import Output, pasand


def test_as_many_users_as_events_is_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"{e},p{e % 7},{1_700_000_000 + e}\n" for e in range(60))
    (tmp_path / "orders.csv").write_text(f"session,product,time\n{rows}")
    (note,) = [note for note in load(tmp_path / "orders.csv").notes if "hardly any user" in note]
    assert note.startswith("warning: 60 users in 60 events")
    assert "column 'session'" in note


@pytest.mark.parametrize(
    ("ratings", "is_warned"),
    [([0, 0, 1, 3, 5, 4], True), ([0, 7, 10, 8, 9], True), ([0, 0.5, 1, 3, 5], False), ([0, 1, 1, 0], False)],
)
def test_zeros_beside_a_scale_are_a_warning(tmp_path: Path, ratings: list[float], is_warned: bool) -> None:
    rows = "".join(f"u{e % 3},i{e},{rating}\n" for e, rating in enumerate(ratings))
    file = tmp_path / "log.csv"
    file.write_text(f"user,item,rating\n{rows}")
    warned = [note for note in load(file).notes if "not rated" in note]
    assert bool(warned) == is_warned
    if is_warned:
        assert "--where 'rating > 0'" in warned[0]
        without = load(file, where="rating > 0")
        assert len(without) == sum(rating > 0 for rating in ratings)


def typed(text: str) -> list[str]:
    """Return the options after the cure of a message."""
    line, _, other = text.partition("Cure: ")[2].partition(": ")[2].partition("; ")
    assert "--no-header" in other
    return shlex.split(line)


def test_columns_that_are_not_recognised_give_the_line_to_type(tmp_path: Path, capsys: Output) -> None:
    rows = "".join(f"k{e % 5},w{e % 7},{e}\n" for e in range(40))
    file = tmp_path / "log.csv"
    file.write_text(f"kunde,ware,anzahl\n{rows}")
    with pytest.raises(InputError, match="no column looks like the user or the item; there are kunde, ware") as why:
        load(file)
    assert typed(str(why.value)) == ["--column", "user=kunde", "--column", "item=ware"]
    assert pasand("data", "check", file, *typed(str(why.value))) == 0
    assert "40 events of 5 users and 7 items" in capsys.readouterr().out


def test_a_table_joins_on_the_column_that_is_named(tmp_path: Path, capsys: Output) -> None:
    events, items = tmp_path / "orders.csv", tmp_path / "products.csv"
    events.write_text("customer,sku\n" + "".join(f"k{e % 5},{e % 7}\n" for e in range(40)))
    items.write_text("id,sku,title\n" + "".join(f"{n},{6 - n},Lamp {6 - n}\n" for n in range(7)))
    assert load(events, items=items).title(2) == "Lamp 2"
    assert pasand("data", "check", events, "--items", items) == 0
    assert "items: id is column 'sku'" in capsys.readouterr().out
    assert pasand("data", "check", events, "--items", items, "--column", "items.id=id") == 0
    assert "items: id is column 'id'" in capsys.readouterr().out


def test_a_folder_of_two_tables_explains_itself(tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "my shop"
    folder.mkdir()
    rows = "".join(f"u{e % 5},p{e % 7},{1_700_000_000 + e}\n" for e in range(40))
    (folder / "events.csv").write_text(f"user_id,product_id,time\n{rows}")
    (folder / "products.csv").write_text("product_id,title\n" + "".join(f"p{e},Product {e}\n" for e in range(7)))
    with pytest.raises(InputError, match=r"2 tables, of which events\.csv has events") as why:
        load(folder)
    _, *words = shlex.split(str(why.value).partition("Cure: ")[2].removesuffix("."))
    assert words == [str(folder / "events.csv"), "--items", str(folder / "products.csv")]
    assert pasand("data", "check", *words) == 0


def test_cures_in_python_speak_python(tmp_path: Path) -> None:
    frame = pl.DataFrame({"kunde": ["a", "b", "a"], "ware": ["x", "y", "y"]})
    with pytest.raises(InputError, match='user="kunde", item="ware"'):
        ps.load(frame)
    assert ps.load(frame, user="kunde", item="ware").n_users == 2
    shop = pl.DataFrame({"user": ["a", "b"] * 3, "item": list("xyzxyz"), "event": ["view", "buy"] * 3})
    (note,) = [note for note in ps.load(shop).notes if "types of events" in note]
    assert 'events={"' in note
    assert 'where="event = ' in note
    assert "--" not in note
    with pytest.raises(InputError) as why:
        ps.load(shop, where="price > 3")
    assert 'where="COLUMN = VALUE"' in str(why.value)
    with pytest.raises(InputError) as why:
        ps.load(shop, where="event = rent")
    assert "Cure: change where or events." in str(why.value)
