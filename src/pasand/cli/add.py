"""pasand add: take new items into a bundle."""

from __future__ import annotations

from pathlib import Path

import typer

from pasand.cli import console


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    items: Path = typer.Argument(..., help="Table of the new items: an id, and features as those of the other items."),
    out: Path | None = typer.Option(None, help="Folder of the new bundle; by default it takes the old one's place."),
) -> None:
    """Append items to the catalogue of BUNDLE; models that know items by their features recommend them at once."""
    from pasand import bundle as bundles
    from pasand.cli.recommend import with_items

    with console.progress():
        loaded = bundles.read(bundle)
        bundles.check_place(out or bundle)
        extended = with_items(loaded, items)
        bundles.write(out or bundle, extended.assembly, extended.data, seed=loaded.manifest["seed"])
    more = extended.data.n_items - loaded.data.n_items
    console.output.print(f"{more:,} items added, {extended.data.n_items:,} in all; bundle written to {out or bundle}")
