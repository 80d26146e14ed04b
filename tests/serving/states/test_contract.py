"""The contract of every store: a new file in the folder is tested here without being named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from pasand.errors import InputError
from pasand.serving.states import open_state, stores
from pasand.serving.states.contract import Change, Event, RecentEvents, State, digest
from tests.serving.states.servers import ADDRESSES, event, python

USERS, ITEMS = ["u", "v", "ü:7"], ["i", "j", "k"]


@pytest.fixture(scope="module", params=sorted(stores()))
def new_address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """Give a function that returns the address of an empty store at each call."""
    with ADDRESSES[request.param](tmp_path_factory.mktemp(request.param)) as addresses:
        yield addresses


@pytest.fixture
def state(new_address: Callable[[], str]) -> Iterator[State]:
    opened = open_state(new_address())
    yield opened
    opened.close()


def ids(recent: RecentEvents) -> list[str]:
    return [event.id for event in recent.events]


def test_the_stores_are_found() -> None:
    assert {"sqlite", "redis"} <= set(stores())


def test_an_unknown_kind_of_address_is_refused() -> None:
    with pytest.raises(InputError, match="no store recognises"):
        open_state("ftp://me:secret@there")


def test_it_satisfies_the_protocol(state: State) -> None:
    assert isinstance(state, State)


def test_events_are_returned_as_stored(state: State) -> None:
    events = [
        event(1, "u", 'the "item"', 10, value=4.5, request_id="r", watched_seconds=12.25),
        event(2, "ü:7 %s\n", "", -3),
        event(3, "", "ह", 2**40, value=-0.5),
    ]
    assert state.append(events) == [True] * 3
    assert state.events(0, 10) == list(zip([1, 2, 3], events, strict=True))
    assert state.recent_events(["u", "ü:7 %s\n", "", "unknown"], 5) == [
        *[RecentEvents([one], False) for one in events],
        RecentEvents([], False),
    ]


def test_an_id_is_stored_once(state: State) -> None:
    assert state.append([event(1), event(1, item="other"), event(2)]) == [True, False, True]
    assert state.append([event(2, user="v"), event(3)]) == [False, True]
    assert state.append([]) == []
    assert [(number, one.id, one.item_id, one.user_id) for number, one in state.events(0, 9)] == [
        (1, "e1", "i", "u"),
        (2, "e2", "i", "u"),
        (3, "e3", "i", "u"),
    ]
    assert state.last() == 3


def test_all_or_none(state: State) -> None:
    with pytest.raises(UnicodeEncodeError):
        state.append([event(1), event(2, item="\ud800")])
    assert state.last() == 0
    assert state.events(0, 9) == []
    assert state.append([event(1)]) == [True]


def test_recent_events_are_in_order_of_time_and_then_of_arrival(state: State) -> None:
    times = [50, 10, 50, 40, 50, 20]
    state.append([event(number, time=time) for number, time in enumerate(times)])
    assert ids(state.recent_events(["u"], 9)[0]) == ["e1", "e5", "e3", "e0", "e2", "e4"]
    for limit in range(1, 7):
        assert ids(state.recent_events(["u"], limit)[0]) == ["e1", "e5", "e3", "e0", "e2", "e4"][-limit:]
    assert state.recent_events(["u"], 0) == [RecentEvents([], False)]
    assert state.recent_events([], 3) == []


def test_a_clock_set_back_does_not_hide_the_newest_events(state: State) -> None:
    state.append([event(number, time=1000 + number) for number in range(50)])
    state.append([event(100 + number, time=number) for number in range(50)])
    assert ids(state.recent_events(["u"], 3)[0]) == ["e47", "e48", "e49"]
    assert ids(state.recent_events(["u"], 3, after=50)[0]) == ["e147", "e148", "e149"]


def test_recent_events_start_after_a_number(state: State) -> None:
    state.append([event(1, time=30), event(2, "v"), event(3, time=20), event(4, time=10)])
    assert ids(state.recent_events(["u"], 9, after=1)[0]) == ["e4", "e3"]
    assert ids(state.recent_events(["u"], 1, after=1)[0]) == ["e3"]
    assert [ids(recent) for recent in state.recent_events(["u", "v", "u"], 9, after=3)] == [["e4"], [], ["e4"]]
    assert state.recent_events(["u"], 9, after=4) == [RecentEvents([], False)]


def test_events_can_be_read_in_chunks(state: State) -> None:
    state.append([event(number, USERS[number % 3]) for number in range(7)])
    read: list[tuple[int, Event]] = []
    while part := state.events(read[-1][0] if read else 0, 3):
        read += part
    assert [(number, one.id) for number, one in read] == [(number + 1, f"e{number}") for number in range(7)]


def test_a_forgotten_user_leaves_no_events(state: State) -> None:
    state.append([event(1), event(2, "v"), event(3)])
    assert state.forget("u") == 2
    assert state.forget("u") == 0
    assert state.recent_events(["u", "v"], 9) == [RecentEvents([], True), RecentEvents([event(2, "v")], False)]
    assert [number for number, _ in state.events(0, 9)] == [2]
    assert state.last() == 3
    assert state.append([event(3, time=1)]) == [True]
    assert state.events(2, 9) == [(4, event(3, time=1))]
    assert state.recent_events(["u"], 9, after=4) == [RecentEvents([event(3, time=1)], True)]


def test_seen_items_are_the_distinct_items_of_all_events(state: State) -> None:
    assert state.seen_items("u", 0) == ([], 0)
    assert state.seen_items("u", 7) == ([], 7)
    state.append([event(number, item=name) for number, name in enumerate(["i", "j", "i", "complete", "ü:=7"])])
    state.append([event(9, "v", "k"), event(10, item="j", time=-5), event(0, item="twice")])
    found, last = state.seen_items("u", 0)
    assert (found, last) == (["j", "ü:=7", "complete", "i"], 7)
    assert state.seen_items("u", 3) == (["j", "ü:=7", "complete"], 7)
    assert state.seen_items("u", last) == ([], last)
    state.append([event(11, item="i")])
    assert state.seen_items("u", last) == (["i"], 8)
    assert state.seen_items("v", -1) == (["k"], 6)
    state.forget("u")
    assert state.seen_items("u", 0) == ([], 0)
    state.append([event(12, item="j")])
    assert state.seen_items("u", 0) == (["j"], 9)


@given(
    st=some.lists(some.tuples(some.sampled_from(USERS), some.sampled_from(ITEMS)), max_size=12),
    after=some.integers(0, 12),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_seen_items_agree_with_the_events(
    new_address: Callable[[], str], st: list[tuple[str, str]], after: int
) -> None:
    state = open_state(new_address())
    for number, (user, name) in enumerate(st):
        state.append([event(number, user, name)])
    for user in USERS:
        later = [one.item_id for number, one in state.events(after, 99) if one.user_id == user]
        found, _ = state.seen_items(user, after)
        assert found == list(dict.fromkeys(reversed(later)))
    state.close()


def test_counters_show_what_changed(new_address: Callable[[], str]) -> None:
    address = new_address()
    state, other = open_state(address), open_state(address)
    first = state.counters()
    assert first[1:] == (0, 0)
    assert other.counters() == first
    state.append([event(1)])
    assert other.counters() == first
    state.remove_item("i")
    state.forget("u")
    assert other.counters() == (first.identity, 1, 1)
    assert other.forgotten() == state.forgotten() == {digest("u")}
    state.close()
    other.close()
    again = open_state(new_address())
    assert again.counters().identity != first.identity
    assert again.forgotten() == set()
    again.close()


def test_a_user_without_events_can_be_forgotten(state: State) -> None:
    assert state.forget("of the bundle") == 0
    assert state.recent_events(["of the bundle", "other"], 9) == [RecentEvents([], True), RecentEvents([], False)]


def test_changes_are_the_latest_of_each_item(state: State) -> None:
    assert state.changes(0) == []
    features = {"title": "दिल", "year": 1995, "genres": ["drama", "romance"], "score": 7.5, "none": None}
    assert state.put_item("i", features) == 1
    assert state.put_item("j", {}) == 2
    assert state.remove_item("i") == 3
    assert state.changes(0) == [Change(2, "j", {}, False), Change(3, "i", None, True)]
    assert state.changes(2) == [Change(3, "i", None, True)]
    assert state.put_item("i", features) == 4
    assert state.changes(3) == [Change(4, "i", features, False)]
    assert state.changes(4) == []


def test_counts_add_up_in_each_ledger(state: State) -> None:
    assert state.add_counts("one", {}) == {}
    assert state.add_counts("one", {"=a b": 3, "slots": 10}) == {"=a b": 3, "slots": 10}
    assert state.add_counts("two", {"slots": 1}) == {"slots": 1}
    assert state.add_counts("one", {"=ü": 2, "slots": 5, "=a b": -1}) == {"=a b": 2, "=ü": 2, "slots": 15}
    assert state.add_counts("one", {}) == {"=a b": 2, "=ü": 2, "slots": 15}
    assert state.last() == 0


def test_processes_add_to_the_same_counts(new_address: Callable[[], str]) -> None:
    address = new_address()
    code = f"""
