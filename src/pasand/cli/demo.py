"""pasand demo: the whole path on the embedded world of films, from log to recommendations."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import typer

from pasand.cli import console

RECIPE = "linear"


def command(
    folder: Path = typer.Option(Path("."), help="Where reports/ and bundles/ go."),
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    serve: bool = typer.Option(False, help="Show the report at http://127.0.0.1:8000 until Ctrl-C."),
) -> None:
    """Train, compare, recommend: pasand on a synthetic streaming service with 100 real Indian films."""
    from pasand import bundle
    from pasand import recipe as recipes
    from pasand.cli.compare import MODELS, contenders, show
    from pasand.cli.recommend import recommend
    from pasand.cli.recommend import show as show_answer
    from pasand.cli.source import opened
    from pasand.evaluation import pages
    from pasand.evaluation import report as reports
    from pasand.evaluation.compare import compare
    from pasand.evaluation.protocols import default_protocol

    out = console.output
    _head("1. The log")
    data = opened("bollywood", None, None, [])
    _head("2. Models beside real baselines, each asked what people did next")
    with console.progress():
        comparison = compare(data, contenders(data, [*MODELS, RECIPE], seed=seed), default_protocol(data), seed=seed)
    show(comparison)
    page = folder / "reports" / "bollywood.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    reports.write(page, pages.of_comparison(comparison))
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
    if serve:
        _serve(page)


def _head(text: str) -> None:
    console.output.print(f"\n[bold]{text}[/]")


def _serve(page: Path) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    handler = partial(SimpleHTTPRequestHandler, directory=str(page.parent))
    with ThreadingHTTPServer(("127.0.0.1", 8000), handler) as server:
        console.output.print(f"http://127.0.0.1:8000/{page.name} (Ctrl-C ends)")
        server.serve_forever()
