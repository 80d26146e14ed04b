"""Gain of each of Burke's hybrids over the best of the models it combines, in NDCG@10 on four logs.

The split is temporal. Weights, the history length of the switch and the number of candidates are chosen on a
validation split inside the train part. All other settings are those of the recipes. The best part is the one that is
best on the test itself, which favours it. Differences of NDCG@10 are paired by user, with bootstrap intervals and
Holm's correction within each log.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rows import Row, data_folder
from pasand import recipe
from pasand.data.dataset import Dataset
from pasand.evaluation.compare import Comparison, Result, compare
from pasand.evaluation.contenders import contenders
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.search_space import Choices, TunableRecipe
from pasand.evaluation.tune import tune
from pasand.sources import load

MEASURES = (
    "evaluation/hybrid_parts.py",
    "evaluation/protocols/temporal.py",
    "evaluation/tune.py",
    "metrics/accuracy.py",
    "models/classical",
    "models/deep_model.py",
    "models/towers",
    "recipes",
    "stages",
    "training",
)
METRIC = "ndcg@10"
WEIGHTS: Choices = [(1.0, 9.0), (1.0, 3.0), (1.0, 1.0), (3.0, 1.0), (9.0, 1.0)]
GRIDS: dict[str, dict[str, Choices]] = {
    "weighted": {"blend.weights": WEIGHTS},
    "switching": {"switch.min_history": [2, 5, 10, 20, 40]},
    "cascade": {"recommender.n_candidates": [20, 50, 100, 200]},
}
"""Values of the hyper-parameters of each hybrid that are tried."""
UNTUNED = ("fusion", "meta")
TEXTS = ("movies_extrainfos.dat.gz", "dbpedia_abstracts.json.gz")


def movielens_with_texts() -> Dataset:
    """Return the 2,999 users of MovieLens 1M who have timestamps, with plots, abstracts, casts and directors."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "ml-1m-2999-users"
        folder.mkdir()
        sources = {"ratings.dat.gz": "ml-1m-2999-users", "movies.dat": "ml-1m", "users.dat": "ml-1m"}
        for name, source in {**sources, **dict.fromkeys(TEXTS, "ml-1m")}.items():
            (folder / name).symlink_to((data_folder(source) / name).resolve())
        return load(folder)


def timdb() -> Dataset:
    """Return the ratings of Bollywood films by users of MovieLens, with stories, actors and genres."""
    source = data_folder("timdb-bollywood")
    films: dict[str, dict[str, str]] = {}
    for period in ("1950-1989", "1990-2009", "2010-2019"):
        for name in ("bollywood_meta.csv", "bollywood_text.csv.gz"):
            for row in table(source / period / name):
                films[row["imdb_id"]] = row | films.get(row["imdb_id"], {})
    items = []
    for row in table(source / "collaborative" / "links.csv"):
        film = films.get("tt" + row["imdb_id"].zfill(7), {})
        known = {key: value for key, value in film.items() if value not in ("", "\\N", None)}
        items.append(
            {
                "id": row["movie_id"],
                "title": known.get("title"),
                "story": known.get("story"),
                "year": int(known["year_of_release"]) if "year_of_release" in known else None,
                "genres": known["genres"].split("|") if "genres" in known else None,
                "actors": known["actors"].split("|") if "actors" in known else None,
            }
        )
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "timdb-bollywood"
        folder.mkdir()
        (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        (folder / "ratings.csv").symlink_to((source / "collaborative" / "ratings.csv").resolve())
        return load(folder)


def table(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file with a header; the file may be gzipped."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield from csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))


SOURCES: dict[str, tuple[Callable[[], Dataset], tuple[str, ...]]] = {
    "timdb-bollywood": (timdb, ("augmented",)),
    "bollywood": (lambda: load("bollywood:n_users=500"), ("augmented",)),
    "ml-100k": (lambda: load(data_folder("ml-100k")), ("augmented",)),
    "ml-1m-2999-users": (movielens_with_texts, ()),
}
"""The logs, and the hybrids with towers that are compared there too: training a tower takes minutes on a large log."""


def tuned(data: Dataset) -> dict[str, str]:
    """Return the best options by validation splits, in the form that `--set` of `pasand compare` reads."""
    options = {}
    for name, grid in GRIDS.items():
        searched = TunableRecipe(name, recipe.read(name).text)
        best = tune(data, searched, grid, Temporal(), metric=METRIC).best.hyperparameters
        for option, value in best.items():
            text = ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)
            options[f"{name}.{option}"] = text
    return options


def rows_of(name: str, comparison: Comparison, options: dict[str, str]) -> list[Row]:
    """Return a row for each hybrid."""
    results = {result.name: result for result in comparison.results}
    sizes = ", ".join(f"{group.n_users} {group.name}" for group in comparison.results[0].evaluation.groups)
    rows = []
    for hybrid in comparison.hybrids:
        own = [f"{key.partition('.')[2]}={value}" for key, value in options.items() if key.startswith(hybrid.name)]
        scores = "; ".join(f"{model} {figures(results[model])}" for model in (hybrid.name, *hybrid.parts))
        rows.append(
            Row(
                target=f"{name}, temporal: NDCG@10 of {hybrid.name} minus that of its best part ({hybrid.best_part})",
                value=hybrid.comparison.difference.mean,
                limit=None,
                better="higher",
                detail=f"{hybrid.verdict}: {hybrid.comparison.difference_text}, {hybrid.comparison.p_text}; "
                f"{', '.join(own) or 'nothing tuned'}; all users, then by events in the history, users per group "
                f"{sizes}: {scores}",
                synthetic=name == "bollywood",
            )
        )
    return rows


def figures(result: Result) -> str:
    """Return NDCG@10 over all users and by length of history as text."""
    evaluation = result.evaluation
    groups = (evaluation.overall, *(group.metrics for group in evaluation.groups))
    return ", ".join(f"{group[METRIC].mean:.4f}" for group in groups if METRIC in group)


def run() -> list[Row]:
    """Tune and evaluate the hybrids on all logs."""
    rows = []
    for name, (read, with_towers) in SOURCES.items():
        data = read()
        options = tuned(data)
        entries = contenders(data, [*GRIDS, *UNTUNED, *with_towers], options, parts=True)
        comparison = compare(data, entries, Temporal(), ks=(10,))
        rows += rows_of(name, comparison, options)
        print(f"{name}: {', '.join(f'{key}={value}' for key, value in options.items())}")
        for result in comparison.results:
            print(f"{name}: {result.name:30} {figures(result)}", flush=True)
        for failed, reason in comparison.failed.items():
            print(f"{name}: {failed} failed: {reason}")
    return rows
