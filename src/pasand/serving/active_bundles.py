"""Files that name the bundles a service uses: once that differs from the command line, and those of its start."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pasand.bundle_files import sync_folder
from pasand.errors import InputError
from pasand.serving.private_files import make_private_file

NAME = "bundles.json"
"""Name of the file in the service's folder."""
STARTED = "started-with.json"
"""Name of the file, of the same form, with the bundles of the latest start's command line; a start overwrites it."""


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
    replace(file, read(file) | {name: folder})


def replace(file: Path, variants: Mapping[str, str]) -> None:
    """Write the folders of bundles by variant in one atomic step; raises OSError as `write` does."""
    part = file.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        make_private_file(part)
        with part.open("w", encoding="utf-8") as opened:
            json.dump({"variants": dict(variants)}, opened)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(file.parent)