from pasand.serving.states import open_state
state = open_state({address!r})
for _ in range(50):
    state.add_counts("one", {{"=a": 1, "slots": 2}})
state.close()
"""
    for process in [python(code) for _ in range(2)]:
        process.communicate(timeout=60)
        assert process.returncode == 0
    opened = open_state(address)
    assert opened.add_counts("one", {}) == {"=a": 100, "slots": 200}
    opened.close()


def test_features_that_json_cannot_represent_are_refused(state: State) -> None:
    with pytest.raises(TypeError):
        state.put_item("i", {"what": object()})
    assert state.changes(0) == []


def test_the_state_persists_when_opened_again(new_address: Callable[[], str]) -> None:
    address = new_address()
    first = open_state(address)
    first.append([event(1)])
    first.put_item("i", {"a": 1})
    first.forget("v")
    first.close()
    first.close()
    again = open_state(address)
    assert again.append([event(1), event(2)]) == [False, True]
    assert again.changes(0) == [Change(1, "i", {"a": 1}, False)]
    assert again.recent_events(["v"], 1) == [RecentEvents([], True)]
    again.close()


def test_threads_may_use_it_at_once(state: State) -> None:
    failed: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(10):
                assert state.append([event(100 * thread + number, f"u{thread}")]) == [True]
                assert len(state.recent_events([f"u{thread}"], 99)[0].events) == number + 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [number for number, _ in state.events(0, 99)] == list(range(1, 41))


WRITES = """
import sys
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
state = open_state(sys.argv[1])
for n in range(0, 120, 3):
    print(sum(state.append([Event(f"e{n + i}", f"u{n % 2}", sys.argv[2], n) for i in range(3)])), flush=True)
