"""pasand fit: learn a recipe from all events and save it as a bundle."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import typer

from pasand.cli import console
from pasand.cli.source import COLUMN, IMPRESSIONS, POSITIVE_FROM, QUERY, SOURCE, opened
from pasand.errors import InputError


def command(
    source: str = SOURCE,
    recipe: str | None = typer.Option(
        None, help="A TOML file or a recipe of pasand's own; by default best or classic, as suits the data."
    ),
    model: str | None = typer.Option(None, help="A model instead, and popularity where it has nothing to say."),
    set_: list[str] = typer.Option([], "--set", help="A field of that model, as FIELD=VALUE; may be repeated."),
    out: Path = typer.Option(..., help="Folder of the bundle; an older bundle there is replaced as a whole."),
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    query: str | None = QUERY,
    positive_from: float | None = POSITIVE_FROM,
    column: list[str] = COLUMN,
    impressions: str | None = IMPRESSIONS,
    state_upto: int | None = typer.Option(
        None, min=0, help="SOURCE holds the events of a service's state already, up to this number; see docs/state.md."
    ),
    json: Path | None = typer.Option(None, help='Write the manifest as JSON to a file; "-": standard output.'),
) -> None:
    """Fit a recipe, or one model, to all events of SOURCE and save the recommender as a bundle.

    Deep models keep what they have reached in OUT.training until the bundle is written: the same command goes on from
    there after it was interrupted.
    """
    from pasand import bundle
    from pasand import recipe as recipes
    from pasand.evaluation.memory_estimate import needed
    from pasand.training import checkpoints

    console.check_writable(json)
    bundle.check_place(out)
    if model is None and set_:
        raise InputError("--set", value=set_[0], cause="of no --model", cure="name the model, or edit the recipe")
    text = None if model is None else plain(model, recipe, set_)
    assembly = recipes.build(text) if text is not None else recipes.read(recipe) if recipe is not None else None
    kept = checkpoints.beside(out)
    if checkpoints.begun(kept):
        console.errors.print(f"resuming the training kept in {kept}", markup=False, soft_wrap=True)
    with console.progress():
        data = opened(source, query, positive_from, column, impressions=impressions, quiet=console.quiet(json))
        if assembly is None:
            name, why = recipes.suited(data)
            console.errors.print(f"recipe {name}: {why}", markup=False, soft_wrap=True)
            assembly = recipes.read(name)
        console.errors.print(str(needed(data, assembly.fitted.values())), markup=False)
        with checkpoints.keeping(kept):
            assembly.fit(data, seed=seed)
        about = None if state_upto is None else {"state_upto": state_upto}
        bundle.write(out, assembly, data, seed=seed, about=about)
        checkpoints.discard(kept)
    if not console.quiet(json):
        console.output.print(f"bundle written to {out}")
        user = quote(data.users.ids([0])[0])
        console.output.print(
            f"try: pasand recommend {quote(str(out))} --user {user} --why", markup=False, soft_wrap=True
        )
    if json is not None:
        console.write_json(json, bundle.read(out).manifest)


def plain(model: str, recipe: str | None, settings: list[str]) -> str:
    """Return the recipe of one model with fields as told; raises InputError beside another recipe."""
    from pasand import models
    from pasand import recipe as recipes
    from pasand.evaluation.tune import changed, single

    if recipe is not None:
        raise InputError("--recipe", value=recipe, cause="given beside --model", cure="give one of them")
    configured = models.find(model)()
    fields = single(configured, console.assignments(settings, "--set"))
    changed(configured, fields)
    return recipes.of_model(model, fields)
