"""Downloads published data sets: with progress, resumed after broken transfers, verified, and unpacked safely."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import stat
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pasand.errors import InputError
from pasand.progress import step

CHUNK_BYTES = 1 << 18
GROUPLENS = "https://files.grouplens.org/datasets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedDataset:
    """Address, checksum and terms of a published data set."""

    url: str
    checksum: str = ""
    """"md5:..." or "sha256:..."; empty: read from the publisher's file URL + ".md5"."""
    terms: str = "for research only; read the README that comes with it"


DATASETS = {
    **{
        name: PublishedDataset(url=f"{GROUPLENS}movielens/{name}.zip")
        for name in ("ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small")
    },
    "hetrec2011-lastfm-2k": PublishedDataset(url=f"{GROUPLENS}hetrec2011/hetrec2011-lastfm-2k.zip"),
}
"""The data sets that `get` can download, by name."""


def data_folder() -> Path:
    """Return the folder of downloaded data sets: PASAND_DATA, or `pasand` in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("PASAND_DATA", cache / "pasand"))


def get(
    name: str,
    folder: Path | None = None,
    *,
    url: str | None = None,
    published: PublishedDataset | None = None,
    attempts: int = 5,
    wait: float = 1.0,
) -> Path:
    """Return the folder of a data set, `folder/name`; download it if the folder does not exist.

    `folder` is by default the one in which `load` looks for names. `url` is a mirror of the archive, whose own checksum
    file is then used.

    A broken transfer is resumed up to `attempts` times, `wait` seconds after the first break and twice as long after
    each further one. A partial download is kept for the next call. Raises InputError where the name is unknown, the
    server cannot be reached or the checksum is wrong.
    """
    published = PublishedDataset(url=url) if url else published or DATASETS.get(name)
    folder = folder or data_folder()
    if published is None:
        raise InputError(name, cause="no data set of this name is known", cure=f"choose one of {', '.join(DATASETS)}")
    if "://" not in published.url:
        raise InputError("--url", value=published.url, cause="not a web address", cure="write https://HOST/FILE.zip")
    target = folder / name
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cause = f"the folder cannot be made: {error.strerror}"
        raise InputError(folder, cause=cause, cure="name another one: --folder") from error
    archive = folder / f"{name}.zip"
    if not archive.exists():
        part = archive.with_name(archive.name + ".part")
        _download(name, published.url, part, attempts, wait)
        _verify(part, published.checksum or _checksum_of(published.url), published.url)
        part.rename(archive)
    unpacked = folder / f".{name}.unpacking"
    shutil.rmtree(unpacked, ignore_errors=True)
    unzip(archive, unpacked)
    entries = list(unpacked.iterdir())
    # most archives contain a single folder with all files
    (entries[0] if len(entries) == 1 and entries[0].is_dir() else unpacked).rename(target)
    shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    return target


def _download(name: str, url: str, part: Path, attempts: int, wait: float) -> None:
    """Download a file to `part`, and resume from the bytes that it has already."""
    failure: Exception | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(wait * 2 ** (attempt - 1))
        try:
            return _transfer(name, url, part)
        except urllib.error.HTTPError as error:
            if error.code == 416:
                # nothing is left to send: the part is complete or wrong, and the checksum decides which
                return
            if error.code < 500:
                cure = "download and unpack it by hand, then pass its folder"
                raise InputError(url, cause=f"the server returned {error.code} {error.reason}", cure=cure) from error
            failure = error
        except (OSError, http.client.HTTPException) as error:
            failure = error
    cure = "check the network and call again: the partial download is kept; or pass a folder that you have"
    raise InputError(url, cause=f"the transfer failed {attempts} times: {failure}", cure=cure) from failure


def _transfer(name: str, url: str, part: Path) -> None:
    """Request the missing bytes once, and append them."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        if have and response.status != 206:
            have = 0  # the server does not support ranges and sends the whole file
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                step(f"downloading {name}", have, total)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _checksum_of(url: str) -> str:
    """Return the publisher's checksum, "" where none is available."""
    try:
        with urllib.request.urlopen(f"{url}.md5", timeout=60) as response:
            words = response.read(4096).decode("ascii", "replace").replace("=", " ").split()
    except (OSError, http.client.HTTPException):
        return ""
    found = next((word.lower() for word in words if len(word) == 32 and not word.strip("0123456789abcdefABCDEF")), "")
    return f"md5:{found}" if found else ""


def _verify(path: Path, checksum: str, url: str) -> None:
    """Raise InputError, and delete the file, where its checksum differs; "" is not checked."""
    if not checksum:
        return
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if found != wanted:
        path.unlink()
        cause = f"its {kind} is {found}, not {wanted}"
        raise InputError(url, cause=cause, cure="call again: the download has been deleted")


def unzip(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder; raises InputError if an entry points outside the folder."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                link = stat.S_ISLNK(entry.external_attr >> 16)
                if path.is_absolute() or ".." in path.parts or ":" in entry.filename or link:
                    cure = "do not use this archive"
                    raise InputError(archive, value=entry.filename, cause="it points outside the folder", cure=cure)
            folder.mkdir(parents=True)
            for entry in opened.infolist():
                if not entry.filename.startswith("__MACOSX/"):
                    opened.extract(entry, folder)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        archive.unlink()
        cause = f"it is not a complete zip archive ({error})"
        raise InputError(archive, cause=cause, cure="call again to download it again") from error
