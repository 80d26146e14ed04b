"""Files of a bundle's folder: named by checksum, saved by one process at a time, verified before they are read."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from pasand.errors import InputError, failure_cause

MANIFEST = "manifest.json"
MAX_THREADS = 4
"""Threads that verify files, at most; one thread reads and hashes about 1.5 GB per second."""
SUFFIXES = {".toml", ".json", ".safetensors", ".onnx", ".index"}
MAX_TRIES = 100
"""Times that a bundle is opened again because a save replaced it meanwhile, at most."""
CHECKSUM = "checksum"
"""Entry of the manifest: the sha256 of its other entries."""

T = TypeVar("T")


class FileEntry(msgspec.Struct):
    """A file of a bundle, in its manifest."""

    file: str
    """Name of the file in the folder."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct):
    """The entries that every manifest must have; it may have others."""

    format: int
    recipe: str
    """sha256 of the recipe."""
    files: dict[str, FileEntry]
    """Files by the names of their contents."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    checksum: str = ""
    """sha256 of the other entries; "": not recorded, as by earlier releases."""


def check_target(path: str | Path) -> None:
    """Raise InputError if a bundle may not be written to a folder because it holds something else."""
    folder = Path(path)
    if not folder.exists() or (folder / MANIFEST).exists():
        return
    if not folder.is_dir() or not all(_is_bundle_file(file) for file in folder.iterdir()):
        raise InputError(folder, cause="exists and is not a bundle", cure="name a new folder")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a bundle, of any format: its number "format" is there; raises InputError if it is not."""
    cure = "give a folder that `pasand fit` wrote"
    try:
        handle = open_regular(folder / MANIFEST)
        with os.fdopen(handle, "rb") as file:
            manifest: dict[str, Any] = json.loads(file.read())
        _ = manifest["format"] + 0
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(folder, cause=f"not a bundle ({MANIFEST}: {error})", cure=cure) from None
    return manifest


def check_manifest(folder: Path, manifest: Mapping[str, Any]) -> Manifest:
    """Return the entries that every manifest has.

    Raises InputError for one that was changed since it was saved, and for a missing or wrong entry, naming it.
    """
    cure = "copy it again or fit again"
    if CHECKSUM in manifest and manifest[CHECKSUM] != manifest_checksum(manifest):
        cause = f"{MANIFEST} changed since it was saved (its checksum differs)"
        raise InputError(folder, cause=cause, cure=cure)
    try:
        return msgspec.convert(dict(manifest), Manifest)
    except msgspec.ValidationError as error:
        raise InputError(folder, cause=f"{MANIFEST} is wrong: {error}", cure=cure) from None


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Return the sha256 of the entries of a manifest but its checksum, whatever their order, hexadecimal."""
    rest = {name: value for name, value in manifest.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest with its checksum, which publishes a bundle: its files must be there. All reaches the disk."""
    sync_folder(folder)  # the names of the files, before the manifest that needs them
    content = {**manifest, CHECKSUM: manifest_checksum(json.loads(json.dumps(manifest)))}
    write_file(folder / MANIFEST, json.dumps(content, indent=1).encode())
    sync_folder(folder)


def named_by_digest(folder: Path, name: str, digest: str) -> Path:
    """Return the path of a file whose name holds part of its sha256.

    >>> named_by_digest(Path("b"), "tower.query.onnx", "0123456789abcdef").as_posix()
    'b/tower.query-0123456789ab.onnx'
    """
    stem, _, suffix = name.rpartition(".")
    return folder / f"{stem}-{digest[:12]}.{suffix}"


