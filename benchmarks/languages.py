"""Languages: NDCG@10 of users of the three smallest languages, two-tower without and with features of languages.

Half of the users are held out and not in train; the first four fifths of their events are the history of the query, and
the positives of the rest are its targets (Liang et al., WWW 2018). The same model is fitted without features of
languages, with those of columns (the language of an item, and what users declared), and with the distribution of the
history over languages (`history_shares`) as well, with each of three seeds. Values are means over seeds by user; gains
are paired by user, with 95 % intervals over users.

On `bollywood` a user's language is the declared main one. No real log at hand names the languages of both users and
items. `ml-1m-2999-users` has the nearest thing: the language, or else the nationality, in the opening of a film's
abstract in DBpedia. There a user's language is the one, other than English, of most positives of the history, at
least two, and the three smallest are those with the fewest such users, at least 20.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.intervals import ratio_intervals
from pasand.evaluation.protocols.strong_generalisation import StrongGeneralisation
from pasand.evaluation.split import Split
from pasand.models.classical.popularity import Popularity
from pasand.models.towers.two_tower import TwoTower
from pasand.recommender import fallback_chain
from pasand.sources import load
from pasand.types import Array, Rows

MEASURES = (
    "evaluation/protocols/strong_generalisation.py",
    "features/encoding.py",
    "features/history_shares.py",
    "layers/towers.py",
    "metrics/accuracy.py",
    "models/towers",
    "training/tasks/retrieval.py",
)
SEEDS = (0, 1, 2)
SMALLEST = 3
FEWEST_USERS = {"bollywood": 1, "ml-1m-2999-users": 20}
FEWEST_POSITIVES = 2
EPOCHS = {"bollywood": 10, "ml-1m-2999-users": 4}
"""Epochs of all fits of a log, so that the whole takes minutes."""
OF_LANGUAGE = ("language", "languages")
ENGLISH = "English"
NATIONALITIES = {
    "American": ENGLISH,
    "British": ENGLISH,
    "English": ENGLISH,
    "Australian": ENGLISH,
    "Canadian": ENGLISH,
    "Irish": ENGLISH,
    "Scottish": ENGLISH,
    "Hong Kong": "Cantonese",
    "Mexican": "Spanish",
    "Cuban": "Spanish",
    "Soviet": "Russian",
    "Taiwanese": "Chinese",
    "Indian": "Hindi",
    "Iranian": "Persian",
    "Brazilian": "Portuguese",
}
SAME = (
    "French",
    "German",
    "Italian",
    "Japanese",
    "Spanish",
    "Chinese",
    "Russian",
    "Swedish",
    "Danish",
    "Dutch",
    "Polish",
)
NATIONALITIES |= {name: name for name in SAME}
OPENING = 250
"""Characters of an abstract that are read."""
VARIANTS: dict[str, dict[str, bool]] = {
    "without": {"columns": False, "shares": False},
    "columns": {"columns": True, "shares": False},
    "shares": {"columns": True, "shares": True},
}


def bollywood() -> Dataset:
    """Return the simulated log; its viewers declare languages."""
    return load("bollywood:n_users=3000", impressions="none")


def movielens() -> Dataset:
    """Return MovieLens with a language of each film, where its abstract has one."""
    log = load(data_folder("ml-1m-2999-users"))
    with gzip.open(data_folder("ml-1m") / "dbpedia_abstracts.json.gz", "rt", encoding="utf-8") as file:
        abstracts = json.load(file)
    spoken = [language_of(str(abstracts.get(item, ""))) for item in log.items.series.to_list()]
    names = tuple(sorted(set(spoken) - {""}))
    code = {name: at for at, name in enumerate(names)}
    values = np.array([code.get(name, -1) for name in spoken], np.int32)
    language = Feature(kind="categorical", values=values, names=names)
    return replace(log, item_features={**log.item_features, "language": language})


def language_of(abstract: str) -> str:
    """Return the language that the opening of an abstract names, or that of a nationality in it; "" for none.

    >>> language_of("Das Boot is a 1981 German epic war film"), language_of("a Persian-language film"), language_of("")
    ('German', 'Persian', '')
    """
    opening = abstract[:OPENING]
    if named := re.search(r"\b([A-Z][a-z]+)-language\b", opening):
        return named.group(1)
    found = [
        (at.start(), language) for name, language in NATIONALITIES.items() if (at := re.search(rf"\b{name}\b", opening))
    ]
    return min(found)[1] if found else ""


SOURCES: dict[str, Callable[[], Dataset]] = {"bollywood": bollywood, "ml-1m-2999-users": movielens}


def model(data: Dataset, *, columns: bool, shares: bool) -> TwoTower:
    """Return the tower that reads all features but those of languages, or these as well."""
    read = [
        tuple(
            name
            for name, one in features.items()
            if one.kind not in ("text", "time") and (columns or name not in OF_LANGUAGE)
        )
        for features in (data.user_features, data.item_features)
    ]
    return TwoTower(
        user_features=read[0],
        item_features=read[1],
        history_shares=("language",) if shares else (),
        epochs=EPOCHS[data.name.partition(":")[0]],
        patience=0,
    )


def languages_of_users(split: Split, data: Dataset) -> tuple[Rows, tuple[str, ...]]:
    """Return the language of each user as a code, -1 for none, (U,), and the names of the languages."""
    declared = data.user_features.get("language")
    if declared is not None:
        return declared.values, declared.names
    spoken, log = data.item_features["language"], split.test_queries.log.positives()
    known = spoken.values[log.item] >= 0
    count = np.zeros((data.n_users, len(spoken.names)), np.int64)
    np.add.at(count, (log.user[known], spoken.values[log.item][known]), 1)
    count[:, spoken.names.index(ENGLISH)] = 0
    most = count.argmax(axis=1).astype(np.int32)
    return np.where(count.max(axis=1) >= FEWEST_POSITIVES, most, np.int32(-1)), spoken.names


def values(split: Split, data: Dataset, variant: str) -> tuple[Rows, Array]:
    """Return the users with a defined NDCG@10, (n,), and its mean over the seeds, (n,)."""
    popular = Popularity().fit(split.train, rng=np.random.default_rng(0))
    by_seed = []
    for seed in SEEDS:
        tower = model(data, **VARIANTS[variant]).fit(split.train, rng=np.random.default_rng(seed))
        found = evaluate(fallback_chain(tower, popular), split, ["ndcg@10"], rng=np.random.default_rng(0))
        by_seed.append(np.asarray(found.user_values["ndcg@10"]).reshape(len(found.users)))
        print(f"{data.name}, {variant}, seed {seed}: {np.nanmean(by_seed[-1]):.4f}", flush=True)
    return found.users, np.mean(by_seed, axis=0)


def interval(gain: Array) -> tuple[float, float, float]:
    """Return the mean of gains of users, and its 95 % interval."""
    known = gain[np.isfinite(gain)][:, None]
    ends = ratio_intervals(known, np.ones_like(known), np.random.default_rng(0))
    mean, low, high = (float(end[0]) for end in ends)
    return mean, low, high


def rows_of(name: str, data: Dataset) -> list[Row]:
    """Return the gains of one log: of columns and shares, and of shares alone."""
    (split,) = StrongGeneralisation(holdout_share=0.5, fold_in_share=0.8, seed=0).split(data)
    found = {variant: values(split, data, variant) for variant in VARIANTS}
    users = found["without"][0]
    code, names = languages_of_users(split, data)
    of_users = code[users]
    count = np.bincount(of_users[of_users >= 0], minlength=len(names))
    smallest = [at for at in np.argsort(count, kind="stable").tolist() if count[at] >= FEWEST_USERS[name]][:SMALLEST]
    chosen = np.isin(of_users, smallest)
    by_language = []
    for at in np.argsort(-count, kind="stable").tolist():
        if count[at] >= FEWEST_USERS[name]:
            before, after = (np.nanmean(found[variant][1][of_users == at]) for variant in ("without", "shares"))
            by_language.append(f"{names[at]} ({count[at]} users) {before:.4f} to {after:.4f}")
    rows = []
    for first, what in (
        ("without", "features of languages"),
        ("columns", "history_shares beside columns of languages"),
    ):
        mean, low, high = interval((found["shares"][1] - found[first][1])[chosen])
        everyone = interval(found["shares"][1] - found[first][1])
        before, after = (np.nanmean(found[variant][1][chosen]) for variant in (first, "shares"))
        gains = f"gain {mean:.4f} [{low:.4f}, {high:.4f}], {before:.4f} to {after:.4f}, {int(chosen.sum())} users"
        of_all = f"all users {everyone[0]:.4f} [{everyone[1]:.4f}, {everyone[2]:.4f}]"
        rows.append(
            Row(
                target=f"{name}: low end of the 95 % interval of the gain in NDCG@10 by {what}, two-tower, "
                "users of the three smallest languages",
                value=low,
                limit=0.0 if first == "without" else None,
                better="higher",
                detail=f"{gains} of {', '.join(names[at] for at in smallest)}; {of_all}; {len(SEEDS)} seeds; "
                f"by language: {', '.join(by_language)}",
                reason="a limit of our own" if first == "without" else "",
                synthetic=name == "bollywood",
            )
        )
    return rows


def run() -> list[Row]:
    """Measure the gains on both logs."""
    return [row for name, read in SOURCES.items() for row in rows_of(name, read())]
