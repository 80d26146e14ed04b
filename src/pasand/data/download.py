"""Fetches published data sets: with progress, resumed where a transfer broke, checked, unpacked safely."""

from __future__ import annotations

import hashlib
import http.client
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
from pasand.sources import folder_of_data

PIECE = 1 << 18
GROUPLENS = "https://files.grouplens.org/datasets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a data set is published."""

    url: str
    checksum: str = ""
    """"md5:..." or "sha256:..."; empty: the publisher's file URL + ".md5" is asked."""
    terms: str = "for research only; read the README that comes with it"


SETS = {
    **{
        name: Published(url=f"{GROUPLENS}movielens/{name}.zip")
        for name in ("ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small")
    },
    "hetrec2011-lastfm-2k": Published(url=f"{GROUPLENS}hetrec2011/hetrec2011-lastfm-2k.zip"),
}
"""The data sets that `get` knows, by name."""


def get(
    name: str,
    folder: Path | None = None,
    *,
    url: str | None = None,
    published: Published | None = None,
    attempts: int = 5,
    wait: float = 1.0,
) -> Path:
    """Return the folder of a data set, `folder/name`, fetching it where it is absent.

    `folder` is by default where `load` looks for names; `url` names a mirror of the archive, whose own checksum file
    is then asked.

    A transfer that breaks is resumed, `attempts` times, `wait` seconds after the first and twice as long after each
    further one; what was fetched stays for the next call. Raises InputError where the name is unknown, the server
    cannot be reached or the checksum is wrong.
    """
    published = Published(url=url) if url else published or SETS.get(name)
    folder = folder or folder_of_data()
    if published is None:
        raise InputError(name, cause="no data set of this name is known", cure=f"choose one of {', '.join(SETS)}")
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
        _fetch(name, published.url, part, attempts, wait)
        _verify(part, published.checksum or _checksum_of(published.url), published.url)
        part.rename(archive)
    unpacked = folder / f".{name}.unpacking"
    shutil.rmtree(unpacked, ignore_errors=True)
    unzip(archive, unpacked)
    inside = list(unpacked.iterdir())
    # most archives hold one folder with everything in it
    (inside[0] if len(inside) == 1 and inside[0].is_dir() else unpacked).rename(target)
    shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    return target


def _fetch(name: str, url: str, part: Path, attempts: int, wait: float) -> None:
    """Bring a file to `part`, going on from what is there."""
    fault: Exception | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(wait * 2 ** (attempt - 1))
        try:
            return _transfer(name, url, part)
        except urllib.error.HTTPError as error:
            if error.code == 416:
                # nothing is left to send: the part is whole, or wrong, which the checksum tells
                return
            if error.code < 500:
                cure = "fetch it by hand and unpack it, then name its folder"
                raise InputError(url, cause=f"the server says {error.code} {error.reason}", cure=cure) from error
            fault = error
        except (OSError, http.client.HTTPException) as error:
            fault = error
    cure = "check the network and call again: what was fetched is kept; or name a folder that you have"
    raise InputError(url, cause=f"the transfer failed {attempts} times: {fault}", cure=cure) from fault


def _transfer(name: str, url: str, part: Path) -> None:
    """Ask once for what is missing, and append it."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        if have and answer.status != 206:
            have = 0  # the server knows no ranges and sends all of it
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
                have += len(piece)
                step(f"fetching {name}", have, total)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _checksum_of(url: str) -> str:
    """Return the publisher's checksum, "" where none can be had."""
    try:
        with urllib.request.urlopen(f"{url}.md5", timeout=60) as answer:
            words = answer.read(4096).decode("ascii", "replace").replace("=", " ").split()
    except (OSError, http.client.HTTPException):
        return ""
    found = next((word.lower() for word in words if len(word) == 32 and not word.strip("0123456789abcdefABCDEF")), "")
    return f"md5:{found}" if found else ""


def _verify(path: Path, checksum: str, url: str) -> None:
    """Raise InputError, and let go of the file, where its checksum is another."""
    if not checksum:
        return
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if found != wanted:
        path.unlink()
        cause = f"its {kind} is {found}, not {wanted}"
        raise InputError(url, cause=cause, cure="call again: what was fetched has been deleted")


def unzip(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder; raises InputError if anything in it points out of the folder."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                place = PurePosixPath(entry.filename.replace("\\", "/"))
                link = stat.S_ISLNK(entry.external_attr >> 16)
                if place.is_absolute() or ".." in place.parts or ":" in entry.filename or link:
                    cure = "do not use this archive"
                    raise InputError(archive, value=entry.filename, cause="it points out of the folder", cure=cure)
            folder.mkdir(parents=True)
            for entry in opened.infolist():
                if not entry.filename.startswith("__MACOSX/"):
                    opened.extract(entry, folder)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        archive.unlink()
        raise InputError(
            archive, cause=f"no whole zip archive ({error})", cure="call again to fetch it anew"
        ) from error
