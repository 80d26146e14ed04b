"""pasand fit: learn a recipe from all events and save it as a bundle."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import typer

from pasand.cli import console
from pasand.cli.source import COLUMN, POSITIVE_FROM, QUERY, SOURCE, opened


def command(
    source: str = SOURCE,
    recipe: str = typer.Option("classic", help="A TOML file, or the name of a recipe that comes with pasand."),
    out: Path = typer.Option(..., help="Folder of the bundle; an older bundle there is replaced as a whole."),
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    query: str | None = QUERY,
    positive_from: float | None = POSITIVE_FROM,
    column: list[str] = COLUMN,
    json: Path | None = typer.Option(None, help='Write the manifest as JSON to a file; "-": standard output.'),
) -> None:
    """Fit a recipe to all events of SOURCE and save the recommender as a bundle."""
    from pasand import bundle
    from pasand import recipe as recipes
    from pasand.evaluation.memory import needed

    console.check_writable(json)
    bundle.check_place(out)
    assembly = recipes.read(recipe)
    with console.progress():
        data = opened(source, query, positive_from, column, quiet=console.quiet(json))
        console.errors.print(str(needed(data, assembly.fitted.values())), markup=False)
        bundle.write(out, assembly.fit(data, seed=seed), data, seed=seed)
    if not console.quiet(json):
        console.output.print(f"bundle written to {out}")
        user = quote(data.users.ids([0])[0])
        console.output.print(
            f"try: pasand recommend {quote(str(out))} --user {user} --why", markup=False, soft_wrap=True
        )
    if json is not None:
        console.write_json(json, bundle.read(out).manifest)
