from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.classical.ease import EASE
from pasand.models.classical.popularity import Popularity
from pasand.stages.onboarding import Onboarding
from pasand.stages.onboarding_sample import LIKED, Sample
from pasand.stages.retrieval import Fallback, FromModel
from tests.logs import log

NAN = float("nan")


def two_tastes(n_users: int = 60) -> Dataset:
    """Return a log in which all users like "blockbuster", and a third likes "divider", which the others rate 1.

    Users who like the divider go on to ten "art" films, the others to ten "song" films.
    """
    rng = np.random.default_rng(0)
    events = []
    for user in range(n_users):
        art = user % 3 == 0
        first = [("blockbuster", 5.0), ("divider", 5.0 if art else 1.0)]
        first += [(f"known {n}", 5.0) for n in rng.choice(20, 6, replace=False)]
        later = [(f"{'art' if art else 'song'} {n}", 5.0) for n in rng.permutation(10)[:8]]
        events += [(f"u{user:02}", item, 100 * user + at, value) for at, (item, value) in enumerate(first + later)]
    return log(events)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return two_tastes()


@pytest.fixture(scope="module")
def fitted(data: Dataset) -> Onboarding:
    rng = np.random.default_rng(0)
    models: list[Model] = [EASE(l2=5.0).fit(data, rng=rng), Popularity().fit(data, rng=rng)]
    retriever = Fallback([FromModel(model) for model in models])
    return Onboarding(retriever=retriever, depth=3, shrinkage=5.0).fit(data, rng=rng)


def names(data: Dataset, rows: np.ndarray) -> list[str]:
    return data.items.ids(rows)


def test_the_item_that_separates_two_groups_of_users_is_rated_first(data: Dataset, fitted: Onboarding) -> None:
    assert names(data, fitted.items({}, set(), 1, None)) == ["divider"]


def test_no_item_is_chosen_twice_nor_one_that_is_known_skipped_or_not_allowed(
    data: Dataset, fitted: Onboarding
) -> None:
    divider, blockbuster = (int(row) for row in data.items.rows(["divider", "blockbuster"]))
    every = fitted.items({}, set(), 100, None)
    assert len(set(every.tolist())) == len(every) == 22
    assert set(names(data, every)) == {"divider", "blockbuster", *(f"known {n}" for n in range(20))}
    for responses, skipped in [({divider: 5.0}, set()), ({divider: 1.0}, {blockbuster}), ({divider: NAN}, set())]:
        found = set(fitted.items(responses, skipped, 100, None).tolist())
        assert found == set(every.tolist()) - set(responses) - skipped
    allowed = np.zeros(data.n_items, np.bool_)
    allowed[blockbuster] = True
    assert fitted.items({}, set(), 5, allowed).tolist() == [blockbuster]
    assert fitted.items({}, {blockbuster}, 5, allowed).tolist() == []


def test_the_second_of_two_items_is_the_one_that_follows_an_unknown_first(fitted: Onboarding) -> None:
    first, second = fitted.items({}, set(), 2, None).tolist()
    assert fitted.items({}, {first}, 1, None).tolist() == [second]


def test_state_restores_the_choice(fitted: Onboarding) -> None:
    other = Onboarding(retriever=fitted.retriever)
    other.load_state(fitted.state())
    np.testing.assert_array_equal(other.items({}, set(), 9, None), fitted.items({}, set(), 9, None))
    with pytest.raises(ValueError, match="each child must be a node after its parent"):
        other.load_state({**fitted.state(), "child": np.zeros_like(fitted.state()["child"])})


@pytest.fixture(scope="module")
def with_kind() -> tuple[Dataset, Onboarding]:
    """The log with kinds of items, most of which nobody sees early, and an onboarding that may name the kinds."""
    data = two_tastes()
    kinds = [name.split()[0] for name in data.items.ids(np.arange(data.n_items, dtype=np.int32))]
    names = tuple(sorted(set(kinds)))
    feature = Feature(kind="categorical", values=np.array([names.index(kind) for kind in kinds], np.int32), names=names)
    data = replace(data, item_features={"kind": feature})
    rng = np.random.default_rng(0)
    popular = FromModel(Popularity().fit(data, rng=rng))
    return data, Onboarding(retriever=popular, depth=2, shrinkage=5.0, columns=["kind"]).fit(data, rng=rng)


