"""Closed loops: twins, resuming, known effects, and what is refused or noted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pasand import recipe
from pasand.closed_loop import page, results
from pasand.closed_loop import simulate as module
from pasand.closed_loop.contenders import Contender, contenders
from pasand.closed_loop.loop import run, with_choices
from pasand.closed_loop.measures import MEASURES
from pasand.closed_loop.results import Simulation, over_seeds
from pasand.closed_loop.simulate import LABEL, simulate
from pasand.errors import InputError
from pasand.progress import listening
from pasand.simulation.market import Market
from pasand.simulation.seller_market import SellerMarket
from pasand.types import Array

MARKET = Market(n_users=60, n_items=60, n_studios=20, rounds=8, warm_days=20, round_days=8)
TEXT = """
[model]
class = "pasand.models.classical.{}"

[from_model]
class = "pasand.stages.retrieval:FromModel"
model = "@model"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@from_model"
"""
POPULAR = Contender("popular", TEXT.format("popularity:Popularity"))
RANDOM = Contender("random", TEXT.format("random:Random"))
BY_NAME = {measure.name: measure for measure in MEASURES}


@pytest.fixture(scope="module")
def done() -> Simulation:
    """The loops of popularity, of its twin and of random lists, over three seeds."""
    return simulate([POPULAR, replace(POPULAR, name="twin"), RANDOM], MARKET, seeds=3)


def test_a_twin_differs_by_exactly_nothing(done: Simulation) -> None:
    twins = [one for one in done.differences if one.contender == "twin"]
    assert len(twins) == len(MEASURES)
    for one in twins:
        if np.isfinite(one.value.mean):
            assert not any(one.difference.span)
            assert one.verdict == "equal"
    for seed in range(3):
        for name, rounds in done.runs[seed]["popular"].items():
            assert np.array_equal(rounds, done.runs[seed]["twin"][name], equal_nan=True)


def test_verdicts_name_what_gets_better_and_worse(done: Simulation) -> None:
    assert done.verdicts["twin"] == "Exactly the same in every measure."
    changes = {"retention": 0.1, "overlap of lists": 0.2, "Gini of sales": -0.1, "exposure of metros": -0.3}
    names = ["popular", "changed", "noisy"]
    runs = {}
    for seed, found in done.runs.items():
        changed = {name: values + changes.get(name, 0.0) for name, values in found["popular"].items()}
        changed["retention"] = changed["retention"] + seed * 1e-6
        noisy = {**found["popular"], "retention": found["popular"]["retention"] + (seed - 1.0)}
        runs[seed] = {"popular": found["popular"], "changed": changed, "noisy": noisy}
    shown = replace(done, names=names, runs=runs)
    assert shown.verdicts == {
        "changed": "Better: retention (+10.0 points), Gini of sales (-0.100). Worse: overlap of lists (+20.0 points). "
        "Changed: exposure of metros (-30.0 points).",
        "noisy": "No difference is shown.",
    }
    assert shown.as_json()["verdicts"] == shown.verdicts


def test_the_popular_get_more_popular(done: Simulation) -> None:
    """Lists by popularity are nearly the same for all, and concentrate exposure; random ones do neither."""
    popular, of_random = (done.values(name, BY_NAME["Gini of exposure"]) for name in ("popular", "random"))
    assert (popular > of_random + 0.2).all()
    popular, of_random = (done.values(name, BY_NAME["overlap of lists"]) for name in ("popular", "random"))
    assert (popular > of_random + 0.2).all()


def test_rules_hold_in_every_round() -> None:
    policy = '[[policy]]\nname = "metros"\nwhere = { studio_city = ["Chennai", "Delhi", "Kolkata", "Mumbai"] }\n'
    capped = TEXT.format("random:Random") + policy + "max_share = 0.4\n"
    market = replace(MARKET, n_items=200)
    found = run("capped", capped, market, market.log(), k=10, retrain_every=3)
    assert (found["exposure of metros"] <= 0.4).all()
    assert found["exposure of metros"].max() > 0.3


def test_counters_follow_the_log_between_two_fits(done: Simulation) -> None:
    """Popularity that is fitted once and follows the log recommends what popularity fitted in each round does."""
    found = run("popular", POPULAR.text, MARKET, MARKET.log(), k=10, retrain_every=MARKET.rounds)
    for name, rounds in done.runs[0]["popular"].items():
        assert np.array_equal(rounds, found[name], equal_nan=True)


def test_the_paired_interval_is_that_of_students_t(done: Simulation) -> None:
    measure = BY_NAME["true satisfaction of a visit"]
    difference = done.values("random", measure) - done.values("popular", measure)
    bounds = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    one = next(one for one in done.differences if (one.contender, one.measure) == ("random", measure))
    assert one.difference.span == pytest.approx((difference.mean(), bounds.low, bounds.high))
    assert results._p(difference) == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert np.isnan(over_seeds(np.array([0.3, np.nan])).low)
    assert over_seeds(np.array([0.0])).span == (0, 0, 0)


def test_an_interrupted_simulation_keeps_runs_and_resumes_to_the_same_bits(done: Simulation, tmp_path: Path) -> None:
    def interrupt(label: str, steps: int, _: int | None) -> None:
        if (label, steps) == (LABEL, 3 * MARKET.rounds + 2):  # in the second run of the second seed
            raise KeyboardInterrupt

    chosen = [POPULAR, RANDOM]
    with listening(interrupt):
        stopped = simulate(chosen, MARKET, seeds=3, kept=tmp_path)
    assert not stopped.complete
    assert stopped.seeds == [0]
    assert stopped.as_json()["complete"] is False
    assert len(list(tmp_path.iterdir())) == 3
    resumed = simulate(chosen, MARKET, seeds=3, kept=tmp_path)
    assert resumed.complete
    for seed in range(3):
        for name in ("popular", "random"):
            for measure, rounds in done.runs[seed][name].items():
                assert np.array_equal(rounds, resumed.runs[seed][name][measure], equal_nan=True)
    with pytest.raises(InputError, match="retrain_every was 1, is 2"):
        simulate(chosen, MARKET, seeds=3, retrain_every=2, kept=tmp_path)


def test_the_page_shows_each_measure_and_escapes_names(done: Simulation) -> None:
    names = ["<b>popular", "twin", "random"]
    runs = {seed: dict(zip(names, found.values(), strict=True)) for seed, found in done.runs.items()}
    shown = page.render(replace(done, names=names, runs=runs))
    assert "&lt;b&gt;popular" in shown
    assert "<b>popular" not in shown
    assert all(f"<h2>{measure.name}</h2>" in shown for measure in MEASURES)
    assert shown.count("<svg") == 2 * len(MEASURES)


def test_recipes_that_cannot_learn_are_noted_or_refused_by_name() -> None:
    fixed = Contender("fixed", TEXT.format("random:Random"))
    found = module.notes([fixed], MARKET, seeds=1, retrain_every=99)
    assert any("60 users are few" in note for note in found)
    assert any("One seed" in note for note in found)
    assert any("first round only" in note for note in found)
    wrong = Contender("wrong", TEXT.format('popularity:Popularity"\nsegment = "shoe_size'))
    with pytest.raises(InputError, match=r"the recipe wrong, round 1 .* cannot be fitted"):
        simulate([wrong], MARKET, seeds=1)
    with pytest.raises(InputError, match="no recipe"):
        simulate([], MARKET)


def test_too_large_a_market_is_refused_before_the_work() -> None:
    with pytest.raises(InputError, match="too large for this machine"):
        simulate([POPULAR], replace(MARKET, n_users=10**9), seeds=1)


def test_contenders_are_named_and_checked(tmp_path: Path) -> None:
    whole = [one.name for one in contenders(["market"])]
    assert whole == ["market without its policy", "market"]
    parts = [one.name for one in contenders(["market"], parts=True)]
    assert parts[1:-1] == [
        "market, only the rule 'new studios'",
        "market, only the rule 'metros'",
        "market, only calibration",
        "market, only explore",
    ]
    assert contenders(["market"], world="market") == [Contender("market", recipe.read("market").text)]
    file = tmp_path / "own.toml"
    file.write_text(POPULAR.text)
    assert [one.name for one in contenders([str(file), str(file)])] == ["own", "own (again)"]
    with pytest.raises(InputError, match="no such file or recipe"):
        contenders(["nope"])
    with pytest.raises(InputError, match="fitted bundle"):
        contenders([str(tmp_path)])


def test_sellers_products_and_buyers_are_simulated_with_encoded_columns(tmp_path: Path) -> None:
    market = SellerMarket(n_users=30, n_items=40, n_studios=10, rounds=3, warm_days=14, round_days=7)
    by_text = Contender("content", TEXT.format("content:Content"))
    done = simulate([POPULAR, by_text], market, seeds=1, encode=["description=tfidf"], kept=tmp_path)
    assert done.complete
    assert done.runs[0]["content"]["exposure of new studios"][-1] > 0
    with pytest.raises(InputError, match="encode"):
        simulate([POPULAR], market, seeds=1, kept=tmp_path)
    with pytest.raises(InputError, match="--encode: 'colour'"):
        simulate([POPULAR], market, seeds=1, encode=["colour=tfidf"])


def test_clicks_join_the_log_in_order_of_time() -> None:
    log = MARKET.log()
    users, items = np.array([5, 2], np.int32), np.array([[1, 2], [3, -1]], np.int32)
    clicked, rating = np.array([[True, True], [True, False]]), np.array([[4, 5], [1, 0]], np.float32)
    found = with_choices(log, users, items, clicked, rating, MARKET.time(0), 5)
    new: list[Array] = [column[len(log) :] for column in (found.user, found.item)]
    assert [one.tolist() for one in new] == [[5, 5, 2], [1, 2, 3]]
    assert found.value is not None
    assert found.value[len(log) :].tolist() == [4, 5, 1]
    assert (np.diff(found.time) >= 0).all()
    assert MARKET.time(0) < found.time[len(log)] <= found.time[-1] < MARKET.time(1)
