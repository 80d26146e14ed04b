"""pasand refresh: retrains a served bundle on new events and puts it into use if it passes the acceptance tests."""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer

from pasand.cli import console
from pasand.errors import InputError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


EXAMPLES = (
    "pasand refresh bundle --every 6h",
    "pasand refresh bundle --once",
)


def command(
    bundle: Path = typer.Argument(..., help="Folder of the bundle that the service was started with."),
    folder: Path | None = typer.Option(
        None, help="Folder of the service; by default the folder of --state, or BUNDLE-state beside the bundle."
    ),
    state: str | None = typer.Option(None, help="Events of the service: a file, or redis://HOST:PORT/0."),
    variant: str = typer.Option("main", help="Name of the bundle among the variants of the service."),
    recipe: Path | None = typer.Option(None, help="Recipe to fit instead of the bundle's own."),
    every: str = typer.Option("6h", help="Time between refreshes, such as 30m, 6h or 1d."),
    once: bool = typer.Option(False, "--once", help="Refresh once, and exit with 1 if a new bundle is not published."),
    margin: float = typer.Option(
        0.05,
        min=0,
        max=1,
        help="Non-inferiority margin: publish if NDCG@10 is shown to be lower by less than this share.",
    ),
    min_queries: int = typer.Option(200, min=1, help="Test queries below which the comparison is inconclusive."),
    publish_inconclusive: bool = typer.Option(
        False,
        "--publish-inconclusive",
        help="Publish, with a note, if there are too few test queries to show that the new bundle is no worse.",
    ),
    by_impressions: bool = typer.Option(
        False,
        "--by-impressions",
        help="Publish only if the service's impressions show, by their random slots, that clicks fall by less than the "
        "margin; after `serve --hash-users`, set PASAND_HASH_SECRET as there.",
    ),
    max_shrinkage: float = typer.Option(
        0.2, min=0, max=1, help="Share by which the number of items or of users may decrease."
    ),
    max_list_change: float = typer.Option(
        0.8, min=0, max=1, help="Share of the items in users' lists that may be replaced."
    ),
    max_popularity_shift: float = typer.Option(
        0.25, min=0, max=1, help="Change allowed of the recommended items' mean popularity percentile."
    ),
    keep: int = typer.Option(3, min=2, help="Number of new bundles to keep."),
) -> None:
    """Retrain BUNDLE on the new events of its service, and put the result into use if it is shown to be no worse.

    It is no worse if the 95 % interval of the change of NDCG@10 lies above minus the margin. If there are too few test
    queries to show this, the running bundle stays in use and the events are kept for the next refresh.
    New bundles are written beside BUNDLE. Each refresh prints one line of JSON. If a refresh is interrupted, by Ctrl-C,
    kill -9 or a power cut, the running bundle stays in use.
    """
    import time

    from pasand.serving.refresh.acceptance import Limits
    from pasand.serving.refresh.refresh import Refresh
    from pasand.serving.state_owner import folder_of

    wait = seconds(every)
    limits = Limits(
        margin=margin,
        min_queries=min_queries,
        publish_inconclusive=publish_inconclusive,
        by_impressions=by_impressions,
        max_shrinkage=max_shrinkage,
        max_list_change=max_list_change,
        max_popularity_shift=max_popularity_shift,
    )
    where = folder or (Path(state).parent if state is not None and "://" not in state else folder_of(bundle))
    refresh = Refresh(
        bundle=bundle, folder=where, state=state, variant=variant, recipe=recipe, limits=limits, keep=keep
    )
    os.nice(10)  # the service on the same machine goes first
    while True:
        began = time.monotonic()
        try:
            success = refresh_once(refresh)
        except InputError as error:
            if once:
                raise
            console.errors.print(f"no refresh: {error}", markup=False, soft_wrap=True)
            success = False
        if once:
            raise typer.Exit(0 if success else 1)
        time.sleep(max(0.0, began + wait - time.monotonic()))


def refresh_once(refresh: object) -> bool:
    """Refresh once, print the outcome, and return whether the new bundle was published or there was nothing new."""
    import msgspec

    from pasand.serving.refresh.refresh import Refresh

    assert isinstance(refresh, Refresh)
    with console.progress():
        outcome = refresh.run(lambda text: console.errors.print(text, markup=False, soft_wrap=True))
    console.errors.print(outcome.sentence, markup=False, soft_wrap=True)
    print(console.json_text(msgspec.to_builtins(outcome)), flush=True)
    return outcome.outcome in ("published", "nothing_new")


def seconds(text: str) -> float:
    """Return the seconds of a duration such as 90s, 30m, 6h or 1d; raises InputError for anything else.

    >>> seconds("6h")
    21600.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None or not float(found[1]):
        raise InputError("--every", value=text, cause="not a duration", cure="write 30m, 6h or 1d")
    return float(found[1]) * SECONDS[found[2]]
