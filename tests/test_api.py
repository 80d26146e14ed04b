"""pasand in three lines of Python: tables in, tables out, with external ids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import pasand as ps
from pasand import default_recipe
from pasand.data.dataset import Dataset
from pasand.errors import InputError


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    """Return 600 ratings: users of two groups like the items of their group."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 15)
    item = np.concatenate([rng.permutation(20)[:15] + 20 * (u % 2) for u in range(40)])
    return pl.DataFrame(
        {
            "customer": [f"c{u}" for u in user],
            "sku": [f"s{i}" for i in item],
            "stars": rng.integers(3, 6, 600),
            "when": 1_700_000_000 + rng.permutation(600) * 1000,
        }
    )


@pytest.fixture(scope="module")
def data(table: pl.DataFrame) -> Dataset:
    names = pl.DataFrame({"sku": [f"s{i}" for i in range(40)], "name": [f"Thing {i}" for i in range(40)]})
    return ps.load(table, user="customer", item="sku", items=names)


def test_tables_of_all_kinds_are_read_the_same(table: pl.DataFrame, tmp_path: Path) -> None:
    table.write_csv(tmp_path / "log.csv")
    columns = {"user": "customer", "item": "sku"}
    sources = [table, table.lazy(), table.to_pandas(), table.to_arrow(), tmp_path / "log.csv"]
    assert len({ps.load(source, **columns).fingerprint for source in sources}) == 1
    assert isinstance(table.to_arrow(), pa.Table)
    indexed = table.to_pandas().set_index("customer")
    assert ps.load(indexed, **columns).n_users == 40


def test_a_comparison_is_a_table_with_a_verdict(data: Dataset, tmp_path: Path) -> None:
    found = ps.compare(data, ["item_knn", "ease"], protocol="leave-last-out")
    assert found.best in ("item_knn", "ease")
    assert {"item_knn", "ease", "popularity"} <= set(found.table["model"])
    assert found.best in found.verdict
    assert len(str(found)) < 4_000
    assert found.best in found._repr_html_()
    assert "<svg" in found.report(tmp_path / "report.html").read_text()
    assert ps.fit(data, found).recommend("c1").height == 10


