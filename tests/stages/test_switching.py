from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.recipe import build
from pasand.stages.retrieval import FromModel
from pasand.stages.switching import Switch
from pasand.types import Queries
from tests.models.test_contract import clusters
from tests.stages.test_blending import Table
from tests.stages.test_retrieval import queries

RISING, FALLING = FromModel(Table([[1, 2, 3]] * 3)), FromModel(Table([[3, 2, 1]] * 3))


def make_queries(*lengths: int) -> Queries:
    """Return queries with histories of these lengths."""
    history = np.full((len(lengths), max(lengths)), -1, np.int32)
    for b, length in enumerate(lengths):
        history[b, history.shape[1] - length :] = 0
    empty = np.zeros(history.shape)
    return replace(
        queries(len(lengths), 2),
        history=history,
        history_time=empty.astype(np.int64),
        history_value=empty.astype(np.float32),
    )


def test_it_switches_by_the_length_of_the_history() -> None:
    switch = Switch(cold=RISING, warm=FALLING, min_history=2)
    assert switch(make_queries(1, 2, 0)).items.tolist() == [[2, 1], [0, 1], [2, 1]]
    assert switch(make_queries(2, 3)).items.tolist() == [[0, 1], [0, 1]]
    assert switch(make_queries(0, 1)).items.tolist() == [[2, 1], [2, 1]]


def test_a_list_is_as_short_as_its_retriever_left_it() -> None:
    found = Switch(cold=FromModel(Table([[1, -np.inf, -np.inf]])), warm=FALLING, min_history=1)(make_queries(0, 1))
    assert found.items.tolist() == [[0, -1], [0, 1]]
    assert np.isneginf(found.scores[0, 1])


def test_min_history_is_checked() -> None:
    with pytest.raises(ValueError, match="min_history must be at least 1, got 0"):
        Switch(cold=RISING, warm=FALLING, min_history=0)


def test_a_recipe_with_a_switch() -> None:
    data, _ = clusters()
    text = """
        [popular]
        class = "pasand.models.classical.popularity:Popularity"
        [linear]
        class = "pasand.models.classical.ease:EASE"
        [from_popular]
        class = "pasand.stages.retrieval:FromModel"
        model = "@popular"
        [from_linear]
        class = "pasand.stages.retrieval:FromModel"
        model = "@linear"
        [switch]
        class = "pasand.stages.switching:Switch"
        cold = "@from_popular"
        warm = "@from_linear"
        min_history = 3
        [recommender]
        class = "pasand.recommender:Recommender"
        retriever = "@switch"
    """
    assembly = build(text).fit(data, seed=1)
    users = np.arange(4, dtype=np.int32)
    warm = data.queries(users, k=5)
    cold = replace(
        warm,
        history=warm.history[:, -2:],
        history_time=warm.history_time[:, -2:],
        history_value=warm.history_value[:, -2:],
    )
    for query, name in ((warm, "from_linear"), (cold, "from_popular")):
        alone = build(text.replace('retriever = "@switch"', f'retriever = "@{name}"')).fit(data, seed=1)
        np.testing.assert_array_equal(assembly.recommender(query).items, alone.recommender(query).items)
