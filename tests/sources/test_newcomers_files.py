"""Files as people have them: encodings, decimal commas, types of events, chosen rows, named tables of items."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.sources import load

TITLES = ("Amélie", "Señorita", "Über uns")


def log(n: int = 30) -> str:
    return "user,item,rating\n" + "".join(f"u{e % 5},{TITLES[e % 3]},{1 + e % 5}\n" for e in range(n))


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "not UTF-8 text: read as UTF-16"),
        ("utf-16-be", "not UTF-8 text: read as UTF-16"),
        ("latin-1", "not UTF-8 text: read as Windows-1252 (Latin-1)"),
        ("cp1252", "not UTF-8 text: read as Windows-1252 (Latin-1)"),
    ],
)
def test_text_of_any_usual_encoding_is_read_the_same(tmp_path: Path, encoding: str, note: str | None) -> None:
    content = log().encode(encoding)
    (tmp_path / "log.csv").write_bytes(b"\xfe\xff" + content if encoding == "utf-16-be" else content)
    data = load(tmp_path / "log.csv")
    assert sorted(data.items.ids(range(data.n_items))) == sorted(TITLES)
    assert (note in data.notes) == (note is not None)
    assert sum("not UTF-8" in line for line in data.notes) == (note is not None)


def test_a_foreign_letter_after_millions_of_bytes_is_found(tmp_path: Path) -> None:
    plain = b"user,item\n" + b"".join(b"u%d,i%d\n" % (e % 99, e) for e in range(20_000))
    (tmp_path / "log.csv").write_bytes(plain + "u1,Amélie\n".encode("latin-1"))
    assert "Amélie" in load(tmp_path / "log.csv").items.ids(range(20_001))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["4,5", "3", "0,25"], [4.5, 3, 0.25]),
        (["1.250,75", "3,5", "12"], [1250.75, 3.5, 12]),
        (["1,250", "12", "1,000,000"], [1250, 12, 1_000_000]),
        (["1,250.5", "2.5", "0"], [1250.5, 2.5, 0]),
    ],
)
def test_commas_in_numbers(tmp_path: Path, cells: list[str], expected: list[float]) -> None:
    rows = "".join(f"u{e};i{e};{cell}\n" for e, cell in enumerate(cells))
    (tmp_path / "log.csv").write_text(f"user;item;amount\n{rows}")
    value = load(tmp_path / "log.csv").value
    assert value is not None
    assert value.tolist() == pytest.approx(expected)


def shop(path: Path) -> Path:
    """Write 60 events: 30 views, 20 carts and 10 purchases, with prices."""
    kinds = ["view"] * 30 + ["cart"] * 20 + ["purchase"] * 10
    rows = "".join(f"{kind},u{e % 6},p{e},{5 + e},{1_700_000_000 + e}\n" for e, kind in enumerate(kinds))
    path.write_text(f"event_type,user_id,product_id,price,event_time\n{rows}")
    return path


def test_types_of_events_are_never_mixed_silently(tmp_path: Path) -> None:
    data = load(shop(tmp_path / "log.csv"))
    assert len(data) == 60
    expected = (
        "warning: column 'event_type' holds types of events (view, cart, purchase), which all count alike: weigh them, "
        "--events 'view=1,cart=2,purchase=3', or keep one, --where 'event_type = purchase'"
    )
    assert expected in data.notes


def test_the_weights_to_type_rise_with_the_interest_that_a_type_shows(tmp_path: Path) -> None:
    kinds = ["view"] * 30 + ["transaction"] * 20 + ["addtocart"] * 10
    rows = "".join(f"{kind},u{e % 6},p{e}\n" for e, kind in enumerate(kinds))
    (tmp_path / "log.csv").write_text(f"event,visitorid,itemid\n{rows}")
    (note,) = [note for note in load(tmp_path / "log.csv").notes if "holds types of events" in note]
    assert "--events 'view=1,addtocart=2,transaction=3'" in note
    assert "--where 'event = transaction'" in note


def test_types_of_events_are_weighed(tmp_path: Path) -> None:
    data = load(shop(tmp_path / "log.csv"), events={"purchase": 3, "cart": 2, "view": 0})
    assert data.value is not None
    assert (data.values, data.value.tolist()) == ("strength", [0.0] * 30 + [2.0] * 20 + [3.0] * 10)
    assert int(data.is_positive.sum()) == 30
    assert not any(note.startswith("warning: column 'event_type'") for note in data.notes)
    some = load(shop(tmp_path / "log.csv"), events={"purchase": 1})
    assert (len(some), some.n_items) == (10, 10)
    assert "50 of 60 rows left out by choice" in some.notes


def test_types_that_do_not_exist_are_named(tmp_path: Path) -> None:
    path = shop(tmp_path / "log.csv")
    with pytest.raises(InputError, match=r"'buy' is wrong.*there are view, cart, purchase.*--events 'view=1"):
        load(path, events={"buy": 1})
    with pytest.raises(InputError, match=r"no column 'kind'.*--column event=NAME"):
        load(path, events={"buy": 1}, event="kind")
    path.write_text("user,item\n" + "a,b\n" * 5)
    with pytest.raises(InputError, match=r"no column holds types of events.*--column event=NAME"):
        load(path, events={"buy": 1})


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ("event_type = purchase", 10),
        ("event_type != view", 30),
        ("price >= 60", 5),
        ("price<7", 2),
        (("event_type == cart", "price > 50"), 4),
    ],
)
def test_conditions_choose_rows(tmp_path: Path, conditions: str | tuple[str, ...], kept: int) -> None:
    data: Dataset = load(shop(tmp_path / "log.csv"), where=conditions)
    assert len(data) == kept
    assert f"{60 - kept} of 60 rows left out by choice" in data.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("purchase", "no condition on a column. Cure: write COLUMN = VALUE"),
        ("kind = x", "no column 'kind'; there are event_type, user_id"),
        ("event_type > x", "'x' is not a number"),
        ("event_type = gift", "all 60 rows are left out"),
    ],
)
def test_wrong_conditions(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(shop(tmp_path / "log.csv"), where=text)


def test_rows_are_counted_with_those_that_are_left_out(tmp_path: Path) -> None:
    path = shop(tmp_path / "log.csv")
    path.write_text(path.read_text().replace("u3,p57", ",p57"))
    assert any("first: row 59" in note for note in load(path, where="event_type = purchase", bad_rows=0.2).notes)


def test_json_and_parquet_rows_are_chosen_too(tmp_path: Path) -> None:
    frame = pl.read_csv(shop(tmp_path / "log.csv"))
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_ndjson(tmp_path / "log.jsonl")
    for ending in ("parquet", "jsonl"):
        assert len(load(tmp_path / f"log.{ending}", where="price >= 60", events={"purchase": 2})) == 5


def test_tables_of_items_and_users_are_named(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text(
        "name,product_id,category\n" + "".join(f"Lamp {n},p{n},home\n" for n in range(70))
    )
    (tmp_path / "people.csv").write_text("user_id,city\n" + "".join(f"u{n},Pune\n" for n in range(6)))
    data = load(shop(tmp_path / "log.csv"), items=tmp_path / "products.csv", users=tmp_path / "people.csv")
    assert data.n_items == 70
    assert data.title(int(data.items.rows(pl.Series(["p12"]))[0])) == "Lamp 12"
    assert set(data.user_features) == {"city"}
    with pytest.raises(InputError, match=r"nobody\.csv"):
        load(tmp_path / "log.csv", users=tmp_path / "nobody.csv")


def test_a_first_row_that_could_be_a_header(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("asha,sholay\n" + "".join(f"u{e % 4},f{e}\n" for e in range(20)))
    with pytest.raises(InputError, match="no column looks like the user"):
        load(tmp_path / "log.csv")
    assert len(load(tmp_path / "log.csv", header=False)) == 21


def test_choices_that_a_source_cannot_follow_are_refused(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t5\t3\t978300760\n2\t6\t4\t978300761\n")
    for option, given in (("--where", {"where": "rating = 4"}), ("--events", {"events": {"view": 1}})):
        with pytest.raises(InputError, match=f"{option}: .*layout of its own"):
            load(tmp_path, **given)
