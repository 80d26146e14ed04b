"""Acceptance by impressions: a recipe that would have earned more is published, one that would earn less is not.

What explorations learn from the same service (`shown_slots`) is here as well.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand import bundle, recipe
from pasand.errors import InputError
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.variant import Variant
from pasand.serving.logs.impressions import ImpressionList, ImpressionLog, hash_user
from pasand.serving.logs.segments import log_files
from pasand.serving.refresh.acceptance import Limits
from pasand.serving.refresh.refresh import Outcome, Refresh
from pasand.serving.refresh.shown_slots import learn_shown
from pasand.serving.refresh.shown_value import logged, shown_value
from pasand.serving.refresh.training_data import gather
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
from pasand.sources import load

ONE_SLOT = """
[popular]
class = "pasand.models.classical.popularity:Popularity"

[retrieve]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[recommender]
class = "pasand.recommender:Recommender"
filters = []
retriever = "@retrieve"

[[policy]]
kind = "explore"
slots = [1]
pool = 4
"""
LIMITS = Limits(by_impressions=True, publish_inconclusive=False, min_queries=1, margin=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service's folder: 600 lists of one random film each, clicked if it is one of the most popular."""
    folder = tmp_path_factory.mktemp("service")
    data = load("bollywood:n_users=150,days=30", impressions="none")
    text = ONE_SLOT + 'method = "uniform"\n'
    bundle.write(folder / "bundle", recipe.build(text).fit(data, seed=0), data, seed=0)
    (folder / "state").mkdir()
    state, now = open_state(str(folder / "state" / "state.sqlite")), int(data.time[-1]) + 10
    variant = Variant.read("main", str(folder / "bundle"))
    log = ImpressionLog(folder / "state" / "impressions")
    users = data.users.ids(range(data.n_users))
    popular = data.items.ids(np.argsort(-np.bincount(data.item, minlength=data.n_items), kind="stable")[:3])
    events = []
    for n in range(600):
        engine = Engine([variant], state, partial(int, now + n))
        (shown,) = engine.responses([RecommendRequest(user_id=users[n % len(users)], k=1, request_id=f"r{n}")])
        log.add(ImpressionList(shown.request_id, now + n, users[n % len(users)], shown.items, "main", shown.bundle))
        (item,) = shown.items
        assert item.propensity == pytest.approx(0.25)
        if item.item_id in popular:
            events.append(Event(f"e{n}", users[n % len(users)], item.item_id, now + n + 2000, None, shown.request_id))
    log.close()
    state.append(events)
    state.close()
    return folder


def refreshed(folder: Path, text: str, name: str) -> Outcome:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return Refresh(bundle=folder / "bundle", folder=folder / "state", recipe=path, limits=LIMITS).run(lambda _: None)


def test_impressions_decide(folder: Path) -> None:
    """A recipe that shows what could not be logged stays out; one that shows more of what is clicked is published."""
    certain = refreshed(folder, ONE_SLOT.partition("[[policy]]")[0], "certain")
    assert (certain.outcome, certain.running) == ("inconclusive", str(folder / "bundle"))
    assert "could not have been logged" in certain.reason
    assert certain.shown_value["verdict"] == "inconclusive"
    better = refreshed(folder, ONE_SLOT + 'method = "softmax"\n', "softmax")
    assert better.outcome == "published", better
    found = better.shown_value
    assert (found["verdict"], found["status"]) == ("no worse", "ok")
    assert found["lists"] == pytest.approx(300, abs=2)
    assert found["new"]["low"] > found["shown"]["high"]


def test_without_impressions_nothing_is_shown(folder: Path) -> None:
    state = open_state(str(folder / "state" / "state.sqlite"))
    gathered = gather(bundle.read(folder / "bundle"), state)
    report, reason = shown_value(folder / "nothing", state, gathered, ONE_SLOT, 0, 0.05)
    state.close()
    assert report == {"verdict": "inconclusive"}
    assert "it holds no impressions" in reason


def test_hashed_users_are_found_by_their_secret(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, secret = open_state(str(folder / "state" / "state.sqlite")), "a long secret"
    gathered = gather(bundle.read(folder / "bundle"), state)
    users = gathered.data.users.series.to_list()
    plain = logged(folder / "state" / "impressions", state, users)
    for path in log_files(folder / "state" / "impressions"):
        table = pl.read_parquet(path)
        hashes = [hash_user(user, secret.encode()) for user in table["user"]]
        table.with_columns(pl.Series("user", hashes)).write_parquet(tmp_path / path.name)
    for wrong, cause in ((None, "not set"), ("other", "another secret")):
        if wrong:
            monkeypatch.setenv("PASAND_HASH_SECRET", wrong)
        report, reason = shown_value(tmp_path, state, gathered, ONE_SLOT, 0, 0.05)
        assert report == {"verdict": "inconclusive"}
        assert f"PASAND_HASH_SECRET is {cause}" in reason
    monkeypatch.setenv("PASAND_HASH_SECRET", secret)
    found = logged(tmp_path, state, users)
    assert plain.users is not None
    assert found.users is not None
    assert plain.time is not None
    assert found.time is not None
    assert plain.reward.any()
    order, other = np.argsort(plain.time, kind="stable"), np.argsort(found.time, kind="stable")
    np.testing.assert_array_equal(found.reward[other], plain.reward[order])
    assert [found.users[n] for n in found.user[other]] == [plain.users[n] for n in plain.user[order]]
    unhashed = logged(folder / "state" / "impressions", state, users)  # a secret that the log does not need
    np.testing.assert_array_equal(unhashed.reward, plain.reward)
    with_ids = pl.read_parquet(log_files(folder / "state" / "impressions")[0])
    with_ids.write_parquet(tmp_path / "shown-00000000000000001.parquet")
    with pytest.raises(InputError, match="some users are hashed"):
        logged(tmp_path, state, users)
    state.close()


def test_a_refreshed_bundle_prefers_what_was_clicked_in_random_slots(folder: Path) -> None:
    path = folder / "thompson.toml"
    path.write_text(ONE_SLOT + 'method = "thompson"\n')
    limits = Limits(publish_inconclusive=True, min_queries=1)
    found = Refresh(bundle=folder / "bundle", folder=folder / "state", recipe=path, limits=limits).run(lambda _: None)
    assert found.outcome == "published", found
    assert "impressions" not in found.note
    read = bundle.read(found.running)
    learnt = read.assembly.components["policy_uncertainty"].state()
    shown = np.flatnonzero(learnt["excess"])
    assert len(shown) == 4  # the pool of every list
    clicked = learnt["excess"][shown] > 0
    assert 0 < clicked.sum() < 4
    assert not learnt["refused"][shown[clicked]].any()  # an item was clicked always or never
    assert learnt["refused"][shown[~clicked]].min() > 100
    assert learnt["refused"].sum() == learnt["refused"][shown[~clicked]].sum()


def test_without_impressions_it_learns_from_events_alone(folder: Path) -> None:
    read = bundle.read(folder / "bundle")
    state = open_state(str(folder / "state" / "state.sqlite"))
    assembly = recipe.build(ONE_SLOT + 'method = "thompson"\n').fit(read.data, seed=0)
    note = learn_shown(assembly, folder / "nothing", state, read.data)
    assert note.startswith("exploration learns from events alone")
    assert learn_shown(read.assembly, folder / "nothing", state, read.data) == ""
    state.close()
    assert not assembly.components["policy_uncertainty"].state()["excess"].any()
