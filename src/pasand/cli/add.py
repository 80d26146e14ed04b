"""pasand add: adds new items to a bundle."""

from __future__ import annotations

from pathlib import Path

import typer

from pasand.cli import console


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    items: Path = typer.Argument(
        ..., help="Table of the new items: an id, and columns of features, named as those of the other items."
    ),
    out: Path | None = typer.Option(None, help="Folder of the new bundle; BUNDLE itself by default."),
) -> None:
    """Add new items to the catalogue of BUNDLE; models that read item features recommend them at once."""
    from pasand import bundle as bundles
    from pasand.bundle_files import check_target
    from pasand.cli.recommend import with_items

    with console.progress():
        loaded = bundles.read(bundle)
        check_target(out or bundle)
        extended = with_items(loaded, items)
        bundles.write(out or bundle, extended.assembly, extended.data, seed=loaded.manifest["seed"])
    n_new = extended.data.n_items - loaded.data.n_items
    console.output.print(f"{n_new:,} items added, {extended.data.n_items:,} in all; bundle written to {out or bundle}")
