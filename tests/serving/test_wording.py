"""Words for items and what users do with them, and events that reject and undo, on a log of purchases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pasand as ps
from pasand import bundle as bundles
from pasand import recipe
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.home import home
from pasand.serving.engine.variant import Variant
from pasand.serving.refresh.training_data import gather
from pasand.serving.schemas import HomeRequest, RecommendRequest
from pasand.serving.states.contract import Event
from pasand.serving.states.sqlite import connect
from pasand.serving.wording import Wording, of_data, parsed
from tests.serving.recipes import CONTENT

NOW = 2_000_000_000


@pytest.fixture(scope="module")
def orders() -> Dataset:
    """Return purchases of 24 products in two categories by 20 customers."""
    rng = np.random.default_rng(0)
    log = pl.DataFrame(
        [
            (f"c{user}", f"p{item:02}", 1_700_000_000 + 1000 * user + n)
            for user in range(20)
            for n, item in enumerate((rng.permutation(12)[:5] + 12 * (user % 2)).tolist())
        ],
        schema=["customer_id", "product_id", "time"],
        orient="row",
    )
    items = pl.DataFrame({"product_id": [f"p{i:02}" for i in range(24)], "category": ["a"] * 12 + ["b"] * 12})
    return ps.load(log, items=items.with_columns(title="Thing " + pl.col("product_id")))


@pytest.fixture
def engine(orders: Dataset, tmp_path: Path) -> Engine:
    text = CONTENT.format(days=30)
    bundles.write(tmp_path / "bundle", recipe.build(text).fit(orders, seed=0), orders, seed=0)
    state = connect(str(tmp_path / "state.sqlite"))
    return Engine([Variant.read("main", str(tmp_path / "bundle"))], state, lambda: NOW)


def listed(engine: Engine, user: str) -> list[str]:
    return [item.item_id for item in engine.responses([RecommendRequest(user_id=user, k=24)])[0].items]


def test_words_follow_from_columns_features_and_the_name_of_the_log(orders: Dataset) -> None:
    assert (of_data(orders).noun, of_data(orders).past, of_data(orders).done) == ("product", "bought", "bought")
    table = pl.DataFrame({"who": ["a", "b"], "what": ["x", "y"]})
    assert of_data(ps.load(table, user="who", item="what")) == Wording("item", "choose", "chose", "items", "chosen")
    assert of_data(ps.load(table.rename({"what": "trackId"}), user="who", item="trackId")).verb == "listen to"
    authors = pl.DataFrame({"what": ["x", "y"], "author": ["Tagore", "Narayan"]})
    assert of_data(ps.load(table, user="who", item="what", items=authors)).noun == "book"


def test_an_option_or_a_recipe_chooses_the_words(orders: Dataset, engine: Engine) -> None:
    assert parsed("story").plural == "stories"
    assert parsed("song/play").past == "played"
    with pytest.raises(InputError, match="NOUN/VERB"):
        parsed("<b>")
    page = '[page]\nclass = "pasand.serving.wording:Wording"\nnoun = "gift"\nverb = "choose"\n'
    (chosen,) = (
        part for part in recipe.build(page + CONTENT.format(days=1)).components.values() if isinstance(part, Wording)
    )
    assert (chosen.noun, chosen.past) == ("gift", "chose")
    rows = home(engine, HomeRequest(user_id="c1")).rows
    assert any(row.title.startswith("Because you bought Thing p") for row in rows)
    engine.wording = chosen
    assert any(
        row.title.startswith("Because you chose Thing p") for row in home(engine, HomeRequest(user_id="c1")).rows
    )


def test_a_rejected_product_leaves_the_lists_and_is_no_purchase_and_undoing_brings_it_back(engine: Engine) -> None:
    before, history = listed(engine, "c0"), home(engine, HomeRequest(user_id="c0"))
    engine.state.append([Event("no", "c0", before[0], NOW, disliked=True)])
    assert listed(engine, "c0") == before[1:]
    bundle: Bundle = engine.variants[0].bundle
    assert len(gather(bundle, engine.state).data) == len(bundle.data)
    engine.state.append([Event("back", "c0", before[0], NOW, undoes="no")])
    assert listed(engine, "c0") == before
    assert home(engine, HomeRequest(user_id="c0")).rows == history.rows
    engine.state.append([Event("yes", "new", before[0], NOW), Event("oops", "new", before[1], NOW, undoes="yes")])
    assert not engine.responses([RecommendRequest(user_id="new")])[0].known
    assert len(gather(bundle, engine.state).data) == len(bundle.data)


def test_another_user_cannot_undo_an_event(engine: Engine) -> None:
    engine.state.append([Event("yes", "new", "p00", NOW), Event("other", "c1", "p00", NOW, undoes="yes")])
    assert "p00" not in listed(engine, "new")
