"""Bundles changed as an attacker or an accident may, with right checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

from pasand import bundle_files
from pasand.types import Array


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of a bundle, and write it with the right checksum."""
    manifest = json.loads((folder / bundle_files.MANIFEST).read_bytes())
    change(manifest)
    manifest[bundle_files.CHECKSUM] = bundle_files.manifest_checksum(manifest)
    (folder / bundle_files.MANIFEST).write_text(json.dumps(manifest))


def rewrite(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a file of a bundle, and the manifest accordingly."""

    def enter(manifest: dict[str, Any]) -> None:
        entry = manifest["files"][name]
        content = change((folder / entry["file"]).read_bytes())
        (folder / entry["file"]).write_bytes(content)
        entry["sha256"] = hashlib.sha256(content).hexdigest()
        if name == "recipe.toml":
            manifest["recipe"] = entry["sha256"]

    rewrite_manifest(folder, enter)


def rewrite_arrays(folder: Path, name: str, change: Callable[[dict[str, Array]], None]) -> None:
    """Change the arrays of a file of a bundle."""

    def changed(content: bytes) -> bytes:
        arrays = {key: values.copy() for key, values in load(content).items()}
        change(arrays)
        return bytes(save(arrays))

    rewrite(folder, name, changed)
