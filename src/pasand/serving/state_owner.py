"""The bundle that a service's folder belongs to: recorded in a file of it; bundles are checked against it."""

from __future__ import annotations

import json
import logging
import secrets
from pathlib import Path
from shlex import quote

import msgspec
import numpy as np

from pasand import bundle as bundles
from pasand.bundle_files import read_manifest
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.serving.private_files import make_private_file

logger = logging.getLogger(__name__)

NAME = "belongs-to.json"
"""Name of the file in the service's folder."""
SAMPLE = 200
"""Ids of the catalogue that the file holds at most."""
SHARED = 0.5
"""Share of them that a bundle must know to be one of the same service."""
OLDER_FOLDER = "pasand-state"
"""The default folder of earlier versions, in the working directory."""


class Owner(msgspec.Struct):
    """Which bundle a folder belongs to."""

    bundle: str
    """Folder of the bundle that the service was started with."""
    data: str
    """Name of the data set."""
    manifest: str
    """Checksum of the bundle's manifest."""
    items: list[str]
    """Ids of its catalogue, spread evenly."""


def folder_of(bundle: Path) -> Path:
    """Return the default folder of the state of a bundle, beside it.

    >>> folder_of(Path("bundles/films")).name
    'films-state'
    """
    path = bundle.absolute()
    return path.with_name(f"{path.name}-state")


def check(folder: Path, bundle: Path, data: Dataset | None = None) -> None:
    """Raise InputError if a service's folder belongs to a bundle with another catalogue; record it otherwise.

    A folder without the file belongs to no bundle yet. A bundle with the manifest that was recorded needs no look at
    its catalogue, which is `data`, or else read from the bundle. A folder that cannot be written is not recorded.
    """
    file, own = folder / NAME, str(read_manifest(bundle).get("checksum", ""))
    owner = _read(file)
    if owner is not None and own and owner.manifest == own and owner.bundle == str(bundle.absolute()):
        return
    data = bundles.read(bundle).data if data is None else data
    own_folder = folder_of(bundle)
    cure = "use a new one: --folder NAME"
    cure = cure if folder.absolute() == own_folder else f"leave --folder out, to use {own_folder}"
    _refuse_another(owner, file, bundle, data, cure)
    rows = np.unique(np.linspace(0, data.n_items - 1, min(SAMPLE, data.n_items)).astype(np.int64))
    _write(file, Owner(str(bundle.absolute()), data.name, own, data.items.ids(rows)))


def check_further(folder: Path, bundle: Path, data: Dataset) -> None:
    """Raise InputError if a bundle beside or after the first one, with this data, has another catalogue than that.

    Nothing is recorded: the folder still belongs to the bundle that the service is started with.
    """
    file = folder / NAME
    cure = f"serve it with a state of its own: pasand serve {quote(str(bundle))}"
    _refuse_another(_read(file), file, bundle, data, cure)


def _refuse_another(owner: Owner | None, file: Path, bundle: Path, data: Dataset, cure: str) -> None:
    if owner is None or not owner.items:
        return
    known = float(np.mean(data.items.rows(owner.items) >= 0))
    if known < SHARED:
        cause = (
            f"it belongs to {owner.bundle} (data set {owner.data}), and {bundle} (data set {data.name}) knows "
            f"{known:.0%} of its items"
        )
        cure = f"{cure}; or, if it is the same service with other ids: rm {quote(str(file))}"
        raise InputError(file.parent, cause=cause, cure=cure)


def _read(file: Path) -> Owner | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Owner)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(file, cause=f"cannot be read: {error}", cure=f"rm {quote(str(file))}") from None


def _write(file: Path, owner: Owner) -> None:
    part = file.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        make_private_file(part)
        part.write_text(json.dumps(msgspec.to_builtins(owner)), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        logger.warning("it is not recorded which bundle %s belongs to: %s", file.parent, error)
    finally:
        part.unlink(missing_ok=True)


def of_earlier_version(folder: Path) -> str:
    """Return the line that a user of an earlier version needs, whose state is not read by default; "" without one."""
    older = Path(OLDER_FOLDER)
    if folder.exists() or not (older / "state.sqlite").exists():
        return ""
    return f"state is beside its bundle now, in {folder}; to go on with {older.absolute()}: --folder {OLDER_FOLDER}"
