"""pasand fit: fits a recipe to all events of a log and saves it as a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from time import perf_counter

import typer

from pasand.cli import console
from pasand.cli.source import Reading, reads_log
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation import winner

QUICK = 60
"""Seconds of a fit below which the quality is estimated by a second one."""


EXAMPLES = (
    "pasand fit events.csv --items products.csv --out bundle",
    "pasand fit events.csv --like report.json --out bundle",
    "pasand fit events.csv --model ease --set l2=300 --out bundle",
)


@reads_log
def command(
    log: Reading,
    recipe: str | None = typer.Option(
        None,
        help="Recipe to fit: a TOML file or a built-in recipe; by default best or classic, whichever suits the log.",
    ),
    model: str | None = typer.Option(None, help="Fit this model instead of a recipe, with popularity as fallback."),
    set_: list[str] = typer.Option(
        [], "--set", help="Set a hyper-parameter of that model, as FIELD=VALUE; may be repeated."
    ),
    out: Path = typer.Option(..., help="Folder of the bundle; an older bundle there is replaced."),
    seed: int = typer.Option(0, min=0, help="Seed of all random numbers."),
    state_upto: int | None = typer.Option(
        None,
        min=0,
        help="Number of the last event of a service's state that SOURCE already holds; see docs/state.md.",
    ),
    until: str | None = typer.Option(
        None,
        help="Fit to the events before a time only, such as 2025-03-31, or to the first share of the events, such as "
        "0.8; the later ones can then be used for an audit.",
    ),
    like: Path | None = typer.Option(
        None, help="Fit what won a comparison: the JSON file that `pasand compare --json` wrote."
    ),
    quality: bool | None = typer.Option(
        None,
        "--quality/--no-quality",
        help="Estimate the quality to expect by a second fit to the earlier events, tested on the later ones; by "
        "default where a fit takes less than a minute.",
    ),
    robust: bool = typer.Option(
        False,
        "--robust",
        help="Find profiles that seem to push an item, and let their events count less in training; see "
        "docs/attacks.md.",
    ),
    json: Path | None = typer.Option(None, help='Write the manifest as JSON to a file; "-": standard output.'),
) -> None:
    """Fit a recipe, or a single model, to all events of SOURCE and save the recommender as a bundle.

    Deep models and other components whose fit takes long save checkpoints in OUT.training until the bundle is written.
    After an interruption, the same command resumes from there, to the same bits.
    """
    from pasand import bundle, default_recipe
    from pasand import recipe as recipes
    from pasand.bundle_files import check_target
    from pasand.evaluation.memory_estimate import check_memory, training_memory
    from pasand.training import checkpoints

    console.check_writable(json)
    check_target(out)
    console.check_folder(out)
    if model is None and set_:
        raise InputError(
            "--set", value=set_[0], cause="given without --model", cure="name the model or edit the recipe"
        )
    if like is not None and (model, recipe) != (None, None):
        raise InputError("--like", value=str(like), cause="given together with --model or --recipe", cure="give one")
    won = None if like is None else winner.read(like)
    text = None if model is None else single_model_recipe(model, recipe, set_)
    text = text if won is None else won.recipe
    name = model or (Path(recipe).stem if recipe is not None else "") or ("" if won is None else won.name)
    assembly = recipes.build(text) if text is not None else recipes.read(recipe) if recipe is not None else None
    kept = checkpoints.folder_of(out)
    if checkpoints.resumable(kept):
        console.errors.print(f"resuming training from {kept}", markup=False, soft_wrap=True)
    with console.progress():
        data = log.opened(quiet=console.quiet(json))
        if until is not None:
            data = earlier(data, until)
            console.errors.print(f"fitting to the first {len(data):,} events", markup=False)
        if assembly is None:
            name, cause = default_recipe.for_data(data)
            console.errors.print(f"recipe {name}: {cause}", markup=False, soft_wrap=True)
            assembly = recipes.read(name)
        about: dict[str, object] = {} if state_upto is None else {"state_upto": state_upto}
        if robust:
            data, about["robust"] = with_weights(data, assembly.fitted.values())
        memory = training_memory(data, assembly.fitted.values())
        console.errors.print(str(memory), markup=False)
        check_memory(memory, "pasand fit")
        began = perf_counter()
        with checkpoints.saving_to(kept):
            assembly.fit(data, seed=seed)
        seconds = perf_counter() - began
        if won is not None:
            expected = of_report(won, data)
        elif quality or (quality is None and seconds < QUICK):
            won, expected = estimated(data, name, assembly.text, seed)
        else:
            expected = f"quality not estimated, which needs another fit ({seconds:,.0f} s): add --quality"
        about |= {} if won is None else {"quality": won.as_json()}
        bundle.write(out, assembly, data, seed=seed, about=about)
        checkpoints.discard(kept)
    if not console.quiet(json):
        console.output.print(expected, markup=False, soft_wrap=True)
        show_written(out, data)
    if json is not None:
        console.write_json(json, bundle.read(out).manifest)


def of_report(won: winner.Winner, data: Dataset) -> str:
    """Return what quality to expect by a report, and a warning if that is about other data."""
    if won.fingerprint == data.fingerprint:
        return f"{won.name}: {won.sentence}"
    return (
        f"warning: the report is about other data ({won.data}), so its figure may not hold; {won.name}: {won.sentence}"
    )


def estimated(data: Dataset, name: str, recipe: str, seed: int) -> tuple[winner.Winner | None, str]:
    """Return the held-out quality of a recipe and the sentence about it; None where the log cannot be split."""
    from pasand.evaluation.quality import expected_quality

    console.errors.print("estimating the quality to expect", markup=False)
    try:
        found = expected_quality(data, name, recipe, seed=seed)
    except InputError as error:
        cause = str(error).partition(" Cure: ")[0]  # the cures are options of `pasand compare`
        return None, f"quality not estimated: {cause}"
    return found, f"{name}: {found.sentence}"


def fit_winner(won: winner.Winner, data: Dataset, out: Path, *, seed: int, robust: bool = False) -> None:
    """Fit the best recommender of a comparison to all events, and save it as a bundle that knows its quality.

    With `robust` suspicious events count less, and the bundle knows that too.
    """
    from pasand import bundle
    from pasand import recipe as recipes

    with console.progress():
        assembly, about = recipes.build(won.recipe), {"quality": won.as_json()}
        if robust:
            data, about["robust"] = with_weights(data, assembly.fitted.values())
        bundle.write(out, assembly.fit(data, seed=seed), data, seed=seed, about=about)


def show_written(out: Path, data: Dataset, report: Path | None = None) -> None:
    """Print where the bundle is, and the commands that use it: the page shows a report that was written with it."""
    folder, user = quote(str(out)), quote(data.users.ids([0])[0])
    shown = "" if report is None else f" --report {quote(str(report))}"
    console.output.print(f"bundle written to {out}")
    console.output.print(
        f"try: {console.program()} recommend {folder} --user {user} --why", markup=False, soft_wrap=True
    )
    console.output.print(f"serve it: {console.program()} serve {folder}{shown}", markup=False, soft_wrap=True)


def with_weights(data: Dataset, components: Iterable[object]) -> tuple[Dataset, dict[str, object]]:
    """Return the data with training weights and what the manifest records of them, and print both."""
    from pasand.attacks.weighing import weighed, without_weights

    robust, ignoring = weighed(data), without_weights(components)
    console.errors.print(str(robust), markup=False, soft_wrap=True)
    if robust.events and ignoring:
        text = f"warning: these models count every event fully: {', '.join(ignoring)}"
        console.errors.print(text, markup=False, soft_wrap=True, style="yellow")
    return robust.data, {**robust.as_json(), "models_without_weights": ignoring}


def earlier(data: Dataset, until: str) -> Dataset:
    """Return the events before a time, or the first share of them, in (0, 1), with all users, items and features.

    Events with the time of the cut are left out, as the protocol `temporal` does. Raises InputError for anything else,
    and where no event is left.
    """
    import numpy as np

    if data.order != "time":
        cause = "events have no time, so none is earlier"
        raise InputError("--until", value=until, cause=cause, cure="name the column: --column time=NAME")
    try:
        share = float(until)
    except ValueError:
        try:
            kept = data.before(int(np.datetime64(until, "s").astype(np.int64)))
        except ValueError:
            cause, cure = "neither a share nor a time", "write --until 0.8 or --until 2025-03-31"
            raise InputError("--until", value=until, cause=cause, cure=cure) from None
    else:
        if not 0 < share < 1:
            raise InputError("--until", value=until, cause="a share is between 0 and 1", cure="write --until 0.8")
        kept = data.before(int(data.time[int(share * len(data))])) if len(data) else data
    if not len(kept):
        begin = str(np.datetime64(int(data.time[0]), "s")) if len(data) else ""
        cause = f"no event is before that; the first is at {begin}" if begin else "the log has no event"
        raise InputError("--until", value=until, cause=cause, cure="give a later time or a larger share")
    return kept


def single_model_recipe(model: str, recipe: str | None, settings: list[str]) -> str:
    """Return the recipe of one model with the given hyper-parameters; raises InputError if a recipe is given, too."""
    from pasand import default_recipe, models
    from pasand.evaluation.search_space import single_values, with_hyperparameters

    if recipe is not None:
        raise InputError("--recipe", value=recipe, cause="given together with --model", cure="give one of them")
    configured = models.find(model)()
    fields = single_values(configured, console.assignments(settings, "--set"))
    with_hyperparameters(configured, fields)
    return default_recipe.of_model(model, fields)
