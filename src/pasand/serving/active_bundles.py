"""The file that tells which bundles a service answers from, once that has changed since it was first started."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from pasand.errors import InputError

NAME = "bundles.json"
"""The file in the service's folder."""


def read(file: Path) -> dict[str, str]:
    """Return folders of bundles by variant, {} where there is no file; raises InputError for one that is no good."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): str(place) for name, place in found["variants"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cure = "remove it to go back to the bundles of the command line"
        raise InputError(file, cause=f"cannot be read: {error}", cure=cure) from None


def write(file: Path, name: str, place: str) -> None:
    """Write down, in one step, which folder a variant answers from; every worker follows, and the next start does."""
    told = {"variants": read(file) | {name: place}}
    part = file.with_suffix(f".{secrets.token_hex(4)}.part")
    with part.open("w", encoding="utf-8") as written:
        json.dump(told, written)
        written.flush()
        os.fsync(written.fileno())
    part.replace(file)
    settle(file.parent)


def settle(folder: Path) -> None:
    """Push the names in a folder to the disk, so that a power cut leaves them as they are."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
