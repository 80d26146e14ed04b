"""Files of a bundle's folder: named by checksum, written atomically, verified before they are read, swept when old."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pasand.errors import InputError

MANIFEST = "manifest.json"
MAX_THREADS = 4
"""Threads that verify files, at most; one thread reads and hashes about 1.5 GB per second."""
SUFFIXES = {".toml", ".json", ".safetensors", ".onnx", ".index"}


def check_target(path: str | Path) -> None:
    """Raise InputError if a bundle may not be written to a folder because it holds something else."""
    folder = Path(path)
    if not folder.exists() or (folder / MANIFEST).exists():
        return
    if not folder.is_dir() or not all(_is_bundle_file(file) for file in folder.iterdir()):
        raise InputError(folder, cause="exists and is not a bundle", cure="name a new folder")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a bundle, with its keys "format" and "files"; raises InputError if there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        _ = manifest["format"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        cure = "give a folder that `pasand fit` wrote"
        raise InputError(folder, cause=f"not a bundle ({MANIFEST}: {error})", cure=cure) from None
    return manifest


def named_by_digest(folder: Path, name: str, digest: str) -> Path:
    """Return the path of a file whose name holds part of its sha256.

    >>> named_by_digest(Path("b"), "tower.query.onnx", "0123456789abcdef").as_posix()
    'b/tower.query-0123456789ab.onnx'
    """
    stem, _, suffix = name.rpartition(".")
    return folder / f"{stem}-{digest[:12]}.{suffix}"


def file_digest(file: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_file(file: Path, content: bytes) -> None:
    """Write a file under a temporary name, then publish it."""
    temporary = file.with_name(file.name + ".part")
    try:
        temporary.write_bytes(content)
        publish(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, file: Path) -> None:
    """Flush a temporary file to the disk, then rename it."""
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.replace(file)


@contextmanager
def verified_files(folder: Path, files: Mapping[str, dict[str, str]]) -> Iterator[dict[str, Future[Path]]]:
    """Give the path of each file of the manifest as a future, which holds once the file's checksum is verified.

    Files are hashed on threads, so that the caller's work goes on where cores are free. Leaving the block waits for all
    futures, and raises InputError for a file that is missing or changed.
    """
    with ThreadPoolExecutor(min(MAX_THREADS, _available_cores())) as threads:
        futures = {name: threads.submit(_verified, folder, entry) for name, entry in files.items()}
        try:
            yield futures
            for future in futures.values():
                future.result()
        finally:
            threads.shutdown(cancel_futures=True)


def remove_incomplete(folder: Path, written: list[Path]) -> None:
    """Remove the files that a failed save wrote, except those of the current manifest, and then an empty folder."""
    if not folder.is_dir():
        return
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        kept = {entry["file"] for entry in manifest["files"].values()}
    except (OSError, ValueError, KeyError, TypeError):
        kept = set()
    for file in written:
        if file.name not in kept:
            file.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def sweep(folder: Path, keep: set[str]) -> None:
    """Remove the files of older saves: all with names that saves give, except those to keep."""
    for file in list(folder.iterdir()):
        if _is_bundle_file(file) and file.name not in keep:
            file.unlink(missing_ok=True)


def _available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _verified(folder: Path, entry: dict[str, str]) -> Path:
    """Return the path of a file of the manifest after checking that its bytes are the saved ones."""
    file = folder / entry["file"]
    if file.name != entry["file"]:
        cause = "files of a bundle must be in its own folder"
        raise InputError(folder, value=entry["file"], cause=cause, cure="fit again")
    try:
        digest = file_digest(file)
    except OSError as error:
        raise InputError(folder, cause=f"file missing or unreadable ({error})", cure="copy the whole folder") from None
    if digest != entry["sha256"]:
        raise InputError(file, cause="changed since it was saved (sha256 differs)", cure="copy it again or fit again")
    return file


def _is_bundle_file(file: Path) -> bool:
    """Return whether the name of a file is one that saves give."""
    return file.name.endswith(".part") or (file.stem[-13:-12] == "-" and file.suffix in SUFFIXES)
