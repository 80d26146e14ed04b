"""pasand demo: the whole path on the embedded world of films, from log to recommendations."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import typer

from pasand.cli import console

RECIPE = "languages"


def command(
    folder: Path = typer.Option(Path("."), help="Where reports/ and bundles/ go."),
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    serve: bool = typer.Option(True, help="In the end, serve the recommender and its page until Ctrl-C."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port of the page."),
) -> None:
    """Train, compare, recommend, serve: pasand on a synthetic streaming service with 100 real Indian films."""
    from pasand import bundle
    from pasand import recipe as recipes
    from pasand.cli.compare import MODELS, contenders, show
    from pasand.cli.recommend import recommend
    from pasand.cli.recommend import show as show_answer
    from pasand.cli.source import opened
    from pasand.evaluation.compare import compare
    from pasand.evaluation.protocols import default_protocol
    from pasand.evaluation.report import contents
    from pasand.evaluation.report import html as reports

    out = console.output
    _head("1. The log")
    data = opened("bollywood", None, None, [])
    _head("2. Models beside real baselines, each asked what people did next")
    with console.progress():
        comparison = compare(data, contenders(data, [*MODELS, RECIPE], seed=seed), default_protocol(data), seed=seed)
    show(comparison)
    page = folder / "reports" / "bollywood.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    reports.write(page, contents.of_comparison(comparison))
    _head(f"3. The recipe {RECIPE}, fitted to all events and saved")
    place = folder / "bundles" / "bollywood"
    with console.progress():
        bundle.write(place, recipes.read(RECIPE).fit(data, seed=seed), data, seed=seed)
        loaded = bundle.read(place)
    out.print(f"{place}: recipe, ids and arrays, checksummed", markup=False)
    user = data.users.ids(data.user[-1:])[0]
    films = data.items.ids(data.item[data.liked][-2:])
    _head(f"4. For {user}, the last who was here")
    show_answer(recommend(loaded, user, [], 5, why=True), 5)
    _head(f"5. For somebody new, who just watched {' and '.join(films)}")
    show_answer(recommend(loaded, None, films, 5, why=True), 5)
    _head("Next")
    out.print(f"open {page.resolve()}", markup=False, soft_wrap=True)
    out.print("pasand compare YOUR.csv --report report.html", markup=False)
    out.print(f"pasand recommend {quote(str(place))} --user {quote(user)} --why", markup=False)
    out.print(f"pasand serve {quote(str(place))} --clock log", markup=False)
    if serve:
        _serve(place, page, port)


def _head(text: str) -> None:
    console.output.print(f"\n[bold]{text}[/]")


def _serve(place: Path, report: Path, port: int) -> None:
    from shutil import rmtree

    from pasand.cli.serve import ready, serve

    ready()
    from pasand.serving.service import Settings

    state = place.with_name("bollywood-state")
    rmtree(state, ignore_errors=True)
    _head("6. The page")
    settings = Settings(
        variants=[("main", str(place.absolute()), 1.0)],
        folder=str(state),
        clock="log",
        report=str(report.absolute()),
        log_requests=False,
    )
    serve(settings, "127.0.0.1", port, 1)
