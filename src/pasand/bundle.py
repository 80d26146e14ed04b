"""Bundles: a fitted recommender as a folder of plain arrays, checksummed; loading one runs no code from it.

`manifest.json` names every other file together with its sha256, and the files' names hold part of that sum. So a save
writes new files beside the old ones and then replaces the manifest in one step: a reader, or a save that was killed,
finds the old bundle or the new one, whole.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from pasand import __version__, mapped, recipe
from pasand.contracts import AddsItems, TowerModel
from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features, pack, unpack
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.progress import track
from pasand.recipe import Assembly
from pasand.types import Array, Arrays, Mask, Rows

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the layout that is written; 2 added graphs, indexes, and items in another order than that of their ids."""
READS = (1, 2)
"""Versions that are read; another one is refused."""
MANIFEST = "manifest.json"
READERS = 4
"""Threads that prove files at most; one reads and sums a gigabyte and a half a second."""
PACKAGES = ("numpy", "scipy", "numba", "polars", "safetensors")


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the recommender, and the data it was fitted on (ids, histories, features)."""

    assembly: Assembly
    data: Dataset
    manifest: dict[str, Any]

    @property
    def digest(self) -> str:
        """sha256 of what was saved, hexadecimal: equal for bundles of equal files."""
        return hashlib.sha256(json.dumps(self.manifest["files"], sort_keys=True).encode()).hexdigest()

    def add_items(self, ids: Sequence[str], features: Features) -> Bundle:
        """Return the bundle with items appended to its catalogue; what can be known of them is recommended at once.

        `features` are named as the data's item features and hold a row for each id, with categories by names of their
        own; a name that the data do not have counts as not known. Warnings say so, and how many items no model knows.
        The components are not copied: they take the items in, so go on with the returned bundle alone. Raises
        InputError for an id that is there already or comes twice, and for a feature of another kind or width than the
        data's, before anything changes.
        """
        coded: dict[str, Feature] = {}
        strange = [name for name in features if name not in self.data.item_features]
        if strange:
            logger.warning("left out, since the data have no such item features: %s", ", ".join(strange))
        for name, known in self.data.item_features.items():
            if name in features:
                try:
                    coded[name], unseen = features[name].coded_as(known)
                except ValueError as error:
                    cure = "give it as in the data that were fitted"
                    raise InputError("new items", column=name, cause=str(error), cure=cure) from None
                if unseen:
                    told = "not known of the new items, since the data have no such %s: %s"
                    logger.warning(told, name, ", ".join(unseen))
            else:
                coded[name] = replace(known, values=known.values[:0]).extended(None, len(ids))
            if len(coded[name]) != len(ids):
                cause = f"{len(coded[name])} values for {len(ids)} items"
                raise InputError("new items", column=name, cause=cause, cure="give a value for each item")
        try:
            data = self.data.with_items(ids, coded)
        except ValueError as error:
            cause, cure = f"{error}: it is in the catalogue already, or comes twice", "give each new item once"
            raise InputError("new items", cause=cause, cure=cure) from None
        rows = np.arange(self.data.n_items, data.n_items, dtype=np.int32)
        self.assembly.add_items(coded, rows)
        silent = len(rows) - int(self._known(rows).sum())
        if silent:
            told = "no model has a vector for %d of %d new items, so they will not be recommended"
            logger.warning(told, silent, len(rows))
        return replace(self, data=data)

    def _known(self, rows: Rows) -> Mask:
        """Return which items that were added a model has taken in; (n,)."""
        known = np.zeros(len(rows), np.bool_)
        for part in self.assembly.components.values():
            if isinstance(part, AddsItems):
                known |= part.embed_items(rows).any(axis=-1) if isinstance(part, TowerModel) else True
        return known


def write(
    path: str | Path, assembly: Assembly, data: Dataset, *, seed: int, about: Mapping[str, Any] | None = None
) -> None:
    """Save a fitted recommender; an older bundle at `path` stays whole until the new one is.

    `about` is further knowledge for the manifest, such as up to which event of a state store the data go.

    Raises InputError where the folder holds something else or cannot be written (a full disk), leaving it as it was.
    """
    folder = Path(path)
    check_place(folder)
    contents = _contents(assembly, data)
    files: dict[str, dict[str, str]] = {}
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in track(contents.items(), "saving", len(contents)):
            digest = hashlib.sha256(content).hexdigest()
            file = _named(folder, name, digest)
            files[name] = {"file": file.name, "sha256": digest}
            if not file.exists() or _digest(file) != digest:
                written.append(file)
                _write(file, content)
        for name, part in assembly.stored.items():
            temporary = folder / f"{name}.index.part"
            try:
                part.save(temporary)
                digest = _digest(temporary)
                file = _named(folder, f"{name}.index", digest)
                files[f"{name}.index"] = {"file": file.name, "sha256": digest}
                if not file.exists() or _digest(file) != digest:
                    written.append(file)
                    _publish(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)
        manifest = {
            "format": FORMAT,
            "pasand": __version__,
            "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
            "data": {"name": data.name, "fingerprint": data.fingerprint, "events": len(data)},
            "recipe": assembly.digest,
            "seed": seed,
            "files": files,
            **(about or {}),
        }
        _write(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    except BaseException as error:
        _undo(folder, written)
        if not isinstance(error, OSError):
            raise
        cause = f"cannot be written: {error.strerror or error}"
        raise InputError(folder, cause=cause, cure="make room or name another place") from None
    _sweep(folder, {entry["file"] for entry in files.values()})


def check_place(path: str | Path) -> None:
    """Raise InputError where a bundle may not be written because something else is there."""
    folder = Path(path)
    if folder.exists() and not (folder / MANIFEST).exists() and not (folder.is_dir() and all(_ours(folder))):
        raise InputError(folder, cause="exists and is not a bundle", cure="name a new folder")


def read(path: str | Path) -> Bundle:
    """Load a bundle, whose arrays stay in its files and are mapped into memory; those files may be replaced or removed.

    Raises InputError, naming the reason, where the folder is no bundle, of another format, incomplete or changed in
    any byte, or where its recipe names a class outside pasand.
    """
    folder = Path(path)
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        version, files = manifest["format"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        cure = "give a folder that `pasand fit` wrote"
        raise InputError(folder, cause=f"not a bundle ({MANIFEST}: {error})", cure=cure) from None
    if version not in READS:
        cure = f"fit again, or use a release of pasand that reads format {version}"
        reads = " and ".join(map(str, READS))
        raise InputError(folder, cause=f"bundle of format {version}, this release reads {reads}", cure=cure)
    with _proofs(folder, files) as proofs:
        return Bundle(*_loaded(folder, manifest, proofs), manifest)


def _loaded(folder: Path, manifest: dict[str, Any], proofs: Mapping[str, Future[Path]]) -> tuple[Assembly, Dataset]:
    """Return what the files hold; none is looked into before it is proven."""

    def checked(name: str) -> Path:
        if name not in proofs:
            raise InputError(folder, cause=f"the manifest names no {name}", cure="fit again")
        return proofs[name].result()

    assembly = recipe.build(checked("recipe.toml").read_text(encoding="utf-8"), where=f"{folder}, recipe")
    if assembly.digest != manifest["recipe"]:
        raise InputError(folder, cause="recipe and manifest do not belong together", cure="fit again")
    about = json.loads(checked("data.json").read_text(encoding="utf-8"))
    data = _data(mapped.arrays(checked("data.safetensors")), about)
    for name, part in assembly.fitted.items():
        try:
            part.load_state(_state(mapped.arrays(checked(f"{name}.safetensors"))))
        except KeyError as error:
            raise InputError(folder, cause=f"the state of [{name}] lacks {error}", cure="fit again") from None
    for name, model in assembly.exported.items():
        graphs = {found: checked(file).read_bytes() for found, file in _graphs(name, proofs)}
        if graphs:
            model.use(graphs)
    for name, stored in assembly.stored.items():
        stored.load(checked(f"{name}.index"))
    return assembly, data


def _contents(assembly: Assembly, data: Dataset) -> dict[str, bytes]:
    arrays: dict[str, Array] = {"user": data.user, "item": data.item, "time": data.time}
    if data.value is not None:
        arrays["value"] = data.value
    for side, vocabulary in (("users", data.users), ("items", data.items)):
        arrays |= {f"{side}.{name}": values for name, values in vocabulary.pack().items()}
    arrays |= {f"columns.{name}": column for name, column in data.columns.items()}
    about: dict[str, Any] = {
        "name": data.name,
        "values": data.values,
        "order": data.order,
        "positive_from": None if np.isneginf(data.positive_from) else float(data.positive_from),
        "notes": list(data.notes),
    }
    for side, features in (("user_features", data.user_features), ("item_features", data.item_features)):
        packed, about[side] = pack(features)
        arrays |= {f"{side}.{name}": values for name, values in packed.items()}
    contents = {
        "recipe.toml": assembly.text.encode(),
        "data.json": json.dumps(about, ensure_ascii=False).encode(),
        "data.safetensors": _tensors(arrays),
    }
    contents |= {f"{name}.safetensors": _tensors(part.state()) for name, part in assembly.fitted.items()}
    for name, model in assembly.exported.items():
        contents |= {f"{name}.{found}.onnx": graph for found, graph in model.export().items()}
    return contents


def _data(arrays: dict[str, Array], about: dict[str, Any]) -> Dataset:
    def under(prefix: str) -> dict[str, Array]:
        return {name[len(prefix) :]: values for name, values in arrays.items() if name.startswith(prefix)}

    return Dataset(
        name=about["name"],
        users=Vocabulary.unpack(under("users.")),
        items=Vocabulary.unpack(under("items.")),
        user=arrays["user"],
        item=arrays["item"],
        time=arrays["time"],
        value=arrays.get("value"),
        values=about["values"],
        order=about["order"],
        positive_from=-np.inf if about["positive_from"] is None else about["positive_from"],
        user_features=unpack(under("user_features."), about["user_features"]),
        item_features=unpack(under("item_features."), about["item_features"]),
        columns=under("columns."),
        notes=tuple(about["notes"]),
    )


def _tensors(arrays: Arrays) -> bytes:
    """Return arrays as one safetensors file; an empty set needs a stand-in, since the format knows none."""
    plain = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    content: bytes = save(plain or {"": np.zeros(0, np.uint8)})
    return content


def _state(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: values for name, values in arrays.items() if name}


def _graphs(component: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the graphs of a component among the names of files: its name, and that of the file."""
    for name in names:
        graph = name.removeprefix(f"{component}.").removesuffix(".onnx")
        if name == f"{component}.{graph}.onnx":
            yield graph, name


