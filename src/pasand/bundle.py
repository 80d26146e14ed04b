"""Bundles: a fitted recommender as a folder of plain arrays with checksums; loading one runs no code from it.

`manifest.json` lists every other file with its sha256, and file names hold part of that checksum. A save writes new
files beside the old ones and then replaces the manifest in one step. So a reader always sees a complete bundle, the old
one or the new one, even if the save is killed. Of several saves to one folder, one at a time runs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors.numpy import save

from pasand import __version__, mapped, recipe
from pasand.bundle_files import (
    MANIFEST,
    OpenFile,
    check_target,
    file_digest,
    named_by_digest,
    opened_files,
    publish,
    read_manifest,
    remove_incomplete,
    saving,
    sweep,
    temporary_name,
    write_file,
    write_manifest,
)
from pasand.contracts import AddsItems, Model, SavesFile, TowerModel
from pasand.data import encodings
from pasand.data.dataset import Dataset, Order, Values
from pasand.data.features import Feature, Features, pack, unpack
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError, failure_cause
from pasand.progress import track
from pasand.recipe import Assembly
from pasand.types import Array, Arrays, Mask, Rows

logger = logging.getLogger(__name__)

FORMAT = 4
"""Version of the layout, the only one that is read. Version 4 stores bags of codes as offsets."""
PACKAGES = ("numpy", "scipy", "numba", "polars", "safetensors")
"""Packages whose versions the manifest records."""
FEATURE_ARRAYS: dict[str, type[np.generic] | None] = {
    "categorical": np.int32,
    "bag": None,
    "number": np.float32,
    "text": None,
    "vector": np.float32,
    "time": np.int64,
}
"""Types of the arrays of features by kind; None: not one array, but texts or bags."""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the recommender, and the dataset it was fitted to (ids, histories, features)."""

    assembly: Assembly
    data: Dataset
    manifest: dict[str, Any]

    @property
    def digest(self) -> str:
        """sha256 of the saved files, hexadecimal; equal for bundles of equal files."""
        return hashlib.sha256(json.dumps(self.manifest["files"], sort_keys=True).encode()).hexdigest()

    def counter(self, name: str) -> int:
        """Return a number that the manifest records, such as `state_upto`, 0 if it does not.

        Raises InputError if it is not a whole number from 0.
        """
        value = self.manifest.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            cure = "restore the file, or write the bundle again"
            raise InputError(MANIFEST, column=name, value=value, cause="not a whole number from 0", cure=cure)
        return value

    def add_items(self, ids: Sequence[str], features: Features, *, files: Path | None = None) -> Bundle:
        """Return the bundle with items appended to its catalogue; models that accept new items recommend them at once.

        `features` have the names of the dataset's item features and one row per id; categories may be in an order of
        their own. Names and categories that the dataset does not have are ignored, with a warning. Another warning
        counts the items that no model can score. Texts and names of files in columns that the dataset encoded get
        vectors from the same encoders (`pasand.encoders.columns`); `files` is the folder of the files. Components are
        not copied: they are changed in place, so use only the returned bundle from here on.

        Raises InputError, before anything changes, for an id that is in the catalogue already or is given twice, and
        for a feature whose kind, width or number of rows does not fit.
        """
        encoded: dict[str, Feature] = {}
        if self.data.encodings:
            from pasand.encoders.columns import encode_new  # slow to import

            features = encode_new(self.data.encodings, features, files)
        unknown = [name for name in features if name not in self.data.item_features]
        if unknown:
            logger.warning("ignored: the dataset has no item features of these names: %s", ", ".join(unknown))
        for name, known in self.data.item_features.items():
            if name in features:
                try:
                    encoded[name], unseen = features[name].coded_as(known)
                except ValueError as error:
                    cure = "give it as in the data that were fitted"
                    raise InputError("new items", column=name, cause=str(error), cure=cure) from None
                if unseen:
                    message = "ignored: the dataset has no such values of %s: %s"
                    logger.warning(message, name, ", ".join(unseen))
            else:
                encoded[name] = replace(known, values=known.values[:0]).extended(None, len(ids))
            if len(encoded[name]) != len(ids):
                cause = f"{len(encoded[name])} values for {len(ids)} items"
                raise InputError("new items", column=name, cause=cause, cure="give a value for each item")
        try:
            data = self.data.with_items(ids, encoded)
        except ValueError as error:
            cause, cure = f"{error}: it is in the catalogue already, or is given twice", "give each new item once"
            raise InputError("new items", cause=cause, cure=cure) from None
        rows = np.arange(self.data.n_items, data.n_items, dtype=np.int32)
        self.assembly.add_items(encoded, rows)
        n_unscored = len(rows) - int(self._scored(rows).sum())
        if n_unscored:
            message = "no model can score %d of %d new items, so they will not be recommended"
            logger.warning(message, n_unscored, len(rows))
        return replace(self, data=data)

    def _scored(self, rows: Rows) -> Mask:
        """Return which of the added items at least one model can score, (n,)."""
        scored = np.zeros(len(rows), np.bool_)
        n_items = int(rows[-1]) + 1 if len(rows) else 0
        no_queries = self.data.queries(np.empty(0, np.int32), k=1)
        for part in self.assembly.components.values():
            if isinstance(part, AddsItems) and isinstance(part, TowerModel):
                scored |= part.embed_items(rows).any(axis=-1)
            elif isinstance(part, AddsItems) and isinstance(part, Model):
                scored |= part.score(no_queries, None).shape[1] >= n_items
        return scored


