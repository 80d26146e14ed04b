"""Extra texts of the 1M layout of MovieLens: plots, casts and abstracts, and the error for a damaged file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pasand import sources
from pasand.errors import InputError

EXTRA = (
    "7::Rain::1950::PG::1 Jan 1950::Drama::A One, B Two::A One::C Three, D Four::It rains: a lot.::http://x\n"
    "8::Sun::1951::N/A::1 Jan 1951::Drama::N/A::N/A::N/A::N/A::N/A\n"
    "9::short\n"
)


def folder(path: Path, abstracts: str = '{"8": "Sun is a film."}') -> Path:
    (path / "ratings.dat").write_text("".join(f"{user}::{item}::5::{user}\n" for user in (1, 2) for item in (7, 8, 9)))
    (path / "movies.dat").write_text("7::Rain (1950)::Drama\n8::Sun (1951)::Drama|War\n9::Wind (1952)::War\n")
    (path / "movies_extrainfos.dat").write_text(EXTRA)
    (path / "dbpedia_abstracts.json").write_text(abstracts)
    return path


def test_texts_become_features_of_the_movies(tmp_path: Path) -> None:
    data = sources.load(folder(tmp_path))
    shown = {
        name: [feature.show(int(row)) for row in data.items.rows(["7", "8", "9"])]
        for name, feature in data.item_features.items()
    }
    assert shown["cast"] == ["C Three, D Four", "", ""]
    assert shown["director"] == ["A One, B Two", "", ""]
    assert shown["certificate"] == ["PG", "", ""]
    assert shown["plot"] == ["It rains: a lot.", "", ""]
    assert shown["abstract"] == ["", "Sun is a film.", ""]
    assert shown["year"] == ["1950", "1951", "1952"]


def test_damaged_abstracts_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dbpedia_abstracts"):
        sources.load(folder(tmp_path, '{"8": ["no text"]}'))
