"""The funnel of recommenders with a retriever and stages whose effect is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from pasand.cli import compare as cli
from pasand.evaluation.compare import Entry, FittedEntry, compare
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
    """Returns rows 0, 1, 2 ... for all queries."""

    def __call__(self, queries: Queries) -> Candidates:
        items = np.tile(np.arange(queries.k, dtype=np.int32), (len(queries), 1))
        return Candidates(items=items, scores=-items.astype(np.float32))


@dataclass(frozen=True)
class Backwards:
    """Reverses each list."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        return Candidates(items=candidates.items[:, ::-1].copy(), scores=candidates.scores)


@pytest.fixture(scope="module")
def split() -> Split:
    """Return a split with two test users: `a` with targets i00 and i15 in two queries, `b` with i03."""
    before = [(user, f"i{n:02}", 10 + n, 5.0) for user in ("c", "d") for n in range(20)]
    before += [("a", "i18", 35, 5.0), ("b", "i19", 36, 5.0)]
    after = [("a", "i00", 100, 5.0), ("b", "i03", 101, 5.0), ("a", "i15", 102, 5.0)]
    found = Temporal(train_share=len(before) / (len(before) + len(after))).split(log(sorted(before, key=_time) + after))
    assert sorted(found[0].test_queries.item.tolist()) == [0, 3, 15]
    return found[0]


def _time(event: tuple[str, str, int, float]) -> int:
    return event[2]


def test_recall_and_ndcg_are_those_counted_by_hand(split: Split) -> None:
    found = stages_report(Recommender(InOrder(), [Backwards()], filters=(), n_candidates=16), split, depths=(1, 4, 16))
    # targets of a are at positions 1 and 16, that of b at 4; means over queries, then over users
    assert len(split.test_queries) == found.queries
    assert found.n_candidates == 16
    recall = {1: (_a(split, 1, 0) + 0) / 2, 4: (_a(split, 1, 0) + 1) / 2, 16: 1.0}
    assert found.recall == pytest.approx(recall)
    names = [part.name for part in found.parts]
    assert names == ["InOrder", "Backwards"]
    assert found.parts[0].ndcg == pytest.approx((_a(split, 1, 0) + 1 / math.log2(5)) / 2)
    # reversed, i15 is first, i00 sixteenth and i03 thirteenth
    assert found.parts[1].ndcg == pytest.approx((_a(split, 0, 1) + 0) / 2)
    assert all(part.milliseconds > 0 for part in found.parts)


def _a(split: Split, first: float, second: float) -> float:
    """Return the mean over the two queries of a."""
    assert len(split.test_queries) == 3
    return (first + second) / 2


def test_the_last_ndcg_is_that_of_the_recommender() -> None:
    split = Temporal().split(tastes())[0]
    popular = Popularity().fit(split.train, rng=np.random.default_rng(0))
    recommender = Recommender(FromModel(popular), [Backwards()], n_candidates=20)
    output = evaluate(recommender, split, ["ndcg@10"], rng=np.random.default_rng(0)).overall["ndcg@10"]
    found = stages_report(recommender, split)
    assert found.parts[-1].ndcg == pytest.approx(output.mean)
    assert found.parts[0].ndcg != pytest.approx(output.mean)
    assert found.parts[0].name == "FromModel (Popularity)"
    assert found.recall[100] == found.recall[500] == 1  # the catalogue is smaller


def test_nothing_to_report_of_a_plain_list() -> None:
    assert not has_stages(Recommender(InOrder()))
    assert has_stages(Recommender(InOrder(), [Backwards()]))
    assert has_stages(Recommender(InOrder(), n_candidates=50))
    assert not has_stages(InOrder())


def test_a_comparison_reports_stages(capsys: pytest.CaptureFixture[str]) -> None:
    def build(train: object, rng: np.random.Generator) -> FittedEntry:
        popular = Popularity().fit(tastes(), rng=rng)
        return FittedEntry(Recommender(FromModel(popular), [Rank(popular)], n_candidates=12))

    comparison = compare(tastes(), [Entry("staged", build, {})], Temporal())
    models = {model["name"]: model for model in comparison.as_json()["models"]}
    assert "funnel" not in models["popularity"]
    output = models["staged"]["funnel"]
    assert output["n_candidates"] == 12
    assert [part["name"] for part in output["parts"]] == ["FromModel (Popularity)", "Rank (Popularity)"]
    assert output["parts"][-1]["ndcg@10"] == pytest.approx(models["staged"]["metrics"]["ndcg@10"]["mean"])
    assert set(output["recall"]) == {"100", "200", "500"}
    cli.show(comparison)
    shown = capsys.readouterr().out
    assert "staged: candidate recall 1.0000 at 100" in shown
    assert "Rank (Popularity)" in shown