def file_digest(file: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with os.fdopen(open_regular(file), "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def open_regular(file: Path) -> int:
    """Return a handle for reading a file; the caller closes it.

    Raises OSError for a link, and for what is no regular file, such as a pipe, which is not waited for.
    """
    if file.is_symlink():
        raise OSError(f"{file.name} is a link, and files of a bundle must be in its folder")
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{file.name} is not a regular file")
    return handle


def temporary_name(file: Path) -> Path:
    """Return a name beside a file that no other process uses, for writing it."""
    return file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")


def write_file(file: Path, content: bytes) -> None:
    """Write a file under a temporary name, then publish it."""
    temporary = temporary_name(file)
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


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that they survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Create a bundle's folder if there is none, and hold it: of several saves, one at a time runs.

    The lock is on the folder itself, so that no file is left, and ends with the process.
    """
    import fcntl  # not on Windows

    while True:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(handle, folder):  # a save that failed meanwhile may have removed it
                yield
                return
        finally:
            os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


class OpenFile:
    """A file of a bundle that stays readable although a save may have removed its name."""

    def __init__(self, path: Path, digest: str) -> None:
        """Open the file, to be closed by `close`; raises OSError as `open_regular`."""
        self.path, self.digest = path, digest
        self.handle = open_regular(path)

    def verify(self) -> OpenFile:
        """Return itself after checking that its bytes are the saved ones; raises InputError if they are not."""
        with os.fdopen(os.dup(self.handle), "rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        os.lseek(self.handle, 0, os.SEEK_SET)
        if digest != self.digest:
            cause = "changed since it was saved (sha256 differs)"
            raise InputError(self.path, cause=cause, cure="copy it again or fit again")
        return self

    def read(self) -> bytes:
        """Return the content of the file."""
        with os.fdopen(os.dup(self.handle), "rb") as content:
            content.seek(0)
            return bytes(content.read())

    def using(self, use: Callable[[Path], T]) -> T:
        """Return what a function makes of the file, given a path that works as long as the file is open.

        Raises InputError, with the file's own name, whatever the function raises.
        """
        link = Path(f"/dev/fd/{self.handle}")
        try:
            return use(link if link.exists() else self.path)
        except InputError as error:
            error.args = (str(error).replace(str(link), str(self.path)),)
            raise
        except Exception as error:  # whatever a foreign file makes the code fail with
            cause = failure_cause(error).replace(str(link), self.path.name)
            raise InputError(self.path, cause=cause, cure="copy it again or fit again") from error

    def close(self) -> None:
        """Close the file; what was mapped from it stays."""
        os.close(self.handle)


@contextmanager
def opened_files(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Future[OpenFile]]]]:
    """Give the manifest of a bundle, and each of its files as a future, which holds once its checksum is verified.

    All files are opened before any is read, and opened again if a save replaced the manifest meanwhile: they are those
    of one save. Files are hashed on threads, so that the caller's work goes on where cores are free. Leaving the block
    waits for all futures, and raises InputError for a file that is missing or changed. Formats are not compared.
    """
    manifest, files = _open_all(folder)
    with ThreadPoolExecutor(min(MAX_THREADS, _available_cores())) as threads:
        futures = {name: threads.submit(file.verify) for name, file in files.items()}
        try:
            yield manifest, futures
            for future in futures.values():
                future.result()
        finally:
            threads.shutdown(cancel_futures=True)
            for file in files.values():
                file.close()


def _open_all(folder: Path) -> tuple[dict[str, Any], dict[str, OpenFile]]:
    for _ in range(MAX_TRIES):
        version = _version(folder / MANIFEST)
        manifest = read_manifest(folder)
        try:
            return manifest, _open_each(folder, check_manifest(folder, manifest))
        except InputError:
            if _version(folder / MANIFEST) == version:
                raise
    raise InputError(folder, cause="other processes save this bundle without a pause", cure="read it once they ended")


def _version(file: Path) -> tuple[int, ...]:
    """Return numbers that change when the file is replaced, even by one of equal bytes."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _open_each(folder: Path, manifest: Manifest) -> dict[str, OpenFile]:
    files: dict[str, OpenFile] = {}
    try:
        for name, entry in manifest.files.items():
            if Path(entry.file).name != entry.file:
                cause = "files of a bundle must be in its own folder"
                raise InputError(folder, value=entry.file, cause=cause, cure="fit again")
            try:
                files[name] = OpenFile(folder / entry.file, entry.sha256)
            except (OSError, ValueError) as error:
                cause = f"file missing or unreadable ({error})"
                raise InputError(folder, cause=cause, cure="copy the whole folder") from None
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return files


def remove_incomplete(folder: Path, written: list[Path]) -> None:
    """Remove the files that a failed save wrote, except those of the current manifest, and then an empty folder."""
    if not folder.is_dir():
        return
    try:
        kept = {entry.file for entry in check_manifest(folder, read_manifest(folder)).files.values()}
    except InputError:
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


def _is_bundle_file(file: Path) -> bool:
    """Return whether the name of a file is one that saves give."""
    return file.name.endswith(".part") or (file.stem[-13:-12] == "-" and file.suffix in SUFFIXES)