def write(
    path: str | Path, assembly: Assembly, data: Dataset, *, seed: int, about: Mapping[str, Any] | None = None
) -> None:
    """Save a fitted recommender as a bundle; an older bundle at `path` stays complete until the new one is.

    `about` holds further entries for the manifest, such as the last event of a state store that the data include.

    Raises InputError if the folder holds something else or cannot be written (a full disk), and leaves it as it was.
    """
    folder = Path(path)
    check_target(folder)
    contents = _contents(assembly, data)
    try:
        with saving(folder):
            _save(folder, contents, assembly, data, {"seed": seed, **(about or {})})
    except OSError as error:
        cause = f"cannot be written: {error.strerror or error}"
        raise InputError(folder, cause=cause, cure="free some space or name another folder") from None


def _save(
    folder: Path, contents: Mapping[str, bytes], assembly: Assembly, data: Dataset, about: Mapping[str, Any]
) -> None:
    """Write the files and the manifest, then remove the files of older saves; the folder is locked."""
    files: dict[str, dict[str, str]] = {}
    written: list[Path] = []

    def enter(name: str, digest: str) -> Path | None:
        """Enter a file into the manifest and return its path; None if it is there already."""
        file = named_by_digest(folder, name, digest)
        files[name] = {"file": file.name, "sha256": digest}
        if _has_digest(file, digest):
            return None
        written.append(file)
        return file

    try:
        for name, content in track(contents.items(), "saving", len(contents)):
            file = enter(name, hashlib.sha256(content).hexdigest())
            if file is not None:
                write_file(file, content)
        for name, part in assembly.stored.items():
            temporary = temporary_name(folder / f"{name}.index")
            try:
                part.save(temporary)
                file = enter(f"{name}.index", file_digest(temporary))
                if file is not None:
                    publish(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)
        manifest = {
            "format": FORMAT,
            "pasand": __version__,
            "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
            "data": {"name": data.name, "fingerprint": data.fingerprint, "events": len(data)},
            "recipe": assembly.digest,
            "files": files,
            **about,
        }
        write_manifest(folder, manifest)
    except BaseException:
        remove_incomplete(folder, written)
        raise
    sweep(folder, {entry["file"] for entry in files.values()})


def _has_digest(file: Path, digest: str) -> bool:
    """Return whether there is a regular file with this sha256."""
    try:
        return file_digest(file) == digest
    except OSError:
        return False


def read(path: str | Path) -> Bundle:
    """Load a bundle. Its arrays are mapped into memory from the files, which may be replaced or removed afterwards.

    Raises InputError if the folder is not a bundle, is of another format, is incomplete or changed in any byte, if its
    recipe names a class outside pasand, and for whatever else keeps its content from being read.
    """
    folder = Path(path)
    _check_format(folder, read_manifest(folder)["format"])
    try:
        with opened_files(folder) as (manifest, files):
            _check_format(folder, manifest["format"])
            return Bundle(*_loaded(folder, manifest, files), manifest)
    except InputError:
        raise
    except Exception as error:  # whatever a foreign file makes the code fail with
        cause = f"cannot be read ({failure_cause(error)})"
        raise InputError(folder, cause=cause, cure="copy it again or fit again") from error


def _check_format(folder: Path, version: object) -> None:
    """Raise InputError for a bundle of another format, with the command that rebuilds it as the cure."""
    if version == FORMAT:
        return
    cure = f"rebuild it: pasand fit LOG --recipe RECIPE --out {folder}"
    if isinstance(version, int) and version > FORMAT:
        cure += f"; or use a release of pasand that reads format {version}"
    cause = f"a bundle of format {version}, and this release of pasand reads format {FORMAT} only"
    raise InputError(folder, cause=cause, cure=cure)


