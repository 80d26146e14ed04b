"""Folders of KuaiRec, Goodreads, H&M, Yelp and RetailRocket, in the layout in which they are published."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from pasand.data.dataset import Dataset
from pasand.sources import load


def folder(path: Path, **files: str) -> Path:
    """Write files, whose names have __ for the point."""
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return path


def items(data: Dataset, name: str) -> dict[str, str]:
    """Return a feature of the items as text by id."""
    feature = data.item_features[name]
    return {item: feature.show(int(data.items.rows([item])[0])) for item in data.items.ids(range(data.n_items))}


def events(data: Dataset) -> list[tuple[str, str, float]]:
    values = [0.0] * len(data) if data.value is None else data.value.tolist()
    return list(zip(data.users.ids(data.user), data.items.ids(data.item), values, strict=True))


def jsonl(*rows: Mapping[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_kuairec(tmp_path: Path) -> None:
    head = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    rows = "".join(
        f"{n % 2},{148 + n},4381,6067,2020-07-0{1 + n} 10:00:00,2020070{1 + n},159359880{n},{0.5 + n}\n"
        for n in range(4)
    )
    (tmp_path / "data").mkdir()
    folder(
        tmp_path / "data",
        big_matrix__csv=head + rows,
        small_matrix__csv=head + rows[: rows.index("\n") + 1],
        item_categories__csv='video_id,feat\n148,[8]\n149,"[27, 9]"\n150,[9]\n151,[26]\n',
        item_daily_features__csv="video_id,date,play_cnt\n148,20200701,99\n",
        kuairec_caption_category__csv="video_id,manual_cover_text,caption,topic_tag,first_level_category_id,"
        "first_level_category_name\n149,UNKNOWN,Cats at noon,[],8,Pets\n",
        user_features__csv="user_id,user_active_degree,is_video_author,onehot_feat0\n0,high_active,1,3\n1,full_active,0,1\n",
    )
    data = load(tmp_path)
    assert (data.name, data.values, data.order) == (tmp_path.name, "strength", "time")
    assert events(data) == [("0", "148", 0.5), ("1", "149", 1.5), ("0", "150", 2.5), ("1", "151", 3.5)]
    assert data.item_features["tags"].kind == "bag"
    assert items(data, "tags")["149"] == "27, 9"
    assert items(data, "title")["149"] == "Cats at noon"
    assert set(data.user_features) == {"user_active_degree", "is_video_author"}
    small = load(tmp_path / "data" / "small_matrix.csv")
    assert len(small) == 1


def test_goodreads(tmp_path: Path) -> None:
    added = "Fri Sep 08 10:00:0{} -0700 2017"
    rows = [
        {
            "user_id": f"u{n % 2}",
            "book_id": str(10 + n),
            "rating": n % 3,
            "is_read": True,
            "date_added": added.format(n),
        }
        for n in range(6)
    ]
    (tmp_path / "goodreads_interactions_poetry.json.gz").write_bytes(gzip.compress(jsonl(*rows).encode()))
    book = {
        "book_id": "11",
        "title": "Gitanjali",
        "publication_year": "1910",
        "average_rating": "4.2",
        "num_pages": "80",
    }
    folder(tmp_path, goodreads_books_poetry__json=jsonl(book, {**book, "book_id": "12", "title": "Kabir"}))
    data = load(tmp_path)
    assert (data.values, data.order, len(data)) == ("rating", "time", 4)
    assert min(value for *_, value in events(data)) == 1
    assert items(data, "title")["11"] == "Gitanjali"
    assert "average_rating" not in data.item_features
    assert any("a rating of 0 means not rated" in note for note in data.notes)
    assert len(load(tmp_path, where="rating = 2")) == 2


def test_hm(tmp_path: Path) -> None:
    folder(
        tmp_path,
        transactions_train__csv="t_dat,customer_id,article_id,price,sales_channel_id\n"
        "2018-09-20,aa,0663713001,0.050830,2\n2018-09-21,bb,0541518023,0.030491,2\n2018-09-22,aa,0663713001,0.0508,1\n",
        articles__csv="article_id,product_code,prod_name,product_type_no,product_type_name,detail_desc\n"
        "0663713001,663713,Atlanta Push Body,283,Bodysuit,A body.\n0541518023,541518,Rae Push,306,Bra,A bra.\n",
        customers__csv="customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code\n"
        "aa,,,ACTIVE,NONE,49,52043e\nbb,1,1,ACTIVE,Regularly,25,2973ab\n",
        sample_submission__csv="customer_id,prediction\naa,0706016001\n",
    )
    data = load(tmp_path)
    assert (data.values, data.order, len(data)) == ("none", "time", 3)
    assert items(data, "title") == {"0541518023": "Rae Push", "0663713001": "Atlanta Push Body"}
    assert set(data.user_features) == {"club_member_status", "fashion_news_frequency", "age"}
    assert "product_code" not in data.item_features


def test_yelp(tmp_path: Path) -> None:
    review = {
        "review_id": "r",
        "user_id": "u1",
        "business_id": "b1",
        "stars": 4.0,
        "useful": 0,
        "text": "good,\nreally",
    }
    business = {"business_id": "b1", "name": "Dosa Hut", "city": "Tampa", "stars": 3.5, "review_count": 80}
    more = {"attributes": {"WiFi": "no"}, "categories": "Indian, Restaurants", "hours": None}
    folder(
        tmp_path,
        yelp_academic_dataset_review__json=jsonl(
            {**review, "date": "2018-07-07 22:09:11"},
            {**review, "user_id": "u2", "date": "2018-07-08 22:09:11", "stars": 1.0},
        ),
        yelp_academic_dataset_business__json=jsonl({**business, **more}),
        yelp_academic_dataset_user__json=jsonl({"user_id": "u1", "average_stars": 4.0}),
    )
    data = load(tmp_path)
    assert events(data) == [("u1", "b1", 4.0), ("u2", "b1", 1.0)]
    assert (data.values, data.order) == ("rating", "time")
    assert items(data, "categories") == {"b1": "Indian, Restaurants"}
    assert data.item_features["categories"].kind == "bag"
    assert not {"stars", "review_count"} & set(data.item_features)


def test_retailrocket(tmp_path: Path) -> None:
    folder(
        tmp_path,
        events__csv="timestamp,visitorid,event,itemid,transactionid\n1433221332117,7,view,355,\n"
        "1433224214164,7,addtocart,355,\n1433224244282,8,transaction,248,4000\n",
        item_properties_part1__csv="timestamp,itemid,property,value\n1435460400000,355,categoryid,1338\n"
        "1434000000000,355,categoryid,1337\n1441508400000,248,888,1116713 n277.200\n",
        item_properties_part2__csv="timestamp,itemid,property,value\n1433041200000,248,categoryid,9\n",
        category_tree__csv="categoryid,parentid\n1337,213\n9,\n",
    )
    data = load(tmp_path)
    assert events(data) == [("7", "355", 1.0), ("7", "355", 2.0), ("8", "248", 3.0)]
    assert int(data.time[0]) == 1433221332
    assert items(data, "category") == {"248": "9", "355": "1337"}
    assert items(data, "parent_category")["355"] == "213"
    assert len(load(tmp_path, events={"transaction": 1})) == 1
    assert any("weights are view 1, addtocart 2, transaction 3" in note for note in data.notes)


@pytest.mark.parametrize("name", ["events", "review", "articles"])
def test_other_folders_are_left_to_the_general_reader(tmp_path: Path, name: str) -> None:
    data = load(folder(tmp_path, **{f"{name}__csv": "user,item,time\nu,i,1700000000\nv,j,1700000100\n"}))
    assert len(data) == 2
