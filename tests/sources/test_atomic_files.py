"""RecBole's atomic files: NAME.inter with the features in NAME.user and NAME.item."""

from __future__ import annotations

from pathlib import Path

import pytest

from pasand.errors import InputError
from pasand.sources import load

EVENTS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
USERS = "user_id:token\tage:float\tgender:token\nu1\t31\tF\nu0\t\tM\n"
ITEMS = 'item_id:token\tmovie_title:token_seq\tclass:token_seq\tvec:float_seq\ni0\tThe "Film\tDrama Action\t0.5 -1\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    rows = [f"u{n % 5}\ti{n % 7}\t{1 + n % 5}\t{978300000 + 60 * n}" for n in range(70)]
    (tmp_path / "toy" / "toy.inter").write_text(EVENTS + "\n".join(rows) + "\n")
    (tmp_path / "toy" / "toy.user").write_text(USERS + "u2\t40\tF\nu3\t22\tM\n")
    more = [f"i{n}\tFilm {n}\t{'Drama' if n % 2 else 'Action'}\t{n} 1" for n in range(1, 7)]
    (tmp_path / "toy" / "toy.item").write_text(ITEMS + "\n".join(more) + "\n")
    return tmp_path / "toy"


@pytest.mark.parametrize("name", ["", "toy.inter"])
def test_features_beside_the_events_are_read(folder: Path, name: str) -> None:
    data = load(folder / name)
    first, users = int(data.items.rows(["i0"])[0]), data.users.rows(["u0", "u1"]).tolist()
    kinds = {key: feature.kind for key, feature in data.item_features.items()}
    assert kinds == {"movie_title": "text", "class": "bag", "vec": "vector"}
    assert data.item_features["movie_title"].show(first) == 'The "Film'
    assert sorted(data.item_features["class"].show(first).split(", ")) == ["Action", "Drama"]
    assert data.item_features["vec"].values[first].tolist() == [0.5, -1.0]
    assert [data.user_features["age"].show(row) for row in users] == ["", "31"]
    assert [data.user_features["gender"].show(row) for row in users] == ["M", "F"]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (
            ITEMS.replace("0.5 -1", "0.5 x"),
            r"toy\.item, row 2, column 'vec': '0.5 x' is wrong: not a number.*vec:token",
        ),
        (ITEMS.replace("class:token_seq", "class"), r"toy\.item, column 'class': the column has no type"),
        (ITEMS.replace("item_id", "movie"), r"toy\.item: there is no column item_id"),
    ],
)
def test_a_wrong_atomic_file_is_refused(folder: Path, content: str, cause: str) -> None:
    (folder / "toy.item").write_text(content)
    with pytest.raises(InputError, match=cause):
        load(folder / "toy.inter")
