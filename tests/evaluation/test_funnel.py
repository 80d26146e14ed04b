"""Recommenders part by part, with a retriever and stages whose effect is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from pasand.cli import compare as cli
from pasand.evaluation.compare import Built, Entry, compare
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.funnel import has_stages, stages_report
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.models.classical.popularity import Popularity
from pasand.recommender import Recommender
from pasand.stages.ranking import Rank
from pasand.stages.retrieval import FromModel
from pasand.types import Candidates, Queries
from tests.logs import log, tastes


@dataclass(frozen=True)
class InOrder:
    """Gives rows 0, 1, 2 ... to everybody."""

    def __call__(self, queries: Queries) -> Candidates:
        items = np.tile(np.arange(queries.k, dtype=np.int32), (len(queries), 1))
        return Candidates(items=items, scores=-items.astype(np.float32))


@dataclass(frozen=True)
class Backwards:
    """Turns each list round."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        return Candidates(items=candidates.items[:, ::-1].copy(), scores=candidates.scores)


@pytest.fixture(scope="module")
def split() -> Split:
    """Two users are asked; `a` is to find i00 in one question and i15 in another, `b` i03."""
    before = [(user, f"i{n:02}", 10 + n, 5.0) for user in ("c", "d") for n in range(20)]
    before += [("a", "i18", 35, 5.0), ("b", "i19", 36, 5.0)]
    after = [("a", "i00", 100, 5.0), ("b", "i03", 101, 5.0), ("a", "i15", 102, 5.0)]
    found = Temporal(train_share=len(before) / (len(before) + len(after))).split(log(sorted(before, key=_time) + after))
    assert sorted(found[0].lists.item.tolist()) == [0, 3, 15]
    return found[0]


def _time(event: tuple[str, str, int, float]) -> int:
    return event[2]


def test_recall_and_ndcg_are_those_counted_by_hand(split: Split) -> None:
    found = stages_report(Recommender(InOrder(), [Backwards()], filters=(), n_candidates=16), split, depths=(1, 4, 16))
    # a's questions: place 1 and 16 (live: asked with i00, then with i15); b's: place 4; means by question, then by user
    assert len(split.lists) == found.queries
    assert found.n_candidates == 16
    recall = {1: (_a(split, 1, 0) + 0) / 2, 4: (_a(split, 1, 0) + 1) / 2, 16: 1.0}
    assert found.recall == pytest.approx(recall)
    names = [part.name for part in found.parts]
    assert names == ["InOrder", "Backwards"]
    assert found.parts[0].ndcg == pytest.approx((_a(split, 1, 0) + 1 / math.log2(5)) / 2)
    # turned round, i15 comes first, i00 sixteenth and i03 thirteenth
    assert found.parts[1].ndcg == pytest.approx((_a(split, 0, 1) + 0) / 2)
    assert all(part.milliseconds > 0 for part in found.parts)


def _a(split: Split, first: float, second: float) -> float:
    """Return the mean over a's two questions."""
    assert len(split.lists) == 3
    return (first + second) / 2


def test_the_last_figure_is_that_of_the_whole_recommender() -> None:
    split = Temporal().split(tastes())[0]
    popular = Popularity().fit(split.train, rng=np.random.default_rng(0))
    recommender = Recommender(FromModel(popular), [Backwards()], n_candidates=20)
    told = evaluate(recommender, split, ["ndcg@10"], rng=np.random.default_rng(0)).overall["ndcg@10"]
    found = stages_report(recommender, split)
    assert found.parts[-1].ndcg == pytest.approx(told.mean)
    assert found.parts[0].ndcg != pytest.approx(told.mean)
    assert found.parts[0].name == "FromModel (Popularity)"
    assert found.recall[100] == found.recall[500] == 1  # the catalogue is smaller


def test_nothing_to_report_of_a_plain_list() -> None:
    assert not has_stages(Recommender(InOrder()))
    assert has_stages(Recommender(InOrder(), [Backwards()]))
    assert has_stages(Recommender(InOrder(), n_candidates=50))
    assert not has_stages(InOrder())


def test_a_comparison_tells_of_stages(capsys: pytest.CaptureFixture[str]) -> None:
    def build(train: object, rng: np.random.Generator) -> Built:
        popular = Popularity().fit(tastes(), rng=rng)
        return Built(Recommender(FromModel(popular), [Rank(popular)], n_candidates=12))

    comparison = compare(tastes(), [Entry("staged", build, {})], Temporal())
    models = {model["name"]: model for model in comparison.as_json()["models"]}
    assert "funnel" not in models["popularity"]
    told = models["staged"]["funnel"]
    assert told["n_candidates"] == 12
    assert [part["name"] for part in told["parts"]] == ["FromModel (Popularity)", "Rank (Popularity)"]
    assert told["parts"][-1]["ndcg@10"] == pytest.approx(models["staged"]["metrics"]["ndcg@10"]["mean"])
    assert set(told["recall"]) == {"100", "200", "500"}
    cli.show(comparison)
    shown = capsys.readouterr().out
    assert "staged: recall of the candidates 1.0000 at 100" in shown
    assert "Rank (Popularity)" in shown
