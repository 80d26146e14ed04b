"""pasand simulate: shows what recipes do to a simulated market when they learn from what they have shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pasand.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from pasand.closed_loop.results import Simulation
    from pasand.simulation.market import Market


def command(
    recipe: list[str] = typer.Option(
        ["market"],
        help="Recipe to simulate, a TOML file or a built-in recipe; may be repeated, and the others are compared with "
        "the first. A single one is compared with itself without its policy.",
    ),
    parts: bool = typer.Option(
        False, "--parts", help="Simulate each table of a recipe's policy alone, and the recipe without any, as well."
    ),
    world: str = typer.Option(
        "bollywood", help="What is simulated: bollywood, films of studios, or market, products of sellers."
    ),
    encode: list[str] = typer.Option(
        [], help="Encode columns of the items as vectors, such as description=tfidf; may be repeated."
    ),
    rounds: int = typer.Option(50, help="Rounds of lists, choices and fits."),
    round_days: int = typer.Option(3, help="Days between two rounds."),
    users: int = typer.Option(2000, help="Viewers or buyers of the market, up to a million."),
    items: int = typer.Option(600, help="Films or products of the market."),
    studios: int = typer.Option(
        120,
        help="Studios of the market, of which three in ten begin during the rounds; or sellers, of which half join "
        "after the first day of the log.",
    ),
    warm_days: int = typer.Option(60, help="Days of the log before the first round."),
    seeds: int = typer.Option(3, min=1, help="Markets to simulate, each with a seed of its own."),
    seed: int = typer.Option(0, min=0, help="The first seed."),
    retrain_every: int = typer.Option(1, min=1, help="Rounds after which the recipes are fitted again."),
    k: int = typer.Option(10, min=1, help="Length of the lists."),
    json: Path | None = typer.Option(None, help='Write all figures as JSON to a file; "-": standard output.'),
    out: Path | None = typer.Option(None, help="Write a page (HTML) with charts of the rounds to a file."),
) -> None:
    """Simulate closed loops of recipes in a market whose truth is known, and compare them seed by seed.

    Prints true satisfaction, retention, survival of studios, first sales of new studios, concentration, filter bubbles
    and gaps between groups. Finished runs are kept in OUT.training, or JSON.training, until all are finished. After
    Ctrl-C, the same command resumes from there.
    """
    from pasand.closed_loop import page
    from pasand.closed_loop.contenders import WORLDS, contenders
    from pasand.closed_loop.simulate import memory_needed, simulate
    from pasand.errors import InputError
    from pasand.training import checkpoints

    console.check_writable(json, out)
    if world not in WORLDS:
        cause, cure = "there is no such world", f"choose {' or '.join(WORLDS)}"
        raise InputError("--world", value=world, cause=cause, cure=cure)
    chosen = contenders(recipe, parts=parts, world=world)
    market = _market(
        world,
        n_users=users,
        n_items=items,
        n_studios=studios,
        warm_days=warm_days,
        rounds=rounds,
        round_days=round_days,
        seed=seed,
    )
    target = out or (None if json is None or console.quiet(json) else json)
    kept = None if target is None else checkpoints.folder_of(target)
    if kept is not None and checkpoints.resumable(kept):
        console.errors.print(f"resuming from the finished runs in {kept}", markup=False, soft_wrap=True)
    console.errors.print(str(memory_needed(market, k)), markup=False)
    with console.progress():
        done = simulate(chosen, market, seeds=seeds, k=k, retrain_every=retrain_every, encode=encode, kept=kept)
    if not done.seeds and not done.complete:
        raise KeyboardInterrupt
    if not console.quiet(json):
        show(done)
    console.write_json(json, done.as_json())
    if out is not None:
        page.write(out, done)
        console.errors.print(f"page written to {out}", markup=False)
    if not done.complete:
        raise KeyboardInterrupt
    if kept is not None:
        checkpoints.discard(kept)


def _market(world: str, **fields: int) -> Market:
    """Return the market of a world; raises InputError for a value out of range, naming the option."""
    from pasand.errors import InputError
    from pasand.simulation.market import Market
    from pasand.simulation.seller_market import SellerMarket

    try:
        return (SellerMarket if world == "market" else Market)(**fields)
    except ValueError as error:
        name = str(error).partition(" ")[0]
        option = f"--{name.removeprefix('n_').replace('_', '-')}"
        raise InputError(option, value=fields.get(name), cause=str(error), cure=f"give a larger {option}") from None


def show(done: Simulation) -> None:
    """Print what the loop of the first recipe does, a table per other recipe, and what it changes in words."""
    from pasand.simulation.seller_market import SellerMarket

    out = console.output
    for note in done.notes:
        out.print(note, soft_wrap=True)
    market, names = done.market, done.names
    if isinstance(market, SellerMarket):
        out.print("Films are products here, studios sellers, and viewers buyers.", style="dim")
    about = (
        f"{market.n_users:,} viewers, {market.n_items:,} films, {market.n_studios:,} studios, {market.rounds} rounds"
    )
    out.print(f"{about}, {len(done.seeds)} of {done.n_seeds} seeds, lists of {done.k}", style="dim")
    out.print(f"What the loop of {names[0]} does", style="bold")
    for line in done.loop_sentences:
        out.print(f"  {line}", soft_wrap=True)
    for name in names[1:]:
        out.print(table(done, name))
        out.print(f"What {name} changes, compared with {names[0]}", style="bold")
        out.print(f"  {done.verdicts[name]}", soft_wrap=True)
        for line in done.sentences[name]:
            out.print(f"  {line}", soft_wrap=True)


def table(done: Simulation, name: str) -> Table:
    """Return the measures of a recipe beside those of the first one, with the paired difference."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pasand.audit.page import p_text

    title = Text(console.printable(f"{name}, compared with {done.names[0]}", lines=False))
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("measure", "better", done.names[0], name, "difference [95 %]", "p (Holm)", "result"):
        left = head in ("measure", "better", "result")
        shown.add_column(Text(console.printable(head, lines=False)), justify="left" if left else "right")
    for one in done.differences:
        if one.contender == name:
            figures = (one.text(type(one.value)(value.mean)) for value in (one.reference, one.value))
            difference = one.text(one.difference, sign=True)
            shown.add_row(one.measure.name, one.measure.better, *figures, difference, p_text(one.p_holm), one.verdict)
    return shown
