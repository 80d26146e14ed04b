"""Samplers draw with the probabilities that they report; false negatives are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pasand.training.negatives import InBatch, Mixed, Popularity, Positives, Sampler, StreamingFrequency, Uniform

COUNTS = torch.tensor([8.0, 0.0, 1.0, 3.0, 0.0])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Uniform(4), [0.25] * 4),
        (Popularity(COUNTS), [8 / 12, 0, 1 / 12, 3 / 12, 0]),
        (Popularity(COUNTS, 0.5), np.sqrt([8, 0, 1, 3, 0]) / np.sqrt([8, 1, 3]).sum()),
        (Popularity(COUNTS, 0), [1 / 3, 0, 1 / 3, 1 / 3, 0]),
    ],
    ids=["uniform", "popularity", "root", "power 0"],
)
def test_draws_follow_their_log_probabilities(sampler: Sampler, expected: list[float]) -> None:
    rows, log_q = sampler.draw((400, 100), generator())
    share = torch.bincount(rows.flatten(), minlength=len(expected)) / rows.numel()
    np.testing.assert_allclose(share, expected, atol=0.01)
    every = sampler.log_q(torch.arange(len(expected))).exp()
    np.testing.assert_allclose(every, expected, atol=1e-6)
    torch.testing.assert_close(log_q, sampler.log_q(rows))


@pytest.mark.parametrize("sampler", [Uniform(9), Popularity(COUNTS)])
def test_one_seed_gives_one_draw(sampler: Sampler) -> None:
    first, second = sampler.draw((3, 5), generator())[0], sampler.draw((3, 5), generator())[0]
    assert first.tolist() == second.tolist()
    assert sampler.draw((0, 5), generator())[0].shape == (0, 5)


def test_samplers_without_items_are_refused() -> None:
    with pytest.raises(ValueError, match="n_items must be positive"):
        Uniform(0)
    with pytest.raises(ValueError, match="one must be positive"):
        Popularity(torch.zeros(3))


def test_in_batch_candidates_are_the_batch() -> None:
    items = torch.tensor([3, 0, 3])
    columns, log_q = InBatch(Popularity(COUNTS)).candidates(items, generator())
    assert columns.tolist() == [3, 0, 3]
    np.testing.assert_allclose(log_q.exp(), [3 / 12, 8 / 12, 3 / 12], rtol=1e-6)


def test_mixed_candidates_have_the_probability_of_the_mixture() -> None:
    items = torch.tensor([3, 0, 3])
    columns, log_q = Mixed(Popularity(COUNTS), 5, uniform=6).candidates(items, generator())
    assert columns[:3].tolist() == [3, 0, 3]
    assert len(columns) == 9
    popular = COUNTS[columns] / 12
    np.testing.assert_allclose(log_q.exp(), (3 * popular + 6 * 0.2) / 9, rtol=1e-6)
    columns, log_q = Mixed(Popularity(COUNTS), 5, uniform=0).candidates(items, generator())
    np.testing.assert_allclose(log_q.exp(), COUNTS[columns] / 12, rtol=1e-6)


def test_streaming_keeps_gaps_as_the_papers_algorithm_does() -> None:
    frequency = StreamingFrequency(3, batch_size=1, rate=0.5)
    for batch in ([0, 1, 1], [0], [0], [1], [0, 1]):
        frequency.update(torch.tensor(batch))
    # item 0: steps 1 2 3 5, gaps 1 1 1 2: 1, 1, 1, 1.5; item 1: steps 1 4 5, gaps 1 3 1: 1, 2, 1.5; item 2: never
    np.testing.assert_allclose(frequency.log_q(torch.arange(3)).exp(), [1 / 1.5, 1 / 1.5, 1 / 5], rtol=1e-5)


def test_streaming_finds_the_frequencies_and_follows_them() -> None:
    truth = torch.tensor([0.5, 0.3, 0.15, 0.05])
    frequency, draws = StreamingFrequency(4, batch_size=8, rate=0.02), generator()
    for step in range(3000):
        p = truth if step < 1500 else truth.flip(0)
        frequency.update(torch.multinomial(p, 8, replacement=True, generator=draws))
    np.testing.assert_allclose(frequency.log_q(torch.arange(4)).exp()[:3], truth.flip(0)[:3], rtol=0.25)
    assert math.isfinite(frequency.log_q(torch.arange(4)).sum())


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=20),
    users=st.lists(st.integers(-1, 6), min_size=1, max_size=5),
    items=st.lists(st.integers(0, 6), max_size=8),
)
def test_positives_are_found(pairs: list[tuple[int, int]], users: list[int], items: list[int]) -> None:
    columns = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    positives = Positives(columns[:, 0], columns[:, 1], 7)
    expected = [[(user, item) in pairs for item in items] for user in users]
    query_users, shared = torch.tensor(users), torch.tensor(items, dtype=torch.int64)
    assert positives.contains_shared(query_users, shared).tolist() == expected
    assert positives.contains(query_users, shared.expand(len(users), len(items))).tolist() == expected
    assert positives.contains_shared(query_users, shared).tolist() == expected
