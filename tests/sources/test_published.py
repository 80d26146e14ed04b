"""The formats of published data sets: small imitations, and the real ones where they are present."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.sources import load, ncf
from tests.resources import real_data


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content.encode("latin-1"))
    return folder


def test_the_three_layouts_of_movielens_agree(tmp_path: Path) -> None:
    rows = [("1", "5", "3", "978300760"), ("2", "5", "4", "978300761"), ("2", "6", "5", "978300759")]
    text = {mark: "".join(mark.join(row) + "\n" for row in rows) for mark in ("\t", "::", ",")}
    movie = "5|Amélie (2001)|01-Jan-2001||url|0|1\n6|B (1999)|||url|1|0\n"
    u = write(tmp_path / "u", u__data=text["\t"], u__item=movie, u__genre="Drama|0\nWar|1\n", u__user="1|24|M|a|01\n")
    dat = write(
        tmp_path / "dat", movies__dat="5::Amélie (2001)::War\n6::B (1999)::Drama\n", users__dat="1::F::18::4::01\n"
    )
    (dat / "ratings.dat.gz").write_bytes(gzip.compress(text["::"].encode()))
    header = "userId,movieId,rating,timestamp\n"
    csv = write(tmp_path / "csv", ratings__csv=header + text[","])
    (csv / "movies.csv").write_text("movieId,title,genres\n5,Amélie (2001),War\n6,B (1999),Drama\n")
    datasets = [load(path) for path in (u, dat, csv)]
    assert len({data.fingerprint for data in datasets}) == 1
    for data in datasets:
        features = data.item_features
        assert [features[name].show(0) for name in ("title", "genres", "year")] == ["Amélie (2001)", "War", "2001"]
        assert [features[name].kind for name in ("title", "genres", "year")] == ["text", "bag", "number"]
    assert datasets[0].user_features["zip"].show(0) == "01"
    assert datasets[1].user_features["occupation"].show(0) == "college/grad student"


def test_both_layouts_of_sequences_agree_and_keep_repetitions(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("1 5\n1 6\n1 5\n2 6\n")
    (tmp_path / "lists.txt").write_text("1 5 6 5\n2 6\n")
    pairs, lists = load(tmp_path / "pairs.txt"), load(tmp_path / "lists.txt")
    assert pairs.fingerprint == lists.fingerprint
    assert (pairs.order, pairs.items.ids(pairs.item)) == ("sequence", ["5", "6", "5", "6"])


def test_rows_with_spaces_are_a_table_and_not_sequences(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("1 5 3 978300760\n2 6 4 978300761\n")
    (tmp_path / "headed.txt").write_text("user item\n1 5\n2 6\n")
    assert load(tmp_path / "rows.txt").order == "time"
    assert load(tmp_path / "headed.txt").users.ids([0, 1]) == ["1", "2"]


def test_ragged_plays_raise_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path, user_artists__dat="userID\tartistID\tweight\n1\t2\t3\n1\t2\t3\t4\n")
    with pytest.raises(InputError, match="it cannot be read"):
        load(folder)


def test_ncf_gives_training_events_and_test_cases(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        a__train__rating="0\t1\t5\n0\t2\t4\n",
        a__test__rating="0\t3\t5\t9\n",
        a__test__negative="(0,3)\t1\t4\n",
    )
    assert len(load(folder)) == 2
    assert ncf.read_negatives(folder) == (["0"], ["3"], [["1", "4"]])
    test_events = ncf.read_test_events(folder)
    assert test_events is not None
    assert test_events.row(0) == ("0", "3", "5", "9")
    (folder / "a.test.negative").write_text("0 3 1 4\n")
    with pytest.raises(InputError, match=r"row 1: .*\(user,item\)"):
        ncf.read_negatives(folder)


@pytest.mark.parametrize(
    ("name", "counts", "order", "values"),
    [
        ("ml-100k", (100_000, 943, 1_682), "time", "rating"),
        ("ml-1m-2999-users", (487_650, 2_999, 3_615), "time", "rating"),
        ("ml-1m", (1_000_209, 6_040, 3_706), "none", "rating"),
        ("amazon-musical-instruments-5core", (10_261, 1_429, 900), "time", "rating"),
        ("hetrec2011-lastfm-2k", (92_834, 1_892, 17_632), "none", "strength"),
        ("ncf-splits", (994_169, 6_040, 3_704), "none", "rating"),
        ("sequences/s3rec_Beauty.txt.gz", (198_502, 22_363, 12_101), "sequence", "none"),
        ("sequences/sasrec_Video.txt.gz", (287_107, 31_013, 23_715), "sequence", "none"),
    ],
)
def test_real_data_have_their_published_counts(
    name: str, counts: tuple[int, int, int], order: str, values: str
) -> None:
    data = load(real_data(name))
    assert (len(data), data.n_users, len(np.unique(data.item))) == counts
    assert (data.order, data.values) == (order, values)
    assert data.n_items == (3_883 if name.startswith("ml-1m") else counts[2])  # the films of movies.dat


def test_a_plain_csv_of_movielens_equals_the_folder(tmp_path: Path) -> None:
    source = real_data("ml-100k") / "u.data"
    (tmp_path / "copy.csv").write_text("user_id,item_id,rating,timestamp\n" + source.read_text().replace("\t", ","))
    assert load(tmp_path / "copy.csv").fingerprint == load(source.parent).fingerprint


def test_clicks_and_impressions_of_mind(tmp_path: Path) -> None:
    visits = "1\tU1\t11/11/2019 9:05:58 AM\tN9 N8\tN1-0 N2-1\n2\tU2\t11/12/2019 6:11:30 PM\t\tN2-0 N3-1 N1-1\n"
    (tmp_path / "behaviors.tsv").write_text(visits)
    (tmp_path / "news.tsv").write_text(
        "".join(f'N{n}\tnews\tindia\tTitle "{n}"\tText\turl\t[]\t[]\n' for n in (1, 2, 3))
    )
    data = load(tmp_path)
    assert (data.users.ids(data.user), data.items.ids(data.item)) == (["U1", "U2", "U2"], ["N2", "N3", "N1"])
    assert data.time.tolist() == [1573463158, 1573582290, 1573582290]
    assert data.item_features["title"].show(0) == 'Title "1"'
    shown = data.impressions
    assert shown is not None
    assert (len(shown), int(shown.clicked.sum()), shown.position.tolist()) == (5, 3, [1, 2, 1, 2, 3])
    assert load(tmp_path / "behaviors.tsv").fingerprint == data.fingerprint


def test_netflix_in_its_own_layout(tmp_path: Path) -> None:
    (tmp_path / "combined_data_1.txt").write_text("1:\n7,3,2005-09-06\n8,5,2005-05-13\n2:\n7,4,2005-09-05\n")
    (tmp_path / "combined_data_2.txt").write_text("3:\n9,1,2005-09-07\n")
    (tmp_path / "movie_titles.csv").write_bytes(
        "1,2003,Dinosaur Planet\n2,NULL,Amélie, again\n3,1997,C\n".encode("latin-1")
    )
    data = load(tmp_path)
    assert data.value is not None
    rows = list(zip(data.users.ids(data.user), data.items.ids(data.item), data.value.tolist(), strict=True))
    assert rows == [("8", "1", 5), ("7", "2", 4), ("7", "1", 3), ("9", "3", 1)]
    assert [data.item_features["title"].show(row) for row in range(3)] == ["Dinosaur Planet", "Amélie, again", "C"]
    assert len(load(tmp_path / "combined_data_1.txt")) == 3


def test_hours_of_steam(tmp_path: Path) -> None:
    rows = 'u1,"Game, The",purchase,1.0,0\nu1,"Game, The",play,273.0,0\nu2,Chess,purchase,1.0,0\nu3,Chess,play,0.5,0\n'
    (tmp_path / "steam-200k.csv").write_text(rows)
    data = load(tmp_path / "steam-200k.csv")
    assert data.value is not None
    assert (data.items.ids(data.item), data.value.tolist()) == (["Game, The", "Chess"], [273.0, 0.5])
    both = load(tmp_path / "steam-200k.csv", events={"play": 2, "purchase": 1})
    assert both.value is not None
    assert both.value.tolist() == [1, 2, 1, 2]


def test_the_listening_history_of_spotify(tmp_path: Path) -> None:
    short = [
        {"endTime": f"2023-01-0{d} 10:15", "artistName": "A", "trackName": "T", "msPlayed": 90_000} for d in (1, 2)
    ]
    (tmp_path / "StreamingHistory0.json").write_text(json.dumps(short))
    data = load(tmp_path)
    assert data.value is not None
    assert (data.users.ids([0]), data.items.ids([0]), data.value.tolist()) == (["me"], ["A - T"], [1.5, 1.5])
    long = [
        {
            "ts": "2023-01-01T10:15:00Z",
            "username": "asha",
            "ms_played": 30_000,
            "master_metadata_track_name": name,
            "master_metadata_album_artist_name": "A",
            "episode_name": None if name else "podcast",
        }
        for name in ("S", None)
    ]
    (tmp_path / "endsong_0.json").write_text(json.dumps(long))
    other = load(tmp_path / "endsong_0.json")
    assert (len(other), other.users.ids([0]), other.items.ids([0])) == (1, ["asha"], ["A - S"])
    (tmp_path / "endsong_1.json").write_text('[{"a": 1}]')
    with pytest.raises(InputError, match="no listening history: it has no ts or endTime"):
        load(tmp_path / "endsong_1.json")
