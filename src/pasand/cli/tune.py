"""pasand tune: searches hyper-parameters on a validation split of train, then tests the best once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pasand.cli import console
from pasand.cli.source import HISTORIES, PROTOCOL, Reading, reads_log
from pasand.errors import InputError

if TYPE_CHECKING:
    from pasand.contracts import Model
    from pasand.evaluation.tune import Trial, Tuning


EXAMPLES = (
    "pasand tune events.csv --model ease --grid l2=100,300,1000",
    "pasand tune events.csv --model biased_mf --grid l2=0.001..0.1 --trials 20",
)


@reads_log
def command(
    log: Reading,
    model: str | None = typer.Option(None, help="Model to tune."),
    recipe: str | None = typer.Option(None, help="Recipe to tune instead: a TOML file or a built-in recipe."),
    grid: list[str] = typer.Option(
        [],
        help="Values to search: FIELD=VALUE,VALUE (in a recipe TABLE.FIELD=VALUE,VALUE), or with --trials "
        "FIELD=LOW..HIGH; may be repeated. Deep models have a default grid.",
    ),
    trials: int | None = typer.Option(
        None, min=1, help="Try this number of configurations drawn from the grid instead of all."
    ),
    metric: str | None = typer.Option(
        None, help="Metric to optimise; by default rmse for rating models, otherwise ndcg@10."
    ),
    protocol: str | None = PROTOCOL,
    histories: str | None = HISTORIES,
    seed: int = typer.Option(0, min=0, help="Seed of all random numbers."),
    json: Path | None = typer.Option(None, help='Write all trials as JSON to a file; "-": standard output.'),
    write: Path | None = typer.Option(None, help="Write the recipe with the best options to this TOML file."),
    report: Path | None = typer.Option(None, help="Write a report with the learning curves to this HTML file."),
) -> None:
    """Search for the best hyper-parameters of a model or a recipe on a validation split, and test them once."""
    from pasand import models
    from pasand import recipe as recipes
    from pasand.contracts import PredictsRatings
    from pasand.evaluation import search_space, tune
    from pasand.evaluation.memory_estimate import training_memory
    from pasand.evaluation.report import contents
    from pasand.evaluation.report import html as reports

    console.check_writable(json, report, write)
    if (model is None) == (recipe is None):
        cause = "exactly one of --model and --recipe is needed"
        raise InputError("pasand tune", cause=cause, cure="give the one to tune")
    configured: Model | search_space.TunableRecipe
    if recipe is not None:
        configured = search_space.TunableRecipe(Path(recipe).stem, recipes.read(recipe).text, seed)
        searched = dict(configured.parse_setting(setting) for setting in grid)
        if not searched:
            cure = "write --grid TABLE.OPTION=VALUE,VALUE"
            raise InputError("--grid", value=recipe, cause="no options to search are given", cure=cure)
    else:
        assert model is not None
        configured = models.find(model)()
        searched = dict(search_space.parse_setting(configured, setting) for setting in grid)
        searched = searched or search_space.default_search_space(configured)
        if write is not None:
            raise InputError(
                "--write", value=write, cause="given without --recipe", cure="use `pasand fit --model --set`"
            )

    def kept(tuning: Tuning) -> None:
        """Write the trials so far as JSON, and print the last trial and the best one so far."""
        if not console.quiet(json):
            console.write_json(json, tuning.as_json())
        last, best = tuning.trials[-1], tuning.best
        result = f"failed: {last.failure}" if last.failure else f"{tuning.metric} {last.validation[tuning.metric]}"
        so_far = f"best so far: {settings(best)}, {best.validation[tuning.metric].mean:.4f}"
        console.errors.print(f"trial {len(tuning.trials)}: {settings(last)}: {result}; {so_far}", soft_wrap=True)

    with console.progress():
        data = log.opened(quiet=console.quiet(json))
        if not isinstance(configured, search_space.TunableRecipe):
            console.errors.print(str(training_memory(data, [configured])), markup=False)
        rates = isinstance(configured, PredictsRatings) and data.values == "rating"
        tuning = tune.tune(
            data,
            configured,
            searched,
            log.protocol(data, protocol, histories),
            metric=metric or ("rmse" if rates else "ndcg@10"),
            trials=trials,
            seed=seed,
            on_trial=kept,
        )
    if not console.quiet(json):
        show(tuning)
    console.write_json(json, tuning.as_json())
    if write is not None and isinstance(configured, search_space.TunableRecipe):
        text = recipes.with_options(configured.text, tuning.best.hyperparameters)
        temporary = write.with_name(write.name + ".part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(write)
        console.errors.print(f"recipe written to {write}", markup=False)
    if report is not None:
        reports.write(report, contents.tuning_report(tuning))
        console.errors.print(f"report written to {report}", markup=False)
    if tuning.interrupted:
        raise KeyboardInterrupt
    if not console.quiet(json) and tuning.test_failure is None:
        show_next(tuning, log, model, recipe, write)
    if tuning.test_failure is not None:
        raise InputError("pasand tune", cause=f"the best configuration could not be tested: {tuning.test_failure}")


def show(tuning: Tuning) -> None:
    """Print every configuration, best first, and the test results of the best one."""
    from rich.table import Table
    from rich.text import Text

    from pasand.evaluation.report.contents import describe_split

    out = console.output
    out.print(Text.assemble(("protocol", "bold"), " ", describe_split(tuning.outer)))
    for name, rule in tuning.rules.items():
        out.print(f"  {name}: {rule}", markup=False, style="dim")
    out.print(Text.assemble(("validation protocol", "bold"), " ", tuning.inner.name))
    head, rows = tuning.table()
    table = Table(*head)
    for row in rows:
        table.add_row(*(console.printable(cell, lines=False) for cell in row))
    out.print(table)
    for trial in tuning.trials:
        if trial.failure is not None:
            out.print(f"{settings(trial)} failed: {trial.failure}")
    if tuning.test is None:
        cause = f"its test failed: {tuning.test_failure}" if tuning.test_failure else "stopped early, not tested"
        out.print(f"best configuration: {settings(tuning.best)}; {cause}")
        return
    evaluation = tuning.test.evaluation
    for name, part in (("all", evaluation.overall), *((group.name, group.metrics) for group in evaluation.groups)):
        value = part.get(tuning.metric)
        if value is not None and value.mean == value.mean:
            out.print(f"test, {name}: {tuning.metric} {value}")


def show_next(tuning: Tuning, log: Reading, model: str | None, recipe: str | None, written: Path | None) -> None:
    """Print which settings won, and the command that fits them to all events."""
    from shlex import quote

    best, others = tuning.best, [trial for trial in tuning.ranked if trial is not tuning.best and not trial.failure]
    won = (
        f"best of {len(tuning.trials)}: {settings(best)} (validation {tuning.metric} {best.validation[tuning.metric]})"
    )
    if others:
        won += f"; next: {settings(others[0])} ({others[0].validation[tuning.metric].mean:.4f})"
    console.output.print(won, style="bold", soft_wrap=True)
    start = f"fit it: {console.program()} fit {log.typed()}"
    end = f"--seed {tuning.seed} " * bool(tuning.seed) + "--out bundle"
    if recipe is None:
        chosen = {name: _written(value) for name, value in best.hyperparameters.items() if value is not None}
        sets = " ".join(f"--set {quote(f'{name}={value}')}" for name, value in chosen.items())
        console.output.print(f"{start} --model {model} {sets} {end}", soft_wrap=True)
    elif written is not None:
        console.output.print(f"{start} --recipe {quote(str(written))} {end}", soft_wrap=True)
    else:
        console.output.print(f"to fit it, write its recipe: add --write {Path(recipe).stem}-tuned.toml", soft_wrap=True)


def _written(value: object) -> str:
    """Return a value as it is written after --set."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def settings(trial: Trial) -> str:
    """Return the searched hyper-parameters of a trial as a text."""
    return ", ".join(f"{name}={value}" for name, value in trial.hyperparameters.items())
