"""pasand demo: compares, fits, recommends and serves on a simulated film platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

from pasand.cli import console
from pasand.errors import InputError

if TYPE_CHECKING:
    from pasand.evaluation.compare import Comparison

SOURCE = "bollywood:studios=30,rural=0.35"
RECIPE = "languages"
POLICY = "demo_policy.toml"
"""File beside this one: the `[[policy]]` tables that the demo adds to its recipe."""
USER_GROUPS = ("city_tier", "area", "gender", "language")
ITEM_GROUPS = ("studio_age", "studio_city", "studio_size", "language", "popularity")
ROUNDS = 3
"""Rounds of simulated choices in the audit."""


EXAMPLES = (
    "pasand demo",
    "pasand demo --folder /tmp/demo --port 8080",
)


def command(
    folder: Path = typer.Option(Path("."), help="Folder in which to write reports/ and bundles/."),
    seed: int = typer.Option(0, min=0, help="Seed of all random numbers."),
    serve: bool = typer.Option(True, help="Serve the recommender and its page at the end, until Ctrl-C."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port of the page; the next free one is used if it is busy."),
) -> None:
    """Run the whole path from log to served recommendations under a policy, on a simulated service of Indian films."""
    from pasand import bundle
    from pasand import recipe as recipes
    from pasand.cli.compare import show
    from pasand.cli.recommend import recommend
    from pasand.cli.recommend import show as show_recommendations
    from pasand.cli.serve import check_installed, next_open_port
    from pasand.cli.source import Reading
    from pasand.evaluation.compare import compare
    from pasand.evaluation.contenders import MODELS, contenders
    from pasand.evaluation.protocols import default_protocol
    from pasand.evaluation.report import contents
    from pasand.evaluation.report import html as reports
    from pasand.evaluation.verdict import verdict

    console.check_folder(folder)
    if serve:
        check_installed()
        port = next_open_port("127.0.0.1", port)
    out, program = console.output, console.program()
    bundle_folder = folder / "bundles" / "bollywood"
    recipe_file = write_recipe(bundle_folder.with_name("policy.toml"))
    page, audited = folder / "reports" / "bollywood.html", folder / "reports" / "audit.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    with _auditing(recipe_file, seed, audited) as wait:
        _heading("1. The log")
        data = Reading(source=SOURCE).opened()
        _heading("2. Models compared with baselines, on the events after the training period")
        with console.progress():
            comparison = compare(
                data,
                contenders(data, [*MODELS, RECIPE, str(recipe_file)], seed=seed),
                default_protocol(data),
                seed=seed,
            )
        show(comparison)
        if not comparison.complete:
            raise KeyboardInterrupt
        reports.write(page, contents.comparison_report(comparison))
        out.print(verdict(comparison), style="bold", soft_wrap=True)
        _heading(f"3. The recipe {recipe_file.stem}: {RECIPE} with rules for studios, fitted to all events and saved")
        with console.progress():
            bundle.write(bundle_folder, recipes.read(recipe_file).fit(data, seed=seed), data, seed=seed)
            loaded = bundle.read(bundle_folder)
        out.print(f"{bundle_folder}: recipe, ids and arrays, with checksums", markup=False)
        out.print(why_served(comparison, recipe_file.stem), markup=False, soft_wrap=True)
        user = data.users.ids(data.user[-1:])[0]
        films = data.items.ids(data.item[data.is_positive][-2:])
        _heading(f"4. Recommendations for {user}, the user of the latest event")
        show_recommendations(recommend(loaded, user, [], 5, why=True), 5)
        _heading(f"5. Recommendations for a new user, who has just watched {' and '.join(films)}")
        show_recommendations(recommend(loaded, None, films, 5, why=True), 5)
        _heading("6. Audit: who is served, who is seen, and what the rules cost")
        wait()
        _show_audit(audited)
    _heading("Next steps")
    out.print(f"open {page.resolve()}", markup=False, soft_wrap=True)
    out.print(f"open {audited.with_suffix('.html').resolve()}", markup=False, soft_wrap=True)
    out.print(f"{program} compare YOUR.csv --report report.html", markup=False)
    out.print(f"{program} recommend {quote(str(bundle_folder))} --user {quote(user)} --why", markup=False)
    out.print(
        f"{program} serve {quote(str(bundle_folder))} --clock log --audit {quote(str(audited))}",
        markup=False,
        soft_wrap=True,
    )
    if serve:
        _serve(bundle_folder, page, audited, port)


def _heading(text: str) -> None:
    console.output.print(f"\n{text}", style="bold")


def why_served(comparison: Comparison, served: str) -> str:
    """Return whether what is served is the best of the comparison, and if not, by how much it is not, and why it is."""
    from pasand.evaluation.significance import paired_comparisons

    metric, results = comparison.main_metric, comparison.results
    best = results[0].name
    if best == served:
        return f"{served} is served: it is the best by {metric}"
    values = {one.name: one.evaluation.user_values[metric] for one in results if one.name in (best, served)}
    found = paired_comparisons(values, {served: best}, seed=comparison.seed)[served]
    means = {one.name: one.evaluation.overall[metric].mean for one in results}
    return (
        f"{served} is served although {best} has the highest {metric}, {means[best]:.4f} against {means[served]:.4f} "
        f"({found.verdict}, {found.p_text}): it is the one with the rules of {POLICY}, and its lists are personal. "
        f"To serve what won: {console.program()} compare {SOURCE} --out bundle"
    )


def write_recipe(file: Path) -> Path:
    """Write the recipe of the demo, a packaged one with a policy, and return its path."""
    from importlib.resources import files

    from pasand import recipe as recipes

    text = recipes.read(RECIPE).text + files("pasand.cli").joinpath(POLICY).read_text("utf-8")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def write_audit(recipe_file: str, seed: int, file: str) -> None:
    """Audit the recipe on the last fifth of the events, fitted to the others; write JSON, and a page beside it."""
    from pasand import recipe as recipes
    from pasand.audit import page
    from pasand.audit.audit import audit
    from pasand.bundle import Bundle
    from pasand.cli.fit import earlier
    from pasand.sources import load
    from pasand.sources.bollywood import world_of

    data, path = load(SOURCE, impressions="none"), Path(file)
    train = earlier(data, "0.8")
    fitted = Bundle(recipes.read(recipe_file).fit(train, seed=seed), train, {"files": {}})
    groups = {"user_groups": USER_GROUPS, "item_groups": ITEM_GROUPS}
    done = audit(fitted, data, **groups, rounds=ROUNDS, world=world_of(SOURCE))  # type: ignore[arg-type]
    console.write_json(path, done.as_json())
    page.write(path.with_suffix(".html"), done)


@contextmanager
def _auditing(recipe_file: Path, seed: int, file: Path) -> Iterator[Callable[[], None]]:
    """Let another process, on another core, write the audit; gives a function that waits for it.

    On leaving the process is ended if it still runs.
    """
    import subprocess
    import sys

    given = (str(recipe_file), seed, str(file))
    code = f"from pasand.cli.demo import write_audit; write_audit(*{given!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )

    def wait() -> None:
        _, error = process.communicate()
        if process.returncode:
            lines = error.decode(errors="replace").strip().splitlines()
            raise InputError("the audit", cause=lines[-1] if lines else f"it ended with {process.returncode}")

    try:
        yield wait
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _show_audit(file: Path) -> None:
    """Print what the tables of the policy cost and change."""
    import json

    audit = json.loads(file.read_text("utf-8"))
    shown = sum(one["verdict"] in ("higher", "lower") for section in audit["sections"] for one in section["findings"])
    console.output.print(f"{shown} of {audit['tests']} tests show a difference; of the policy:")
    for section in audit["sections"]:
        for finding in section["findings"] if section["name"].startswith(("rule ", "policy ")) else ():
            if not finding["attribute"]:
                line = f"  {section['title'].removeprefix('Who pays for ')}: {finding['sentence']}"
                console.output.print(line, markup=False, soft_wrap=True)


def _serve(bundle_folder: Path, report: Path, audit: Path, port: int) -> None:
    from shutil import rmtree

    from pasand.cli.serve import serve
    from pasand.serving.service import Settings

    state = bundle_folder.with_name("bollywood-state")
    rmtree(state, ignore_errors=True)
    _heading("7. The page")
    settings = Settings(
        variants=[("main", str(bundle_folder.absolute()), 1.0)],
        folder=str(state),
        clock="log",
        report=str(report.absolute()),
        audit=str(audit.absolute()),
        log_requests=False,
    )
    serve(settings, "127.0.0.1", port, 1)
