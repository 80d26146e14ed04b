"""pasand attack: injects fake profiles into a log, and shows what they gain for the item that they push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pasand.cli import console
from pasand.cli.source import Reading, reads_log
from pasand.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from pasand.attacks.injection import Attack
    from pasand.attacks.shift import ModelShift
    from pasand.data.dataset import Dataset
    from pasand.types import Rows

EXAMPLES = (
    "pasand attack ml-100k --model ease --kind bandwagon --share 0.03 --filler 0.05 --robust",
    "pasand attack ml-100k --kind average --target 1235 --out attacked.csv",
)


@reads_log
def command(
    log: Reading,
    model: list[str] = typer.Option(
        ["popularity", "item_knn", "ease"], help="Attack this model or recipe; may be repeated."
    ),
    kind: str = typer.Option(
        "bandwagon", help="Kind of attack: random, average, bandwagon, average-over-popular or love-hate."
    ),
    share: float = typer.Option(0.03, help="Number of attackers, as a share of the users."),
    filler: float = typer.Option(0.05, help="Items of each attacker beside the target, as a share of the items."),
    target: list[str] = typer.Option([], help="Push this item; may be repeated, each is attacked alone."),
    targets: int = typer.Option(10, min=1, help="Number of targets drawn from items with 5 to 20 events."),
    robust: bool = typer.Option(False, "--robust", help="Show what training with weights leaves of the gain as well."),
    k: int = typer.Option(10, min=1, help="Length of the lists in which a hit counts."),
    compared_users: int = typer.Option(500, min=1, help="Number of genuine users whose lists are compared."),
    set_: list[str] = typer.Option([], "--set", help="Set a hyper-parameter, as MODEL.FIELD=VALUE; may be repeated."),
    seed: int = typer.Option(0, min=0, help="Seed of all random numbers."),
    out: Path | None = typer.Option(None, help="Write the attacked log as CSV to this file; needs a single target."),
    json: Path | None = typer.Option(None, help='Write the results as JSON to a file; "-": standard output.'),
) -> None:
    """Inject fake profiles into SOURCE, and show how far they raise the rank and the hit rate of the target."""
    import numpy as np

    from pasand.attacks import injection, shift
    from pasand.evaluation.contenders import contenders

    console.check_writable(json, out)
    attack = chosen_attack(kind, share, filler)
    with console.progress():
        data = log.opened(quiet=console.quiet(json))
        rng = np.random.default_rng([seed, 0])
        rows = named(data, target) if target else shift.draw_targets(data, 1 if out else targets, rng)
        if out is not None and len(rows) != 1:
            cause, cure = "an attacked log has one target", "give --target once"
            raise InputError("--out", value=str(out), cause=cause, cure=cure)
        entries = contenders(data, model, console.assignments(set_, "--set"), seed)
        names = {name.strip().removesuffix(".toml") for name in model}
        if "popularity" in names:
            from pasand.evaluation.compare import baselines

            entries = [*baselines()[:1], *entries]
        found = shift.shifts(data, entries, attack, rows, robust=robust, k=k, n_users=compared_users, seed=seed)
        if out is not None:
            rng = np.random.default_rng([seed, 2, int(rows[0])])
            write(injection.inject(data, attack, int(rows[0]), rng=rng).data, out)
    if not console.quiet(json):
        show(found, k, f"{kind} attack by {share:.1%} of the users with {filler:.1%} of the items, {len(rows)} targets")
        if out is not None:
            console.output.print(f"attacked log written to {out}", markup=False)
    settings = {"kind": kind, "share": share, "filler": filler, "seed": seed, "k": k}
    console.write_json(json, {"attack": settings, "models": [shift.as_json(one) for one in found]})


def chosen_attack(kind: str, share: float, filler: float) -> Attack:
    """Return the attack; raises InputError for an unknown kind, and for shares out of range."""
    from pasand.attacks.injection import Attack
    from pasand.attacks.kinds import KINDS

    if kind not in KINDS:
        raise InputError("--kind", value=kind, cause="no such kind of attack", cure=f"write one of {', '.join(KINDS)}")
    for option, value in (("--share", share), ("--filler", filler)):
        if not 0 < value <= 1:
            cause = "a share is above 0 and at most 1"
            raise InputError(option, value=str(value), cause=cause, cure=f"write {option} 0.05")
    return Attack(kind=kind, share=share, filler=filler)


def named(data: Dataset, ids: list[str]) -> Rows:
    """Return the rows of the items; raises InputError for one that is not in the catalogue."""
    rows = data.items.rows(ids)
    for text, row in zip(ids, rows, strict=True):
        if row < 0:
            cause, cure = "no such item in the log", f"name an id, such as {data.items.ids([0])[0]}"
            raise InputError("--target", value=text, cause=cause, cure=cure)
    return rows


def write(data: Dataset, file: Path) -> None:
    """Write the events as a table with the columns user, item and, where known, rating or strength and timestamp."""
    import polars as pl

    columns = {"user": data.users.ids(data.user), "item": data.items.ids(data.item)}
    table = pl.DataFrame(columns)
    if data.value is not None:
        table = table.with_columns(pl.Series(data.values, data.value))
    if data.order == "time":
        table = table.with_columns(pl.Series("timestamp", data.time))
    temporary = file.with_name(f".{file.name}.writing")
    try:
        table.write_csv(temporary)
        temporary.replace(file)
    except OSError as error:
        cause = f"cannot be written: {error.strerror or error}"
        raise InputError(file, cause=cause, cure=console.NO_SPACE_CURE) from None
    finally:
        temporary.unlink(missing_ok=True)


def show(found: list[ModelShift], k: int, title: str) -> None:
    """Print the effects as a table."""
    console.output.print(title, markup=False, style="bold")
    console.output.print(table(found, k))


def table(found: list[ModelShift], k: int) -> Table:
    """Return the effects as a table with a row for each model."""
    from rich import box
    from rich.table import Table

    robust = any(one.robust_rank is not None for one in found)
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    heads = ["model", "rank before", "ranks gained [95 %]", f"hit rate@{k} before", "gained [95 %]"]
    for column in [*heads, *(["ranks gained, robust", "cut by"] if robust else [])]:
        out.add_column(column, justify="left" if column == "model" else "right")
    for one in found:
        n = len(one.targets)
        before = [sum(getattr(t.clean, name) for t in one.targets) / n for name in ("rank", "hit_rate")]
        cells = [f"{before[0]:,.1f}", _ranks(one.rank.span), f"{before[1]:.4f}", str(one.hit_rate)]
        if robust:
            still = "" if one.robust_rank is None else _ranks(one.robust_rank.span)
            cut = one.cut is None or one.cut.mean != one.cut.mean
            cells += [still, "nothing gained" if cut or one.cut is None else f"{one.cut.mean:.0%}"]
        out.add_row(console.printable(one.model, lines=False), *cells)
    return out


def _ranks(span: tuple[float, float, float]) -> str:
    mean, low, high = span
    return f"{mean:+,.1f}" if low != low else f"{mean:+,.1f} [{low:+,.1f}, {high:+,.1f}]"