def _loaded(folder: Path, manifest: dict[str, Any], files: Mapping[str, Future[OpenFile]]) -> tuple[Assembly, Dataset]:
    """Return the content of the files; each file is read only after it is verified."""

    def verified(name: str) -> OpenFile:
        if name not in files:
            raise InputError(folder, cause=f"the manifest lists no {name}", cure="fit again")
        return files[name].result()

    assembly = recipe.build(str(verified("recipe.toml").read(), "utf-8"), where=f"{folder}, recipe")
    if assembly.digest != manifest["recipe"]:
        raise InputError(folder, cause="recipe and manifest do not belong together", cure="fit again")
    about = json.loads(verified("data.json").read())
    data = verified("data.safetensors").using(lambda file: _dataset(mapped.arrays(file), about))
    for name, part in assembly.fitted.items():
        try:
            part.load_state(_without_placeholder(verified(f"{name}.safetensors").using(mapped.arrays)))
        except KeyError as error:
            raise InputError(folder, cause=f"the state of [{name}] lacks {error}", cure="fit again") from None
        except ValueError as error:
            cause = str(error) if isinstance(error, InputError) else f"the state of [{name}] does not fit: {error}"
            raise InputError(folder, cause=cause, cure="copy it again or fit again") from None
    for name, model in assembly.exported.items():
        graphs = {graph: verified(file).read() for graph, file in _graph_files(name, files)}
        if graphs:
            model.use(graphs)
    for name, stored in assembly.stored.items():
        verified(f"{name}.index").using(partial(_load, stored))
    _check_catalogue(folder, assembly, data)
    return assembly, data


def _check_catalogue(folder: Path, assembly: Assembly, data: Dataset) -> None:
    """Raise InputError for a model or an index of more items than the catalogue; they may have fewer."""
    no_queries = data.queries(np.empty(0, np.int32), k=1)
    for name, part in assembly.components.items():
        sizes = {"items": part.score(no_queries, None).shape[1] if isinstance(part, Model) else 0}
        sizes["rows"] = getattr(part, "n_rows", 0)
        for what, size in sizes.items():
            if size > data.n_items:
                cause = f"[{name}] has {size} {what}, and the catalogue has {data.n_items} items"
                raise InputError(folder, cause=cause, cure="copy it again or fit again")


def _load(stored: SavesFile, file: Path) -> None:
    stored.load(file)


def _contents(assembly: Assembly, data: Dataset) -> dict[str, bytes]:
    """Return the files of a bundle by name, without the files that components write themselves."""
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
    if data.encodings:
        packed, about["encodings"] = encodings.pack(data.encodings)
        arrays |= {f"encodings.{name}": values for name, values in packed.items()}
    contents = {
        "recipe.toml": assembly.text.encode(),
        "data.json": json.dumps(about, ensure_ascii=False).encode(),
        "data.safetensors": _safetensors(arrays),
    }
    contents |= {f"{name}.safetensors": _safetensors(part.state()) for name, part in assembly.fitted.items()}
    for name, model in assembly.exported.items():
        contents |= {f"{name}.{graph}.onnx": content for graph, content in model.export().items()}
    return contents


def _dataset(arrays: dict[str, Array], about: dict[str, Any]) -> Dataset:
    """Return the dataset of the arrays and of the content of data.json."""

    def under(prefix: str) -> dict[str, Array]:
        return {name[len(prefix) :]: values for name, values in arrays.items() if name.startswith(prefix)}

    data = Dataset(
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
        encodings=encodings.unpack(under("encodings."), about.get("encodings", [])),
    )
    _check_data(data)
    return data


def _check_data(data: Dataset) -> None:
    """Raise ValueError for events of no user or item of the vocabularies, and for features of other shapes or codes."""
    mapped.check("user", data.user, np.int32, (None,), lowest=0, below=data.n_users)
    mapped.check("item", data.item, np.int32, (len(data),), lowest=0, below=data.n_items)
    mapped.check("time", data.time, np.int64, (len(data),))
    if (np.diff(data.time) < 0).any():
        raise ValueError("time must not fall")
    if data.value is not None:
        mapped.check("value", data.value, np.float32, (len(data),))
    if data.values not in get_args(Values) or data.order not in get_args(Order):
        raise ValueError(f"no such meaning of values or of order: {data.values!r}, {data.order!r}")
    for n, features in ((data.n_users, data.user_features), (data.n_items, data.item_features)):
        for name, feature in features.items():
            if len(feature) != n or feature.kind not in FEATURE_ARRAYS:
                raise ValueError(f"the feature {name!r} is {feature.kind!r} with {len(feature)} values for {n} rows")
            kind = FEATURE_ARRAYS[feature.kind]
            if kind is not None:
                low, names = (-1, len(feature.names)) if feature.kind == "categorical" else (None, None)
                shape = (n, None) if feature.kind == "vector" else (n,)
                mapped.check(name, feature.values, kind, shape, lowest=low, below=names)
            elif feature.kind == "bag":
                mapped.check(name, feature.bags.codes, np.int32, (None,), lowest=0, below=len(feature.names))


def _safetensors(arrays: Arrays) -> bytes:
    """Return arrays as a safetensors file; an empty set gets a placeholder, since the format needs an array."""
    plain = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    content: bytes = save(plain or {"": np.zeros(0, np.uint8)})
    return content


def _without_placeholder(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: values for name, values in arrays.items() if name}


def _graph_files(component: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each graph of a component and the name of its file, out of the names of all files."""
    for name in names:
        graph = name.removeprefix(f"{component}.").removesuffix(".onnx")
        if name == f"{component}.{graph}.onnx":
            yield graph, name