def test_the_best_of_a_comparison_may_be_a_recipe_file(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(default_recipe.of_model("item_knn", {"neighbours": 7}))
    found = ps.compare(data, [str(tmp_path / "mine.toml")], protocol="leave-last-out")
    assert (found.best, found.named) == ("mine", {"mine": str(tmp_path / "mine.toml")})
    assert ps.fit(data, found).bundle.assembly.components["model"].neighbours == 7
    with pytest.raises(InputError, match="only popularity was compared"):
        _ = ps.compare(data, [], protocol="leave-last-out").best


def test_a_fitted_recommender_answers_with_external_ids(data: Dataset, tmp_path: Path) -> None:
    fitted = ps.fit(data, "ease")
    found = fitted.recommend(pd.Series(["c0", "c1", "a stranger"]), k=4)
    assert found.columns == ["user_id", "item_id", "rank", "score", "title"]
    assert found["rank"].to_list() == [1, 2, 3, 4] * 3
    seen = {(user, item) for user, item in zip(data.users.ids(data.user), data.items.ids(data.item), strict=True)}
    assert not seen & set(zip(found["user_id"], found["item_id"], strict=True))
    first = found.filter(pl.col("user_id") == "c0").row(0, named=True)
    assert first["title"] == "Thing " + first["item_id"].removeprefix("s")
    similar = fitted.similar(["s1", "s30"], k=3)
    assert similar["similar_to"].to_list() == ["s1"] * 3 + ["s30"] * 3
    sides = [int(item[1:]) < 20 for item in similar["item_id"]]
    assert sides == [True] * 3 + [False] * 3
    reasons = fitted.explain("c0", first["item_id"])
    assert {"step", "reason"} <= set(reasons["kind"])
    opened = ps.open(fitted.save(tmp_path / "bundle"))
    assert opened.recommend(["c0", "c1", "a stranger"], k=4).equals(found)
    assert len(repr(opened)) < 200
    assert fitted.recommend([], k=3).height == 0


@pytest.fixture(scope="module")
def numbered() -> ps.Fitted:
    """Return a recommender whose ids are numbers."""
    return ps.fit(ps.load(pl.DataFrame({"user_id": [41, 42, 42, 43], "item_id": [1, 2, 3, 1]})), "item_knn")


@pytest.mark.parametrize(
    "users",
    [
        [42.0, 43],
        (42, "43 "),
        np.array([42.0, 43.0]),
        pl.Series([42.0, 43.0]),
        pd.Series([42.0, 43.0, None]).dropna(),
        pd.Series([42, "43"]),
        pd.Series([42, 43]).astype("category"),
        pa.chunked_array([[42], [43]]),
        (one for one in (42, 43)),
        pl.DataFrame({"user_id": [42, 43]}),
        pl.LazyFrame({"user_id": [42, 43]}),
        pd.DataFrame({"user_id": [42, 43]}, index=[5, 6]),
        pa.table({"user_id": ["42", "43"]}),
    ],
    ids=lambda users: type(users).__name__,
)
def test_ids_are_accepted_in_columns_of_all_kinds(
    numbered: ps.Fitted, users: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert numbered.recommend(users, k=1)["user_id"].to_list() == ["42", "43"]
    assert not caplog.messages


def test_single_ids_of_all_kinds(numbered: ps.Fitted, caplog: pytest.LogCaptureFixture) -> None:
    for user in (42, 42.0, np.int64(42), np.float32(42), np.array(42), "42"):
        assert numbered.recommend(user, k=1)["user_id"].to_list() == ["42"]
        assert numbered.explain(user, 1.0)["kind"][0] == "step"
    assert numbered.similar([2.0], k=1)["similar_to"].to_list() == ["2"]
    assert not caplog.messages


def test_unknown_users_are_named(numbered: ps.Fitted, caplog: pytest.LogCaptureFixture) -> None:
    numbered.recommend(["00042", 42, 7])
    numbered.explain(8, 1)
    assert caplog.messages == [
        "2 of 3 users are not in the log and are new users, such as '00042'; an id of the log is '41'",
        "1 of 1 users are not in the log and are new users, such as '8'; an id of the log is '41'",
    ]
    with pytest.raises(InputError, match=r"items: '00002' is wrong: .*; 2 of 3 are none\. .*such as '1'"):
        numbered.similar(["00002", 2, 9])


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (None, "users: there is no id"),
        (pd.Series([42.0, None]), r"users, row 2: there is no id.*\.dropna\(\)"),
        (["a", 42, None], "users, row 3: there is no id"),
        (np.array([[42, 43]]), r"users: \[42, 43\] is wrong: not an id"),
        (pl.DataFrame({"user_id": [42], "age": [3]}), r'users: a table of 2 columns.*table\["user_id"\]'),
    ],
)
def test_what_is_no_id_is_refused(numbered: ps.Fitted, users: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        numbered.recommend(users)


@pytest.mark.parametrize("k", [0, 2.5, "2", None, True])
def test_k_is_a_whole_number(numbered: ps.Fitted, k: int) -> None:
    for call in (
        lambda: numbered.recommend(42, k=k),
        lambda: numbered.recommend([], k=k),
        lambda: numbered.similar(1, k=k),
        lambda: ps.compare(numbered.data, k=k),
    ):
        with pytest.raises(InputError, match=r"k: .*not a whole number of at least 1\. Cure: write k=10"):
            call()


def test_one_user_and_one_item_are_explained(numbered: ps.Fitted) -> None:
    with pytest.raises(InputError, match="user: 2 ids are given"):
        numbered.explain([41, 42], [3])
    with pytest.raises(InputError, match="item: 0 ids are given"):
        numbered.explain(41, [])


def test_without_a_test_query_no_model_is_best() -> None:
    again = pl.DataFrame({"user_id": 1, "item_id": [1, 2] * 5, "stars": [2] + [1] * 9, "timestamp": range(10)})
    found = ps.compare(ps.load(again, positive_from=2), "ease")
    assert found.verdict.startswith("There is no test query")
    assert "lower positive_from" in found.verdict
    for call in (lambda: found.best, lambda: ps.fit(found.comparison.data, found)):
        with pytest.raises(InputError, match="compare: There is no test query, so no model is best"):
            call()


def test_one_name_needs_no_list(data: Dataset) -> None:
    found = ps.compare(data, "ease", protocol="leave-last-out", metrics="auc")
    assert (found.best, found.named) == ("ease", {"ease": "ease"})
    assert "auc" in found.comparison.metrics


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bad_rows": 5}, "load: bad_rows must be between 0 and 1, got 5"),
        ({"bad_rows": "none"}, "load: .*not supported.*Cure: change"),
        ({"values": "foo"}, "load: values must be rating, strength or none, got foo"),
    ],
)
def test_wrong_options_are_refused(table: pl.DataFrame, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ps.load(table, **options)


@pytest.mark.parametrize("source", [{"user_id": list(range(999))}, [{"user_id": 1, "item_id": 2}], None])
def test_a_source_that_is_no_table_is_refused(source: object) -> None:
    with pytest.raises(InputError, match=r"is no source\. Cure: make it a data frame: polars\.DataFrame\("):
        ps.load(source)


def test_metrics_of_any_table_by_hand() -> None:
    shown = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "z"], "score": [2.0, 1.0, 5.0]})
    truth = pd.DataFrame({"user_id": ["a", "c"], "item_id": ["y", "z"]})
    found = ps.metrics(shown, truth, ["ndcg@10", "hit_rate@1", "mrr@10"])  # type: ignore[operator]
    assert found == pytest.approx({"ndcg@10": 1 / np.log2(3) / 2, "hit_rate@1": 0.0, "mrr@10": 0.25})
    repeated = pd.concat([truth, truth])
    assert ps.metrics(shown, repeated, ["ndcg@10", "hit_rate@1", "mrr@10"]) == found  # type: ignore[operator]
    numbers = pd.DataFrame({"user_id": [1.0, 2.0], "item_id": [7, 8]})
    assert ps.metrics(numbers.astype(int), numbers, ["hit_rate@1"]) == {"hit_rate@1": 1.0}  # type: ignore[operator]
    ranked = shown.with_columns(rank=pl.Series([2, 1, 1])).drop("score")
    assert ps.metrics(ranked, truth, ["hit_rate@1"]) == {"hit_rate@1": 0.5}  # type: ignore[operator]


def test_wrong_input_is_said_in_python(data: Dataset, table: pl.DataFrame) -> None:
    fitted = ps.fit(data, "item_knn")
    with pytest.raises(InputError, match="'s99' is wrong: not an item of the data"):
        fitted.similar("s99")
    with pytest.raises(InputError, match="k: 0 is wrong"):
        fitted.recommend("c0", k=0)
    with pytest.raises(InputError, match=r"unexpected keyword argument 'colour'.*use one of: user, item"):
        ps.load(table, colour="red")
    with pytest.raises(InputError, match="the table has no rows"):
        ps.load(table.head(0))
    twice = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "x"]})
    with pytest.raises(InputError, match="twice in the list of user 'a'"):
        ps.metrics(twice, twice)  # type: ignore[operator]
    with pytest.raises(InputError, match="needs more than lists"):
        ps.metrics(twice.unique(), twice, ["rmse"])  # type: ignore[operator]


def test_importing_pasand_loads_no_library() -> None:
    code = "import sys, pasand; print(sorted({'numpy', 'polars', 'torch', 'numba'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
