"""Drift: a closed loop in a simulated world, in which users choose from the lists and models are fitted again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pasand import recipe
from pasand.audit.estimates import Estimate, Finding, compared, mean_of, ratio_of_sums
from pasand.audit.groups import popularity_bands
from pasand.audit.lists import Lists
from pasand.audit.policy_tables import parts_of, rule_groups, without_policy
from pasand.audit.popularity import gini
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.data.updates import NewEvents, append_events
from pasand.evaluation.split import Split
from pasand.progress import step
from pasand.reranking.rules.groups import Groups
from pasand.simulation.choices import choices
from pasand.simulation.world import DAY, World
from pasand.types import Mask, Rows, Scores

DEFINITION = (
    "Rounds of a closed loop, which starts with the whole log: the recipe is fitted to all events, each user gets one "
    "list, chooses from it as the simulated world determines, and the choices join the events of the next round, "
    "{days} days later. Figures are those of the lists of a round, compared with those of the first one; beside them "
    "are those of a second loop without the policy, in which all random numbers of the choices are the same. They are "
    "described and not tested: it is one world. After Chaney et al., How Algorithmic Confounding in Recommendation "
    "Systems Increases Homogeneity and Decreases Utility, RecSys 2018."
)
ROUND_DAYS = 7
"""Days between two rounds."""
FIRST, PLAIN = "the first round", "without the policy"


def measure(bundle: Bundle, world: World, split: Split, *, rounds: int, k: int, young_days: float) -> list[Finding]:
    """Return the figures of the lists of each round: true preference, choices, exposure of items and of rules' groups.

    The log of the split, which has the rows of the bundle, must be one of the world's. Fits the recipe `rounds` times,
    and as often without its policy if it has one.
    """
    text = bundle.assembly.text
    loops = {"": text} | ({PLAIN: without_policy(text)} if parts_of(text) else {})
    groups = rule_groups(bundle)
    measures = {
        name: _rounds(one, world, split, rounds=rounds, k=k, young_days=young_days, groups=groups, number=number)
        for number, (name, one) in enumerate(loops.items())
    }
    return [
        compared(
            found[measure],
            measures[""][0][measure],
            measure=measure,
            reference_name=FIRST,
            attribute="round",
            group=str(r + 1),
            tested=False,
            context={PLAIN: measures[PLAIN][r][measure]} if PLAIN in measures else {},
        )
        for measure in measures[""][0]
        for r, found in enumerate(measures[""])
    ]


def _rounds(
    text: str,
    world: World,
    split: Split,
    *,
    rounds: int,
    k: int,
    young_days: float,
    groups: Groups | None,
    number: int,
) -> list[dict[str, Estimate]]:
    """Return the figures of each round of one loop."""
    log = split.test_queries.log
    log = replace(log, columns={}, impressions=None)
    users = np.arange(log.n_users, dtype=np.int32)
    people, films = world.aligned(log)
    head, _ = popularity_bands(np.bincount(log.positives().item, minlength=log.n_items))
    found = []
    for r in range(rounds):
        now = int(log.time[-1]) + ROUND_DAYS * DAY
        recommender = recipe.build(text).fit(log, seed=0).recommender
        queries = log.queries(users, k=k, time=np.full(len(users), now))
        candidates = recommender(replace(queries, allowed=(log.available_from <= now)[None, :]))
        items = np.full((len(users), k), -1, np.int32)
        items[:, : candidates.items.shape[1]] = candidates.items[:, :k]
        shown = np.where(items >= 0, films[items], np.int32(-1))
        clicked, rating = choices(world, people, shown, r)
        lists = Lists(split=split, k=k, users=users, query_user=users.astype(np.int64), items=items, metrics={})
        preference = np.nan_to_num(world.preference(people, shown))
        everything = lists.exposure(items >= 0)
        figures = {
            "true preference for the lists": ratio_of_sums(lists.exposure(preference), everything),
            "choices from a list": mean_of(clicked.sum(axis=1).astype(np.float64)),
            "Gini coefficient of exposure": gini(lists.item_exposure()),
            "share of the head": ratio_of_sums(lists.exposure(head[items] & (items >= 0)), everything),
            f"exposure of items younger than {young_days:g} days": ratio_of_sums(
                lists.exposure(_young(log, items, now, young_days)), everything
            ),
        }
        for g, rule in enumerate([] if groups is None else groups.rules):
            inside = (groups.member(items, queries.time) >> g & 1).astype(np.bool_)  # type: ignore[union-attr]
            figures[f"exposure of {rule.name}"] = ratio_of_sums(lists.exposure(inside), everything)
        found.append(figures)
        log = _with_choices(log, items, clicked, rating, now)
        step("simulating rounds", number * rounds + r + 1, (number + 1) * rounds)
    return found


def _young(log: Dataset, items: Rows, now: int, days: float) -> Mask:
    age = (now - log.available_from[items]) / DAY
    return np.asarray((items >= 0) & (age >= 0) & (age < days))


def _with_choices(log: Dataset, items: Rows, clicked: Mask, rating: Scores, now: int) -> Dataset:
    """Return the log with the choices of a round as events, one second after the other."""
    user, column = np.nonzero(clicked)
    events = NewEvents(
        user=log.users.ids(user.astype(np.int32)),
        item=log.items.ids(items[user, column]),
        time=now + np.arange(len(user), dtype=np.int64) * DAY // max(len(user), 1),
        value=rating[user, column].astype(np.float32),
    )
    return append_events(log, events) if len(events) else log
