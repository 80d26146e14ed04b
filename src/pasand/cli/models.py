"""pasand models: lists the models and the recipes, with a line about each."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from pasand.cli import console

SHORT = 35
"""Characters below which a first sentence is a title."""

EXAMPLES = ("pasand models", "pasand models --json models.json")


def command(
    json: Path | None = typer.Option(None, help='Write the list as JSON to a file; "-": standard output.'),
) -> None:
    """List the models and recipes that `compare`, `fit` and `tune` accept, with a line about each."""
    console.check_writable(json)
    found = {"models": described_models(), "recipes": described_recipes()}
    console.write_json(json, found)
    if console.quiet(json):
        return
    for title, use, names in (
        ("models", "compare --models NAME, fit --model NAME, tune --model NAME", found["models"]),
        ("recipes", "compare --models NAME, fit --recipe NAME, tune --recipe NAME", found["recipes"]),
    ):
        console.output.print(f"{title} ({use})", style="bold")
        width = max(map(len, names))
        for name, line in names.items():
            console.output.print(f"  {name:{width}}  {line}", soft_wrap=True)


def described_models() -> dict[str, str]:
    """Return the first sentence about each model, by name."""
    from pasand import models

    return {name: _sentence(model.__doc__ or "") for name, model in models.classes().items()}


def described_recipes() -> dict[str, str]:
    """Return the first sentence of the comment at the top of each packaged recipe, by name."""
    from pasand.recipe import PACKAGED, packaged

    found = {}
    for name in packaged():
        comments = []
        for line in (PACKAGED / name).with_suffix(".toml").read_text("utf-8").splitlines():
            if not line.startswith("#"):
                break
            comments.append(line.removeprefix("#").strip())
        found[name] = _sentence(" ".join(comments))
    return found


def _sentence(text: str) -> str:
    """Return the first sentence of a text without its full stop, and the second where the first is a title.

    >>> _sentence("Scores by r = a . b, solved from the history. Repeated events count once.")
    'Scores by r = a . b, solved from the history'
    """
    sentences = re.split(r"\.\s+(?=[A-Z])", " ".join(text.split()))
    return ". ".join(sentences[: 2 if len(sentences[0]) < SHORT else 1]).removesuffix(".")
