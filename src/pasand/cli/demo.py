"""pasand demo: compares, fits, recommends and serves on a simulated film platform."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import typer

from pasand.cli import console

RECIPE = "languages"


def command(
    folder: Path = typer.Option(Path("."), help="Folder in which to write reports/ and bundles/."),
    seed: int = typer.Option(0, min=0, help="Seed of all random numbers."),
    serve: bool = typer.Option(True, help="Serve the recommender and its page at the end, until Ctrl-C."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port of the page."),
) -> None:
    """Run the whole path from log to served recommendations, on a simulated streaming service of 100 Indian films."""
    from pasand import bundle
    from pasand import recipe as recipes
    from pasand.cli.compare import show
    from pasand.cli.recommend import recommend
    from pasand.cli.recommend import show as show_recommendations
    from pasand.cli.source import opened
    from pasand.evaluation.compare import compare
    from pasand.evaluation.contenders import MODELS, contenders
    from pasand.evaluation.protocols import default_protocol
    from pasand.evaluation.report import contents
    from pasand.evaluation.report import html as reports

    out = console.output
    _heading("1. The log")
    data = opened("bollywood", None, None, [])
    _heading("2. Models compared with baselines, on the events after the training period")
    with console.progress():
        comparison = compare(data, contenders(data, [*MODELS, RECIPE], seed=seed), default_protocol(data), seed=seed)
    show(comparison)
    if not comparison.complete:
        raise KeyboardInterrupt
    page = folder / "reports" / "bollywood.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    reports.write(page, contents.comparison_report(comparison))
    _heading(f"3. The recipe {RECIPE}, fitted to all events and saved as a bundle")
    bundle_folder = folder / "bundles" / "bollywood"
    with console.progress():
        bundle.write(bundle_folder, recipes.read(RECIPE).fit(data, seed=seed), data, seed=seed)
        loaded = bundle.read(bundle_folder)
    out.print(f"{bundle_folder}: recipe, ids and arrays, with checksums", markup=False)
    user = data.users.ids(data.user[-1:])[0]
    films = data.items.ids(data.item[data.is_positive][-2:])
    _heading(f"4. Recommendations for {user}, the user of the latest event")
    show_recommendations(recommend(loaded, user, [], 5, why=True), 5)
    _heading(f"5. Recommendations for a new user, who has just watched {' and '.join(films)}")
    show_recommendations(recommend(loaded, None, films, 5, why=True), 5)
    _heading("Next steps")
    out.print(f"open {page.resolve()}", markup=False, soft_wrap=True)
    out.print("pasand compare YOUR.csv --report report.html", markup=False)
    out.print(f"pasand recommend {quote(str(bundle_folder))} --user {quote(user)} --why", markup=False)
    out.print(f"pasand serve {quote(str(bundle_folder))} --clock log", markup=False)
    if serve:
        _serve(bundle_folder, page, port)


def _heading(text: str) -> None:
    console.output.print(f"\n{text}", style="bold")


def _serve(bundle_folder: Path, report: Path, port: int) -> None:
    from shutil import rmtree

    from pasand.cli.serve import check_installed, serve

    check_installed()
    from pasand.serving.service import Settings

    state = bundle_folder.with_name("bollywood-state")
    rmtree(state, ignore_errors=True)
    _heading("6. The page")
    settings = Settings(
        variants=[("main", str(bundle_folder.absolute()), 1.0)],
        folder=str(state),
        clock="log",
        report=str(report.absolute()),
        log_requests=False,
    )
    serve(settings, "127.0.0.1", port, 1)
