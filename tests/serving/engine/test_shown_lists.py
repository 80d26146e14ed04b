"""Shown lists: responses are counted, nothing else is, and workers of one service count together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from pasand import bundle as bundle_files
from pasand import recipe
from pasand.bundle import Bundle
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.home import explained, view
from pasand.serving.engine.shown_lists import LISTS, ShownLists, shown_shares
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states import open_state
from pasand.serving.states.contract import State, StateUnavailable
from pasand.sources import load
from tests.serving.conftest import serving
from tests.serving.recipes import CONTENT

POLICY = """
[[policy]]
kind = "exposure"
name = "Tamil"
where = { language = "Tamil" }
min_share = 0.25
"""
TARGET, K = 0.25, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, path = load("bollywood", impressions="none"), tmp_path_factory.mktemp("exposure") / "bundle"
    bundle_files.write(path, recipe.build(CONTENT.format(days=30) + POLICY).fit(data, seed=0), data, seed=0)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(str(tmp_path / "state"))
    yield opened
    opened.close()


class Worker:
    """What a process of a service does with requests."""

    def __init__(self, folder: Path, state: State) -> None:
        self.engine = Engine([Variant.read("main", str(folder))], state, lambda: 1_700_000_000)
        self.shown = ShownLists(state, lambda: self.engine.variants)
        self.users = self.variant.bundle.data.users.ids(range(200))

    @property
    def variant(self) -> Variant:
        return self.engine.variants[0]

    def respond(self, number: int) -> tuple[int, int]:
        """Show one list, and return how many of its items are of the group, and how many it has."""
        request = RecommendRequest(user_id=self.users[number % len(self.users)], k=K)
        responses = self.engine.responses([request])
        self.shown.add(responses, 1_700_000_000)
        return n_tamil(self.variant.bundle, [item.item_id for item in responses[0].items]), len(responses[0].items)


def n_tamil(bundle: Bundle, items: list[str]) -> int:
    language = bundle.data.item_features["language"]
    return int((language.values[bundle.data.items.rows(items)] == language.names.index("Tamil")).sum())


def test_the_share_holds_with_two_workers_on_one_state(folder: Path, state: State) -> None:
    workers, shown, rng = [Worker(folder, state), Worker(folder, state)], [], np.random.default_rng(0)
    for number in range(1000):
        worker = workers[int(rng.random() < 0.4)]
        shown.append(worker.respond(number))
        if worker.variant.counters[0].ledger.pending >= LISTS:  # type: ignore[attr-defined]
            worker.shown.sync()
    for worker in workers * 2:
        worker.shown.sync()
    found, slots = np.sum(shown, axis=0).tolist()
    assert found / slots == pytest.approx(TARGET, abs=0.005)
    for worker in workers:
        assert shown_shares(worker.variant) == {"Tamil": found / slots}


def test_only_responses_are_counted(folder: Path, state: State) -> None:
    worker = Worker(folder, state)
    worker.engine.responses([RecommendRequest(user_id=worker.users[0], k=K)])
    view(worker.engine, worker.users[0])
    explained(worker.engine, RecommendRequest(user_id=worker.users[0]), "PK")
    worker.shown.sync()
    assert shown_shares(worker.variant) == {}
    worker.respond(0)
    assert worker.variant.counters[0].ledger.slots == K  # type: ignore[attr-defined]


def test_counts_are_kept_while_the_state_is_away_and_over_a_swap(folder: Path, state: State) -> None:
    class Away:
        def add_counts(self, ledger: str, counts: dict[str, int]) -> dict[str, int]:
            raise StateUnavailable("away")

    worker = Worker(folder, state)
    for number in range(30):
        worker.respond(number)
    before = shown_shares(worker.variant)
    worker.shown._state = Away()  # type: ignore[assignment]
    with pytest.raises(StateUnavailable):
        worker.shown.sync()
    new = Variant.read("main", str(folder))
    worker.shown.carry_over(worker.variant, new)
    np.testing.assert_array_equal(new.counters[0].state()["up"], worker.variant.counters[0].state()["up"])
    worker.engine.variants[0] = new
    worker.shown._state = state
    worker.shown.sync()
    assert shown_shares(new) == before
    other = Worker(folder, state)
    other.shown.sync()
    assert shown_shares(other.variant) == before


def eventually(check: Callable[[], bool]) -> None:
    """Wait until a check of a server holds."""
    end = time.monotonic() + 240
    while True:
        with suppress(httpx.TransportError):
            if check():
                return
        assert time.monotonic() < end
        time.sleep(0.2)


def test_two_servers_on_one_state_share_the_ledger(folder: Path, tmp_path: Path) -> None:
    bundle, state = bundle_files.read(folder), ("--state", str(tmp_path / "state"))
    users = bundle.data.users.ids(range(200))
    with serving(folder, tmp_path / "1", *state) as one, serving(folder, tmp_path / "2", *state) as other:
        for served in (one, other):
            eventually(lambda served=served: served.client.get("/readyz").status_code == 200)  # type: ignore[misc]

        def shown(part: int) -> tuple[int, int]:
            """Return how many items a client was shown, and how many of them are of the group."""
            found, slots = 0, 0
            with httpx.Client(base_url=(one, other)[part % 3 // 2].url, timeout=60) as client:
                for number in range(part, 1000, 6):
                    path = f"/v1/users/{users[number % 200]}/recommendations"
                    items = [item["item_id"] for item in client.get(path, params={"k": K}).json()["items"]]
                    found, slots = found + n_tamil(bundle, items), slots + len(items)
            return found, slots

        with ThreadPoolExecutor(6) as threads:
            found, slots = np.sum(list(threads.map(shown, range(6))), axis=0).tolist()
        share, name = found / slots, 'pasand_exposure_share{group="Tamil",variant="main"}'
        assert share == pytest.approx(TARGET, abs=0.005)
        for served in (one, other):
            eventually(lambda served=served: abs(served.metric(name) - share) < 1e-9)  # type: ignore[misc]
