"""A table of features joins on the column that the events name, and never on a title or the number of a row."""

from __future__ import annotations

import polars as pl
import pytest

from pasand.data.encoding.column_roles import OTHER_ID, numbers_rows, with_id
from pasand.errors import InputError


@pytest.mark.parametrize(
    ("columns", "of_events", "key"),
    [
        ("id,sku,title", "sku", "sku"),
        ("id,SKU,title", "sku", "SKU"),
        ("क्रम,उत्पाद,नाम", "उत्पाद", "उत्पाद"),
        ("क्रम,उत्पाद,नाम", "दिनांक", "क्रम"),
        ("nr,Größe", "größe", "Größe"),
        ("code,product,price", "code", "code"),
        ("code,product,price", None, "code"),
        (",Artikel,title", "Artikel", "Artikel"),
        (",Artikel,title", None, "Artikel"),
        ("title,movie_id", "film", "movie_id"),
        ("title,id", "film", "id"),
        ("film,id", "film", "film"),
        ("id,column_2", "column_2", "id"),
        ("title", None, "title"),
        ("", None, ""),
    ],
)
def test_the_id_is_the_column_of_the_events_then_an_id_then_the_first(
    columns: str, of_events: str | None, key: str
) -> None:
    table = pl.DataFrame({name: [name] for name in columns.split(",")})
    found, name = with_id(table, "item", of_events)
    assert (found["id"].item(), name) == (key, key)
    assert found.columns == ["id" if one == key else OTHER_ID if one == "id" else one for one in columns.split(",")]


@pytest.mark.parametrize(("name", "expected"), [("", True), ("Unnamed: 0", True), ("मूल्य", False), ("price", False)])
def test_a_column_named_in_another_script_does_not_number_the_rows(name: str, expected: bool) -> None:
    assert numbers_rows(name, pl.Series([1, 2, 3])) == expected


def test_a_chosen_column_is_the_id() -> None:
    table = pl.DataFrame({"id": [1], "sku": [2]})
    assert with_id(table, "item", "sku", "id")[1] == "id"
    with pytest.raises(InputError, match=r"there are id, sku\. Cure: name one of them: --column users\.id=NAME"):
        with_id(table, "user", "sku", "x")