def test_liked_values_narrow_lists_as_a_filter_does(with_kind: tuple[Dataset, Onboarding]) -> None:
    """NDCG of users who like a kind is that of popular items of the kind, computed here for itself."""
    data, fitted = with_kind
    rng = np.random.default_rng(0)
    feature = data.item_features["kind"]
    sample = Sample.of(data, fitted.retriever, 1000, 100, [feature], rng)
    assert sample.queries.users.max() == -1  # they are new users
    n, known = len(sample.candidates), feature.names.index("known")
    (at,) = np.flatnonzero(sample.values[:, 1] == known)
    users = np.arange(len(sample))
    liked = (sample.response[:, n + at] == LIKED).sum()
    assert liked == len(users)  # six of the eight first events of every user
    found = sample.ndcg(users, np.full((len(users), 1), n + at))
    assert found.max() == 0  # the targets are songs and art, and the lists have neither
    assert sample.ndcg(users, np.full((len(users), 1), -1)).max() > 0
    assert sample.node(n + int(at)) == (-1, 0, known)
    assert sample.node(0) == (int(sample.candidates[0]), -1, -1)


def test_a_value_is_rated_first_if_it_gains_most(with_kind: tuple[Dataset, Onboarding]) -> None:
    data = with_kind[0]
    rng = np.random.default_rng(1)
    events = []
    for user in range(60):  # each reads books of one shelf; no book has two early readers, the shelf shows the rest
        shelf = user % 3
        read = [f"{'abc'[shelf]}{n:02}" for n in rng.permutation(12)[:8]]
        events += [(f"u{user:02}", book, 100 * user + at, 5.0) for at, book in enumerate(read)]
    data = log(events)
    shelves = np.array(["abc".index(name[0]) for name in data.items.ids(np.arange(data.n_items, dtype=np.int32))])
    shelf_of = Feature(kind="bag", values=shelves.astype(np.int32)[:, None], names=("a", "b", "c"))
    data = replace(data, item_features={"shelf": shelf_of})
    retriever = FromModel(Popularity().fit(data, rng=rng))  # a history changes nothing but what is excluded
    fitted = Onboarding(retriever=retriever, depth=3, columns=["shelf"]).fit(data, rng=rng)
    first = fitted.value({}, set(), None)
    assert first is not None
    assert first[0] == "shelf"
    then = fitted.value({}, set(), None, {first: False})
    assert then is not None
    assert then != first
    assert fitted.value({}, set(), None, {first: None, then: None}) != then
    other = Onboarding(retriever=retriever, columns=["shelf"])
    other.load_state(fitted.state())
    assert other.value({}, set(), None, {first: False}) == then
    old = {name: array for name, array in fitted.state().items() if name != "value"}
    other.load_state(old)  # of a bundle from before values
    assert other.value({}, set(), None) is None


def test_a_column_that_items_lack_is_named(with_kind: tuple[Dataset, Onboarding]) -> None:
    data, fitted = with_kind
    wrong = Onboarding(retriever=fitted.retriever, columns=["language"])
    with pytest.raises(InputError, match=r"column 'language'.*Cure: name one of kind in columns"):
        wrong.fit(data, rng=np.random.default_rng(0))


def test_a_log_in_which_no_positive_follows_has_no_items_to_rate() -> None:
    data = log([("u", "i", 1, 5.0), ("v", "j", 2, 1.0)])
    rng = np.random.default_rng(0)
    fitted = Onboarding(retriever=FromModel(Popularity().fit(data, rng=rng))).fit(data, rng=rng)
    assert fitted.items({}, set(), 3, None).tolist() == []


def test_hyperparameters_are_checked(fitted: Onboarding) -> None:
    with pytest.raises(ValueError, match="depth must be at most 8"):
        Onboarding(retriever=fitted.retriever, depth=9)
    with pytest.raises(ValueError, match="n_users must be positive, got 0"):
        Onboarding(retriever=fitted.retriever, n_users=0)
