"""Refreshes: in this process for their decisions, and next to a real server for their effect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.cli.refresh import seconds
from pasand.client import Client, RecommendRequest, ServiceError
from pasand.client import Event as ClientEvent
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.serving import active_bundles
from pasand.serving.engine.variant import Variant
from pasand.serving.refresh.acceptance import Limits, size
from pasand.serving.refresh.refresh import Outcome, Refresh
from pasand.serving.service import Service, Settings
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
from pasand.sources import load
from tests.serving.conftest import Served, serving

GOOD = default_recipe.of_model("ease", {})
RANDOM = default_recipe.of_model("random", {})
UNCOMPARED = ["--min-queries=1000000", "--publish-inconclusive"]
ANYWAY = Limits(publish_inconclusive=True)


@pytest.fixture(scope="module")
def world() -> tuple[Dataset, list[Event]]:
    """The first four fifths of the log, and the rest as events of a service."""
    data = load("bollywood", impressions="none")
    old = data.before(int(data.time[int(0.8 * len(data))]))
    new = data.select(slice(len(old), len(data)))
    assert new.value is not None
    columns = (new.users.ids(new.user), new.items.ids(new.item), new.time.tolist(), new.value.tolist())
    return old, [Event(f"e{n}", *event) for n, event in enumerate(zip(*columns, strict=True))]


@pytest.fixture
def folder(world: tuple[Dataset, list[Event]], tmp_path: Path) -> Path:
    """A folder with a bundle of the old events."""
    data, _ = world
    bundle.write(tmp_path / "bundle", recipe.build(GOOD).fit(data, seed=0), data, seed=0)
    (tmp_path / "state").mkdir()
    return tmp_path


def store(folder: Path, events: list[Event]) -> None:
    state = open_state(str(folder / "state" / "state.sqlite"))
    state.append(events)
    state.close()


def refresh(folder: Path, **options: Any) -> Outcome:
    steps: list[str] = []
    return Refresh(bundle=folder / "bundle", folder=folder / "state", **options).run(steps.append)


def write(text: str, path: Path) -> Path:
    path.write_text(text)
    return path


def bundles_of(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir() if (one / "manifest.json").exists()}


def test_new_events_are_trained_on_and_published(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    data, events = world
    store(folder, events)
    outcome = refresh(folder)
    assert outcome.outcome == "published", outcome
    assert outcome.new_events == len(events)
    quality = outcome.quality
    assert quality["queries"] >= 200
    assert (quality["verdict"], quality["margin"]) == ("no worse", 0.05)
    change, low, _ = quality["change"]
    assert -0.05 < low < change == pytest.approx(quality["new"] / quality["running"] - 1, abs=1e-4)
    assert outcome.drift["users"] > 100
    assert 0 < outcome.drift["changed"] < 0.8
    fresh = bundle.read(outcome.running)
    assert active_bundles.read(folder / "state" / "bundles.json") == {"main": outcome.running}
    assert len(fresh.data) == len(data) + len(events)
    assert fresh.manifest["state_upto"] == len(events)
    assert refresh(folder).outcome == "nothing_new"
    # the same as fitting to all events at once
    whole = recipe.build(GOOD).fit(fresh.data, seed=0)
    queries = fresh.data.queries(np.arange(50, dtype=np.int32), k=10)
    np.testing.assert_array_equal(whole.recommender(queries).items, fresh.assembly.recommender(queries).items)


def test_a_worse_recipe_is_rejected(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    store(folder, world[1])
    outcome = refresh(folder, recipe=write(RANDOM, folder / "random.toml"))
    assert outcome.outcome == "rejected"
    assert outcome.quality["verdict"] == "worse"
    assert "a fall of 5 % is allowed" in outcome.reason
    assert outcome.running == str(folder / "bundle")
    assert bundles_of(folder) == {"bundle"}
    assert not (folder / "state" / "bundles.json").exists()


def test_too_few_queries_are_inconclusive(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    """Nothing is published by default; on request it is, with a note, and the other tests still decide."""
    store(folder, world[1][:20])
    waiting = refresh(folder)
    assert (waiting.outcome, waiting.running, bundles_of(folder)) == (
        "inconclusive",
        str(folder / "bundle"),
        {"bundle"},
    )
    assert waiting.quality["verdict"] == "inconclusive"
    assert waiting.quality["queries_needed"] == 200
    for text in ("at least 200 are needed", "5 %", "--margin", "--publish-inconclusive", "stays in use"):
        assert text in waiting.sentence
    strict = Limits(publish_inconclusive=True, max_list_change=0.7)
    rejected = refresh(folder, recipe=write(RANDOM, folder / "random.toml"), limits=strict)
    assert (rejected.outcome, bundles_of(folder)) == ("rejected", {"bundle"})
    assert "users' lists change" in rejected.reason
    published = refresh(folder, limits=ANYWAY)
    assert (published.outcome, published.new_events) == ("published", waiting.new_events)
    assert "at least 200 are needed" in published.note
    assert published.note in published.sentence


def test_a_narrow_margin_needs_more_queries(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    """EASE with much more regularisation is about as good, on more data: 720 queries show it by a wide margin only."""
    store(folder, world[1])
    similar = write(default_recipe.of_model("ease", {"l2": 3000.0}), folder / "similar.toml")
    assert refresh(folder, recipe=similar).outcome == "inconclusive"
    outcome = refresh(folder, recipe=similar, limits=Limits(margin=0.001))
    assert outcome.outcome == "inconclusive", outcome
    assert outcome.quality["queries_needed"] > outcome.quality["queries"] >= 200
    assert f"about {outcome.quality['queries_needed']:,} are needed" in outcome.reason
    assert "0.1 %" in outcome.reason
    assert refresh(folder, recipe=similar, limits=Limits(margin=0.15)).outcome == "published"


def test_a_better_recipe_is_published(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    data, events = world
    bundle.write(folder / "bundle", recipe.build(RANDOM).fit(data, seed=0), data, seed=0)
    store(folder, events)
    outcome = refresh(
        folder, recipe=write(GOOD, folder / "ease.toml"), limits=Limits(max_list_change=1, max_popularity_shift=1)
    )
    assert outcome.outcome == "published", outcome
    change, low, high = outcome.quality["change"]
    assert 0 < low < change < high


def test_a_shrinking_catalogue_is_rejected(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    state = open_state(str(folder / "state" / "state.sqlite"))
    for item in world[0].items.series.to_list()[:30]:
        state.remove_item(item)
    state.close()
    outcome = refresh(folder)
    assert (outcome.outcome, outcome.reason) == ("rejected", "items shrink from 100 to 70")
    accepted = refresh(folder, limits=Limits(max_shrinkage=0.3, publish_inconclusive=True))
    assert accepted.outcome == "published"
    assert bundle.read(accepted.running).manifest["available_items"] == 70
    assert size((100, 10), (80, 8), Limits()) == ({"items": [100, 80], "users": [10, 8]}, "")
    assert size((100, 10), (100, 7), Limits())[1] == "users shrink from 10 to 7"


def test_forgotten_users_are_not_in_the_next_bundle(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    user = world[1][0].user_id
    store(folder, world[1])
    state = open_state(str(folder / "state" / "state.sqlite"))
    state.forget(user)
    state.close()
    outcome = refresh(folder)
    assert (outcome.outcome, outcome.forgotten_users) == ("published", 1)
    assert bundle.read(outcome.running).data.users.rows([user]).tolist() == [-1]
    texts = [one.read_bytes() for one in Path(outcome.running).iterdir()]
    assert not any(user.encode() in text for text in texts)


def test_only_the_last_bundles_are_kept(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    published = []
    (folder / "bundle-20300101-000000.part").mkdir()
    (folder / "bundle-20300101-000000.part" / "recipe-0123456789ab.toml.part").touch()
    (folder / "bundle-of-another-kind").mkdir()
    for n in range(4):
        store(folder, world[1][10 * n : 10 * n + 10])
        published.append(Path(refresh(folder, keep=2, limits=ANYWAY).running).name)
    assert len(set(published)) == 4
    assert bundles_of(folder) == {"bundle", *published[2:]}
    assert not (folder / "bundle-20300101-000000.part").exists()
    assert (folder / "bundle-of-another-kind").exists()


def test_names_rise_when_the_clock_is_set_back(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    (folder / "bundle-29991231-235959").mkdir()
    store(folder, world[1])
    assert Path(refresh(folder, limits=ANYWAY).running).name == "bundle-30000101-000000"


def test_only_one_refresh_runs_at_a_time(folder: Path) -> None:
    store(folder, [])
    met: list[str] = []

    def report(_: str) -> None:
        with pytest.raises(InputError, match="another refresh is running"):
            refresh(folder)
        met.append("locked out")

    assert Refresh(bundle=folder / "bundle", folder=folder / "state").run(report).outcome == "nothing_new"
    assert met == ["locked out"]


def test_wrong_paths_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no such state"):
        refresh(folder)
    store(folder, [])
    with pytest.raises(InputError, match="not a bundle"):
        Refresh(bundle=folder / "nothing", folder=folder / "state").run(print)
    with pytest.raises(ValueError, match="keep"):
        Refresh(bundle=folder, folder=folder, keep=1)


def start(folder: Path, **variants: str) -> list[str]:
    """Return the folders of the bundles that a service uses, given those of its command line."""
    pairs = [(name, str(folder / path), 0.5) for name, path in variants.items()]
    service = Service(Settings(variants=pairs, folder=str(folder / "state"), impressions=False))
    service.close()
    return [Path(variant.folder).name for variant in service.engine.variants]


def test_a_variant_is_refreshed_from_its_own_bundle(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    """As `--variant new` once published the recipe of main, and so did a variant that nobody serves."""
    data, _ = world
    other = default_recipe.of_model("popularity", {})
    for name in ("bundle2", "bundle3"):
        bundle.write(folder / name, recipe.build(other).fit(data, seed=0), data, seed=0)
    store(folder, world[1][:10])
    with pytest.raises(InputError, match=r"has no such variant; it has: main\. Cure: write --variant main;"):
        refresh(folder, variant="new")
    start(folder, main="bundle", new="bundle2")
    with pytest.raises(InputError, match=r"nwe.*it has: main, new\. Cure: write --variant main or --variant new"):
        refresh(folder, variant="nwe", limits=ANYWAY)
    assert start(folder, main="bundle", new="bundle3") == ["bundle", "bundle3"]
    assert refresh(folder, variant="new").running == str(folder / "bundle3")
    published = refresh(folder, variant="new", limits=ANYWAY)
    assert published.outcome == "published", published
    assert bundle.read(published.running).assembly.text == other
    assert start(folder, main="bundle", new="bundle3") == ["bundle", Path(published.running).name]
    start(folder, main="bundle")
    with pytest.raises(InputError, match=r"it has: main\."):
        refresh(folder, variant="new")


# next to a server


@pytest.fixture
def running(folder: Path) -> Iterator[Served]:
    with serving(folder / "bundle", folder) as served:
        yield served


def command(folder: Path, *options: str) -> subprocess.Popen[str]:
    call = [sys.executable, "-c", "from pasand.cli.main import run; run()", "refresh", str(folder / "bundle")]
    call += ["--state", str(folder / "state" / "state.sqlite"), *options]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_the_service_follows_without_failing_a_request(world: tuple[Dataset, list[Event]], running: Served) -> None:
    folder, end = running.folder, int(world[0].time[-1])
    with Client(running.url) as client:
        before = client.ready()["bundles"]["main"]
        films = ["Sholay", "PK", "Deewaar"]
        client.events(
            [ClientEvent(user_id="newcomer", item_id=film, time=end + n, value=5) for n, film in enumerate(films)]
        )
        assert client.recommend(RecommendRequest(user_id="newcomer")).known  # by the events, before a refresh
        failures, stop = [], threading.Event()

        def recommend() -> None:
            with Client(running.url, retries=0) as other:
                while not stop.wait(0.02):
                    try:
                        assert len(other.recommend(RecommendRequest(user_id="newcomer")).items) == 10
                    except (ServiceError, AssertionError) as error:
                        failures.append(error)

        thread = threading.Thread(target=recommend)
        thread.start()
        process = command(folder, "--once", *UNCOMPARED)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        result = json.loads(output)
        assert (result["outcome"], result["new_events"]) == ("published", 3)
        assert "published" in errors
        followed = until(lambda: client.ready()["bundles"]["main"] == result["digest"])
        stop.set()
        thread.join()
        assert followed
        assert not failures
        assert result["digest"] != before
        response = client.recommend(RecommendRequest(user_id="newcomer"))
        assert response.known
        assert not {one.item_id for one in response.items} & set(films)
        assert [one["item_id"] for one in client.view("newcomer")["history"]] == films[::-1]
        client.events(ClientEvent(user_id="newcomer", item_id="Sholay", time=end + 9))
        assert [one["item_id"] for one in client.view("newcomer")["history"]] == ["Sholay", *films[::-1]]
        with Client(running.url, key=running.admin["x-api-key"]) as administrator:
            assert administrator.rollback().bundle == before
        assert [one["item_id"] for one in client.view("newcomer")["history"]] == ["Sholay", *films[::-1]]
        client.forget("newcomer")
        assert client.view("newcomer")["history"] == []


@pytest.mark.parametrize("step", ["fitting to all", "writing", "testing"])
def test_a_killed_refresh_leaves_the_old_bundle(world: tuple[Dataset, list[Event]], running: Served, step: str) -> None:
    folder = running.folder
    store(folder, world[1][:30])
    with Client(running.url) as client:
        before = client.ready()["bundles"]["main"]
        process = command(folder, "--once", *UNCOMPARED)
        assert process.stderr is not None
        assert any(line.startswith(step) for line in process.stderr)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (folder / "state" / "bundles.json").exists()
        assert client.ready()["bundles"]["main"] == before
        assert client.recommend(RecommendRequest(user_id="any user")).bundle == before
    assert Variant.read("main", str(folder / "bundle")).digest == before
    outcome = refresh(folder, limits=Limits(min_queries=10**6, publish_inconclusive=True))
    assert outcome.outcome == "published"
    assert {one.name for one in folder.glob("bundle-*")} == {Path(outcome.running).name}


def test_ctrl_c_leaves_the_old_bundle(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    store(folder, world[1][:30])
    process = command(folder, "--once", *UNCOMPARED)
    assert process.stderr is not None
    assert any(line.startswith("testing") for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [one.name for one in folder.glob("bundle*")] == ["bundle"]


def test_a_rejection_exits_with_one(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    store(folder, world[1])
    path = write(RANDOM, folder / "random.toml")
    process = command(folder, "--once", "--recipe", str(path))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert json.loads(output)["outcome"] == "rejected"
    assert "rejected: ndcg@10 changes by -" in errors


def test_an_inconclusive_refresh_exits_with_one(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    store(folder, world[1][:10])
    process = command(folder, "--once", "--margin", "0.02")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    result = json.loads(output)
    assert (result["outcome"], result["quality"]["margin"]) == ("inconclusive", 0.02)
    assert "inconclusive: not shown that ndcg@10 falls by less than 2 %" in errors


def test_it_repeats_at_the_interval(world: tuple[Dataset, list[Event]], folder: Path) -> None:
    store(folder, world[1][:10])
    process = command(folder, "--every", "0.1s", *UNCOMPARED)
    assert process.stdout is not None
    first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    store(folder, world[1][10:20])
    later = next(result for result in map(json.loads, process.stdout) if result["outcome"] != "nothing_new")
    process.kill()
    process.communicate()
    assert [one["outcome"] for one in (first, second, later)] == ["published", "nothing_new", "published"]
    assert later["new_events"] == 10


@pytest.mark.parametrize("every", ["6", "-1h", "0h", "six hours", ""])
def test_spans_of_time_are_checked(every: str) -> None:
    with pytest.raises(InputError, match="--every"):
        seconds(every)
