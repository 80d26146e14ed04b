"""pasand state: backs up and checks the events that a service has stored."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True, help="Back up and check the events that a service has stored in SQLite.")

STATE = typer.Argument(..., help="Folder of a service (its --folder), or the file of its --state.")


@app.command()
def backup(state: Path = STATE, out: Path = typer.Argument(..., help="New file for the copy.")) -> None:
    """Copy STATE to the new file OUT, also while services use it."""
    from pasand.serving.states import sqlite_backup

    numbers = sqlite_backup.backup(state, out)
    print(f"{out}: events up to number {numbers.event:,}, changes up to number {numbers.change:,}")


@app.command()
def check(state: Path = STATE) -> None:
    """Check that the file of STATE is intact and holds all acknowledged events; exit with 1 if not."""
    from pasand.serving.states import sqlite_backup

    numbers, faults = sqlite_backup.check(state)
    for fault in faults:
        print(fault)
    if faults:
        raise typer.Exit(1)
    print(f"intact: events up to number {numbers.event:,}, changes up to number {numbers.change:,}")


@app.command()
def accept(state: Path = STATE) -> None:
    """Let services use STATE again although it lacks events that were acknowledged; services reject it before."""
    from pasand.serving.states import sqlite_acknowledged, sqlite_backup

    lost = sqlite_acknowledged.accept(sqlite_backup.state_file(state))
    print(f"accepted without {lost}" if lost else "nothing is missing")
