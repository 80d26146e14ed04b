"""File that names the bundles a service uses, once that differs from the command line."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from pasand.bundle_files import sync_folder
from pasand.errors import InputError

NAME = "bundles.json"
"""Name of the file in the service's folder."""


def read(file: Path) -> dict[str, str]:
    """Return the bundles' folders by variant, {} if there is no file; raises InputError if it cannot be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): str(folder) for name, folder in content["variants"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cure = "remove it to go back to the bundles of the command line"
        raise InputError(file, cause=f"cannot be read: {error}", cure=cure) from None


def write(file: Path, name: str, folder: str) -> None:
    """Record the folder of a variant's bundle in one atomic step; every worker, and the next start, follows it.

    Raises OSError, and leaves the file as it was, where it cannot be written.
    """
    content = {"variants": read(file) | {name: folder}}
    part = file.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        with part.open("w", encoding="utf-8") as opened:
            json.dump(content, opened)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(file.parent)