"""


def test_two_processes_write_at_once(new_address: Callable[[], str]) -> None:
    address = new_address()
    processes = [python(WRITES, address, name) for name in "ab"]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    state = open_state(address)
    assert sum(int(line) for lines in outputs for line in lines.split()) == 120
    assert [number for number, _ in state.events(0, 999)] == list(range(1, 121))
    assert {one.id for _, one in state.events(0, 999)} == {f"e{n}" for n in range(120)}
    state.close()


NEVER_ENDS = """
import itertools, sys
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
state = open_state(sys.argv[1])
for n in itertools.count():
    state.append([Event(f"{sys.argv[2]}-{n}-{i}", "u", "i", n) for i in range(2)])
    print(n, flush=True)
"""


def test_what_was_acknowledged_survives_repeated_kills(new_address: Callable[[], str]) -> None:
    address = new_address()
    expected: list[str] = []
    for round_number in range(6):
        process = python(NEVER_ENDS, address, str(round_number))
        assert process.stdout is not None
        while int(process.stdout.readline()) < 5 * round_number:
            pass
        process.kill()
        acknowledged = 5 * round_number + len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        state = open_state(address)
        kept = [one.id for _, one in state.events(0, 10**6)]
        expected += [f"{round_number}-{n}-{i}" for n in range(acknowledged + 1) for i in range(2)]
        assert kept[: len(expected)] == expected
        assert len(kept) % 2 == 0
        assert len(kept) == state.last()
        expected = kept
        state.close()


class Reference:
    """A simple store in memory, as a reference."""

    def __init__(self) -> None:
        self.stored: list[tuple[int, Event]] = []
        self.latest: dict[str, Change] = {}
        self.forgotten: set[str] = set()
        self.number = self.change = 0

    def append(self, events: list[Event]) -> list[bool]:
        new = []
        for one in events:
            new.append(all(one.id != other.id for _, other in self.stored))
            if new[-1]:
                self.number += 1
                self.stored.append((self.number, one))
        return new

    def recent_events(self, users: list[str], limit: int, after: int) -> list[RecentEvents]:
        found = []
        for user in users:
            since = 0 if user in self.forgotten else after
            rows = [(one.time, number, one) for number, one in self.stored if one.user_id == user and number > since]
            newest = [one for _, _, one in sorted(rows, key=lambda row: row[:2])]
            found.append(RecentEvents(newest[max(len(newest) - limit, 0) :], user in self.forgotten))
        return found

    def put_item(self, item: str, features: dict[str, Any] | None) -> int:
        self.change += 1
        self.latest[item] = Change(self.change, item, features, features is None)
        return self.change

    def remove_item(self, item: str) -> int:
        return self.put_item(item, None)

    def changes(self, after: int) -> list[Change]:
        rows = sorted(self.latest.values(), key=lambda change: change.number)
        return [change for change in rows if change.number > after]

    def forget(self, user: str) -> int:
        left = [row for row in self.stored if row[1].user_id != user]
        count = len(self.stored) - len(left)
        self.stored = left
        self.forgotten.add(user)
        return count

    def events(self, after: int, limit: int) -> list[tuple[int, Event]]:
        return [row for row in self.stored if row[0] > after][:limit]

    def last(self) -> int:
        return self.number


numbers = some.integers(0, 12)
users = some.sampled_from(USERS)
items = some.sampled_from(ITEMS)
values = some.none() | some.floats(allow_nan=False, allow_infinity=False)
events = some.builds(Event, some.sampled_from("abcdefghijklm"), users, items, some.integers(-5, 5), values)
features = some.dictionaries(some.text(max_size=3), some.integers(-(2**53), 2**53) | some.text(max_size=3), max_size=2)
steps = some.one_of(
    some.tuples(some.just("append"), some.lists(events, max_size=6)),
    some.tuples(some.just("append"), some.lists(events, max_size=6)),
    some.tuples(some.just("recent_events"), some.lists(users, max_size=3), numbers, numbers),
    some.tuples(some.just("put_item"), items, features),
    some.tuples(some.just("remove_item"), items),
    some.tuples(some.just("changes"), numbers),
    some.tuples(some.just("forget"), users),
    some.tuples(some.just("events"), numbers, numbers),
    some.tuples(some.just("last")),
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.lists(steps, max_size=12))
def test_it_behaves_like_the_reference(new_address: Callable[[], str], steps: list[tuple[Any, ...]]) -> None:
    state, reference = open_state(new_address()), Reference()
    for name, *arguments in [*steps, ("recent_events", USERS, 99, 0), ("events", 0, 99), ("changes", 0)]:
        assert getattr(state, name)(*arguments) == getattr(reference, name)(*arguments)
    state.close()


def test_numbers_rise_by_one(state: State) -> None:
    state.append([event(n) for n in range(5)])
    state.append([event(n) for n in range(3, 8)])
    assert all(after - before == 1 for (before, _), (after, _) in pairwise(state.events(0, 99)))