def _named(folder: Path, name: str, digest: str) -> Path:
    stem, _, suffix = name.rpartition(".")
    return folder / f"{stem}-{digest[:12]}.{suffix}"


def _write(file: Path, content: bytes) -> None:
    """Write under a temporary name, then publish."""
    part = file.with_name(file.name + ".part")
    try:
        part.write_bytes(content)
        _publish(part, file)
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, file: Path) -> None:
    """Push a file to the disk, then give it its name."""
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(file)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _proofs(folder: Path, files: Mapping[str, dict[str, str]]) -> Iterator[dict[str, Future[Path]]]:
    """Give for each file of the manifest a promise of its path, kept once `_checked` holds; in the end all of them do.

    Files are read on threads of their own, so that where there are cores for them the rest of the work goes on.
    """
    with ThreadPoolExecutor(min(READERS, _cores())) as threads:
        proofs = {name: threads.submit(_checked, folder, entry) for name, entry in files.items()}
        try:
            yield proofs
            for proof in proofs.values():
                proof.result()
        finally:
            threads.shutdown(cancel_futures=True)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(folder: Path, entry: dict[str, str]) -> Path:
    """Return the path of a file of the manifest once its bytes are proven to be the saved ones."""
    file = folder / entry["file"]
    if file.name != entry["file"]:
        raise InputError(folder, value=entry["file"], cause="a bundle's files lie in its own folder", cure="fit again")
    try:
        found = _digest(file)
    except OSError as error:
        raise InputError(folder, cause=f"file missing or unreadable ({error})", cure="copy the whole folder") from None
    if found != entry["sha256"]:
        raise InputError(file, cause="changed since it was saved (sha256 differs)", cure="copy it again or fit again")
    return file


def _undo(folder: Path, written: list[Path]) -> None:
    """Remove what a save that failed wrote, unless it came as far as the manifest; and the folder, if it is empty."""
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


def _ours(folder: Path) -> Iterator[bool]:
    """Yield for each file of a folder whether its name is one that saves give."""
    for file in folder.iterdir():
        yield file.name.endswith(".part") or (
            file.stem[-13:-12] == "-" and file.suffix in {".toml", ".json", ".safetensors", ".onnx", ".index"}
        )


def _sweep(folder: Path, keep: set[str]) -> None:
    """Remove what an older save left behind; only names that saves give."""
    for file, ours in zip(list(folder.iterdir()), list(_ours(folder)), strict=True):
        if ours and file.name not in keep:
            file.unlink(missing_ok=True)
