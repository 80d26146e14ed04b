"""pasand refresh: a bundle that follows what its service is told."""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer

from pasand.cli import console
from pasand.errors import InputError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def command(
    bundle: Path = typer.Argument(..., help="The bundle that the service was started with."),
    folder: Path | None = typer.Option(None, help="The service's folder; by default that of --state, or pasand-state."),
    state: str | None = typer.Option(None, help="The service's events: a file, or redis://HOST:PORT/0."),
    variant: str = typer.Option("main", help="Which of the service's bundles it is."),
    recipe: Path | None = typer.Option(None, help="Another recipe than the bundle's own."),
    every: str = typer.Option("6h", help="How often, such as 30m, 6h or 1d."),
    once: bool = typer.Option(False, "--once", help="Do it once, and end with 1 where the new bundle is refused."),
    questions: int = typer.Option(200, min=1, help="Questions about new events from which on the metric counts."),
    worse: float = typer.Option(0.05, min=0, max=1, help="Share by which NDCG@10 may be below the running bundle's."),
    smaller: float = typer.Option(0.2, min=0, max=1, help="Share by which items or users may have become fewer."),
    changed: float = typer.Option(0.8, min=0, max=1, help="Share of the places in users' lists that may change."),
    shift: float = typer.Option(0.25, min=0, max=1, help="By how much the popularity of what is shown may move."),
    keep: int = typer.Option(3, min=2, help="New bundles that are kept."),
) -> None:
    """Fit BUNDLE anew to what its service was told since, and put it in use if it is no worse.

    New bundles lie beside BUNDLE. Each refresh prints a line of JSON. Whatever ends one early, Ctrl-C, kill -9 or a
    power cut, leaves the running bundle in use.
    """
    import time

    from pasand.serving.refresh.acceptance import Limits
    from pasand.serving.refresh.refresh import Refresh

    wait = seconds(every)
    limits = Limits(questions=questions, worse=worse, smaller=smaller, changed=changed, shift=shift)
    where = folder or (Path(state).parent if state is not None and "://" not in state else Path("pasand-state"))
    refresh = Refresh(
        bundle=bundle, folder=where, state=state, variant=variant, recipe=recipe, limits=limits, keep=keep
    )
    os.nice(10)  # the service on the same machine goes first
    while True:
        began = time.monotonic()
        try:
            good = one(refresh)
        except InputError as error:
            if once:
                raise
            console.errors.print(f"no refresh: {error}", markup=False, soft_wrap=True)
            good = False
        if once:
            raise typer.Exit(0 if good else 1)
        time.sleep(max(0.0, began + wait - time.monotonic()))


def one(refresh: object) -> bool:
    """Refresh once, tell of it, and return whether the new bundle was good, or nothing was new."""
    import msgspec

    from pasand.serving.refresh.refresh import Refresh

    assert isinstance(refresh, Refresh)
    with console.progress():
        outcome = refresh.run(lambda text: console.errors.print(text, markup=False, soft_wrap=True))
    console.errors.print(outcome.sentence, markup=False, soft_wrap=True)
    print(msgspec.json.encode(outcome).decode(), flush=True)
    return outcome.outcome != "refused"


def seconds(text: str) -> float:
    """Return the seconds of a span such as 90s, 30m, 6h or 1d; raises InputError for what is none.

    >>> seconds("6h")
    21600.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None or not float(found[1]):
        raise InputError("--every", value=text, cause="not a span of time", cure="write 30m, 6h or 1d")
    return float(found[1]) * SECONDS[found[2]]
