"""The recommender: lists are full, unique and allowed; stages choose from all candidates; reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.popularity import Popularity
from pasand.recommender import Recommender, fallback_chain, reasons
from pasand.stages.filtering import Allow, Deny, DropSeen
from pasand.stages.retrieval import Fallback, FromModel
from pasand.types import Candidates, Queries
from tests.logs import tastes

DATA = tastes()
RNG = np.random.default_rng(0)
KNN, POPULAR = ItemKNN().fit(DATA, rng=RNG), Popularity().fit(DATA, rng=RNG)
IDS = DATA.items.ids(np.arange(DATA.n_items))


@settings(max_examples=60)
@given(
    st.integers(1, 40),
    st.sets(st.sampled_from(IDS), max_size=25),
    st.sets(st.sampled_from(IDS), min_size=1),
    st.lists(st.integers(-1, DATA.n_users - 1), min_size=1, max_size=4),
)
def test_lists_are_full_unique_and_allowed(k: int, denied: set[str], allowed: set[str], users: list[int]) -> None:
    deny, allow = Deny(sorted(denied)).fit(DATA, rng=RNG), Allow(sorted(allowed)).fit(DATA, rng=RNG)
    recommender = Recommender(Fallback([FromModel(KNN), FromModel(POPULAR)]), filters=[DropSeen(), deny, allow])
    queries = DATA.queries(np.array(users, np.int32), k=k)
    found = recommender(queries)
    for items, scores, history in zip(found.items, found.scores, queries.history, strict=True):
        listed = [item for item in items.tolist() if item >= 0]
        permitted = {row for row, name in enumerate(IDS) if name in allowed - denied} - set(history.tolist())
        assert len(listed) == min(k, len(permitted))
        assert len(set(listed)) == len(listed)
        assert set(listed) <= permitted
        assert (np.diff(scores[: len(listed)]) <= 0).all()


def test_stages_choose_from_all_candidates() -> None:
    def reverse(queries: Queries, candidates: Candidates) -> Candidates:
        return Candidates(items=candidates.items[:, ::-1], scores=-candidates.scores[:, ::-1])

    queries = DATA.queries(np.array([0], np.int32), k=2)
    wide = Recommender(FromModel(POPULAR), n_candidates=5)(queries)
    reversed_ = Recommender(FromModel(POPULAR), stages=[reverse], n_candidates=5)(queries)
    assert wide.items.shape == reversed_.items.shape == (1, 2)
    five = Recommender(FromModel(POPULAR))(replace(queries, k=5))
    assert reversed_.items[0].tolist() == five.items[0, ::-1][:2].tolist()


def test_reasons_are_items_of_the_history() -> None:
    queries = DATA.queries(np.array([0, -1], np.int32), k=4)
    recommender = fallback_chain(KNN, POPULAR)
    found = recommender(queries)
    explained = reasons(recommender, queries, found.items)
    assert explained[0][0]
    assert {reason.item for causes in explained[0] for reason in causes} <= set(queries.history[0].tolist())
    assert explained[1] == [[], [], [], []]


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        DATA.queries(np.array([0], np.int32), k=0)
