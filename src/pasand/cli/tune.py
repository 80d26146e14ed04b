"""pasand tune: search for hyper-parameters inside train, then test the best once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pasand.cli import console
from pasand.cli import source as log
from pasand.errors import InputError

if TYPE_CHECKING:
    from pasand.contracts import Model
    from pasand.evaluation.tune import Tuning


def command(
    source: str = log.SOURCE,
    model: str | None = typer.Option(None, help="Name of the model."),
    recipe: str | None = typer.Option(None, help="In place of a model: a TOML file or a recipe of pasand's own."),
    grid: list[str] = typer.Option(
        [],
        help="FIELD=VALUE,VALUE (of a recipe TABLE.FIELD=VALUE,VALUE), or with --trials FIELD=LOW..HIGH; "
        "may be repeated. Deep models have a usual one.",
    ),
    trials: int | None = typer.Option(None, min=1, help="Draw so many configurations instead of the whole grid."),
    metric: str | None = typer.Option(None, help="What decides; rmse for models of ratings, else ndcg@10."),
    protocol: str | None = log.PROTOCOL,
    histories: str | None = log.HISTORIES,
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    query: str | None = log.QUERY,
    positive_from: float | None = log.POSITIVE_FROM,
    column: list[str] = log.COLUMN,
    impressions: str | None = log.IMPRESSIONS,
    json: Path | None = typer.Option(None, help='Write all trials as JSON to a file; "-": standard output.'),
    write: Path | None = typer.Option(None, help="Write the recipe with the best options to this TOML file."),
    report: Path | None = typer.Option(None, help="Write a page with the learning curves to this HTML file."),
) -> None:
    """Try configurations of a model or a recipe on a validation part of train, and the best one once on test."""
    from pasand import models
    from pasand import recipe as recipes
    from pasand.contracts import PredictsRatings
    from pasand.evaluation import tune
    from pasand.evaluation.memory_estimate import needed
    from pasand.evaluation.report import contents
    from pasand.evaluation.report import html as reports

    console.check_writable(json, report, write)
    if (model is None) == (recipe is None):
        raise InputError("pasand tune", cause="one of --model and --recipe is needed", cure="name what is to be tuned")
    configured: Model | tune.OfRecipe
    if recipe is not None:
        configured = tune.OfRecipe(Path(recipe).stem, recipes.read(recipe).text, seed)
        searched = dict(configured.parsed(setting) for setting in grid)
        if not searched:
            cure = "name them: --grid TABLE.OPTION=VALUE,VALUE"
            raise InputError("grid", value=recipe, cause="no options to search are given", cure=cure)
    else:
        assert model is not None
        configured = models.find(model)()
        searched = dict(tune.parsed(configured, setting) for setting in grid) or tune.space(configured)
        if write is not None:
            raise InputError(
                "--write", value=write, cause="given without --recipe", cure="use pasand fit --model --set"
            )
    with console.progress():
        data = log.opened(source, query, positive_from, column, impressions=impressions, quiet=console.quiet(json))
        if not isinstance(configured, tune.OfRecipe):
            console.errors.print(str(needed(data, [configured])), markup=False)
        rates = isinstance(configured, PredictsRatings) and data.values == "rating"
        tuning = tune.tune(
            data,
            configured,
            searched,
            log.protocol_of(data, source, protocol, histories),
            metric=metric or ("rmse" if rates else "ndcg@10"),
            trials=trials,
            seed=seed,
        )
    if not console.quiet(json):
        show(tuning)
    console.write_json(json, tuning.as_json())
    if write is not None and isinstance(configured, tune.OfRecipe):
        text = recipes.changed(configured.text, tuning.best.hyperparameters)
        beside = write.with_name(write.name + ".part")
        beside.write_text(text, encoding="utf-8")
        beside.replace(write)
        console.errors.print(f"recipe written to {write}", markup=False)
    if report is not None:
        reports.write(report, contents.of_tuning(tuning))
        console.errors.print(f"report written to {report}", markup=False)


def show(tuning: Tuning) -> None:
    """Print every configuration, best first, and the test of the best."""
    from rich.table import Table

    from pasand.evaluation.report.contents import sentence

    out = console.output
    out.print(f"[bold]protocol[/] {sentence(tuning.outer)}")
    out.print(f"[bold]chosen on[/] {tuning.inner.name}")
    head, rows = tuning.table()
    table = Table(*head)
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    out.print(table)
    if tuning.test is None:
        out.print("stopped early: the best so far was not tested")
        return
    told = tuning.test.evaluation
    for name, part in (("all", told.overall), ("warm", told.warm), ("cold", told.cold)):
        value = part.get(tuning.metric)
        if value is not None and value.mean == value.mean:
            out.print(
                f"test {name}: {tuning.metric} {value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]", markup=False
            )
