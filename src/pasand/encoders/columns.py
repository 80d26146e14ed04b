"""Encodes columns of a catalogue as features of kind vector: `--encode plot=text,poster=image,clip=audio`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.encodings import CATEGORIES, Encoding
from pasand.data.features import Feature, pack_strings, unpack_strings
from pasand.encoders import Encoder, UnreadableInput, reduction, text_categories, vector_cache
from pasand.encoders.audio import AudioOnnx
from pasand.encoders.chroma import Chroma
from pasand.encoders.image import ImageOnnx
from pasand.encoders.sentences import GRAPHS, SentenceOnnx
from pasand.encoders.text import SentenceText, TfidfText
from pasand.encoders.video import VideoOnnx
from pasand.errors import InputError
from pasand.layouts import check
from pasand.types import Vectors

logger = logging.getLogger(__name__)

KINDS = ("text", "tfidf", "image", "audio", "chroma", "video", "vector", *CATEGORIES)
"""Kinds of encoders; "vector" reads vectors that the user has, those of `CATEGORIES` find a category in a text."""
PRETRAINED: dict[str, Callable[..., Encoder]] = {
    "text": SentenceOnnx,
    "image": ImageOnnx,
    "audio": AudioOnnx,
    "chroma": Chroma,
}
SHOWN = 3
"""Faulty inputs that a warning names."""
HOW = "write it as COLUMN=KIND or COLUMN=KIND:FILE, such as plot=text or poster=image:model.onnx"


@dataclass(frozen=True)
class Requested:
    """A column to encode, and how."""

    column: str
    kind: str
    model: str = ""
    """File or folder of a model, or of vectors; "": the default of the kind."""


def parse(texts: Sequence[str]) -> list[Requested]:
    """Return the columns to encode of texts such as "plot=text,poster=image:model.onnx".

    Raises InputError for another text, an unknown kind, and for a column that is encoded twice as one kind.

    >>> parse(["plot=text,poster=image:model.onnx"])
    [Requested(column='plot', kind='text', model=''), Requested(column='poster', kind='image', model='model.onnx')]
    """
    requested: list[Requested] = []
    for text in ",".join(texts).split(","):
        column, equals, how = text.strip().partition("=")
        kind, _, model = how.partition(":")
        if not column or not equals:
            raise InputError("--encode", value=text, cause="it names no column and kind", cure=HOW)
        if kind not in KINDS:
            cure = f"choose one of {', '.join(KINDS)}"
            raise InputError("--encode", value=text, cause=f"there is no kind {kind!r}", cure=cure)
        if any((one.column, one.kind) == (column, kind) for one in requested):
            raise InputError("--encode", value=text, cause="the column is given twice", cure="give it once")
        requested.append(Requested(column, kind, model))
    return requested


def encoder_of(kind: str, model: str, threads: int = 1) -> Encoder:
    """Return a new encoder of a kind, with a model of the user or its default; raises InputError for a wrong one."""
    if kind == "tfidf":
        return TfidfText()
    if kind == "video":
        return VideoOnnx(threads=threads)
    if kind == "text" and model and not any((Path(model) / graph).is_file() for graph in GRAPHS):
        if not Path(model).is_dir():
            raise InputError(
                "model", value=model, cause="there is no such folder", cure="give a sentence model's folder"
            )
        return SentenceText(model=model)
    made = PRETRAINED[kind]
    return made(model=model, threads=threads) if model else made(threads=threads)


def encode(data: Dataset, requested: Sequence[Requested], folder: Path, cache: Path | None = None) -> Dataset:
    """Return the data with a feature of kind vector for each column: "plot_text" for the column "plot" as text.

    Names of files are relative to `folder`. Columns of files are replaced by their vectors, texts stay. Vectors of a
    pretrained encoder are reduced to at most 128 numbers by what the items of the catalogue known at the end of the
    data differ in (`reduction`); nothing is learnt from interactions. An item whose text is empty or whose file cannot
    be read has no vector, with a warning. Raises InputError for a column that is not there, and where no item has a
    vector.
    """
    features, encodings, notes = dict(data.item_features), list(data.encodings), list(data.notes)
    for one in requested:
        feature = data.item_features.get(one.column)
        if one.kind in CATEGORIES:
            _require_text(data, one.column)
            features, note = text_categories.added(features, one.column, one.kind, data.name)
            packed, ends = pack_strings(list(features[one.kind].names))
            state = {"names.bytes": packed, "names.ends": ends}
            is_bag = "bag" if features[one.kind].kind == "bag" else ""
            encodings.append(Encoding(column=one.column, kind=one.kind, model=is_bag, fingerprint="", state=state))
            notes.append(note)
            continue
        if one.kind == "vector":
            if feature is None or feature.is_missing().all():
                cure = "write numbers between blanks or commas, as many in each cell"
                raise InputError("items", column=one.column, cause="no vector can be read", cure=cure)
            continue
        feature = _require_text(data, one.column)
        encoder = encoder_of(one.kind, one.model, threads=0)
        texts = [str(text) for text in feature.values.tolist()]
        known = data.known_items
        encoder.fit([text for text, is_known in zip(texts, known.tolist(), strict=True) if is_known])
        vectors, faults = _vectors(encoder, texts, folder, cache, one)
        _report(data, one, faults, texts, vectors)
        state = {f"encoder.{name}": values for name, values in encoder.state().items()}
        if one.kind != "tfidf":
            state |= reduction.learn(vectors[reduction.given(vectors) & known])
        model = str(Path(one.model).resolve()) if one.model else ""
        fingerprint = encoder.fingerprint()
        encodings.append(Encoding(column=one.column, kind=one.kind, model=model, fingerprint=fingerprint, state=state))
        name = encodings[-1].feature
        features[name] = _feature(vectors, encodings[-1])
        count, width = int((~features[name].is_missing()).sum()), features[name].values.shape[1]
        notes.append(f"items: {name} (vector): {count:,} of {data.n_items:,} encoded, {width} numbers each")
    for one in requested:
        if one.kind not in ("text", "tfidf", "vector", *CATEGORIES):
            features.pop(one.column, None)
    return replace(data, item_features=features, encodings=tuple(encodings), notes=tuple(notes))


def encode_new(
    encodings: Sequence[Encoding], features: Mapping[str, Feature], folder: Path | None = None
) -> dict[str, Feature]:
    """Return the features of new items with the vectors of their encoded columns, by the code that encoded the others.

    Names of files are relative to `folder`, by default to PASAND_MEDIA, and must be inside it. What cannot be encoded
    is missing, with a warning: also where the model is not on this machine, or is another than that of the catalogue.
    """
    out = dict(features)
    for one in encodings:
        column = features.get(one.column)
        if one.kind in CATEGORIES:
            out = out if column is None or column.kind != "text" else _with_category(out, one)
            continue
        if one.feature in features or column is None or column.kind != "text":
            continue
        texts = [str(text) for text in column.values.tolist()]
        try:
            encoder = _loaded(one)
            paths, faults = _inside(texts, folder) if encoder.reads_files else (texts, {})
            vectors = _raw(encoder, paths, faults)
        except InputError as error:
            logger.warning("no %s of %d new items: %s", one.feature, len(texts), error)
            continue
        for at, cause in list(faults.items())[:SHOWN]:
            logger.warning("no %s of a new item, %r: %s", one.feature, texts[at], cause)
        out[one.feature] = _feature(vectors, one)
    for one in encodings:
        if one.kind not in ("text", "tfidf", *CATEGORIES):
            out.pop(one.column, None)
    return out


def _with_category(features: dict[str, Feature], one: Encoding) -> dict[str, Feature]:
    """Return the features of new items with the language or script of their texts, in the names of the catalogue."""
    n = len(features[one.column])
    if one.model == "bag" and one.kind not in features:
        features = {**features, one.kind: Feature(kind="bag", values=np.full((n, 1), -1, np.int32))}
    try:
        names = unpack_strings(one.state["names.bytes"], one.state["names.ends"])
        return text_categories.added(features, one.column, one.kind, "new items", names)[0]
    except InputError as error:
        logger.warning("no %s of %d new items: %s", one.feature, n, error)
        return features


def _require_text(data: Dataset, column: str) -> Feature:
    """Return a feature of kind text; raises InputError where items have none of that name."""
    feature = data.item_features.get(column)
    if feature is None or feature.kind != "text":
        has = ", ".join(data.item_features) or "none"
        cause = f"items have no such column of texts or names of files; they have: {has}"
        raise InputError("--encode", value=column, cause=cause, cure="name a column of the table of items")
    return feature


def _vectors(
    encoder: Encoder, texts: Sequence[str], folder: Path, cache: Path | None, one: Requested
) -> tuple[Vectors, dict[int, str]]:
    """Return the vectors of a column, (n, D), nan where an item has none, and causes by row."""
    filled = [row for row, text in enumerate(texts) if text.strip()]
    inputs = [str(folder / texts[row]) if encoder.reads_files else texts[row] for row in filled]
    faults: dict[int, str] = {}
    found = vector_cache.encode(encoder, inputs, cache, faults=faults, label=f"encoding {one.column}")
    vectors = np.full((len(texts), found.shape[1]), np.nan, np.float32)
    vectors[filled] = found
    return vectors, {filled[at]: cause for at, cause in faults.items()}


def _raw(encoder: Encoder, texts: Sequence[str], faults: dict[int, str]) -> Vectors:
    """Return vectors without the cache, (n, D); what cannot be read is nan, and enters `faults`."""
    rows: dict[int, Vectors] = {}
    width = 0
    for row, text in enumerate(texts):
        if row in faults or not text.strip():
            continue
        try:
            rows[row] = encoder.encode([text])[0]
            width = len(rows[row])
        except UnreadableInput as error:
            faults[row] = str(error)
    vectors = np.full((len(texts), width or encoder.encode([]).shape[1]), np.nan, np.float32)
    for row, vector in rows.items():
        vectors[row] = vector
    return vectors


def _feature(vectors: Vectors, encoding: Encoding) -> Feature:
    """Return vectors as the feature of an encoding."""
    if "axes" in encoding.state:
        return Feature(kind="vector", values=reduction.reduced(vectors, encoding.state))
    missing = ~reduction.given(vectors)
    return Feature(kind="vector", values=np.where(missing[:, None], np.float32(np.nan), vectors))


def _report(data: Dataset, one: Requested, faults: Mapping[int, str], texts: Sequence[str], vectors: Vectors) -> None:
    """Warn of items without a vector; raise InputError where no item has one."""
    examples = [(data.items.ids([row])[0], texts[row], cause) for row, cause in list(faults.items())[:SHOWN]]
    if not reduction.given(vectors).any():
        item, text, cause = examples[0] if examples else ("", "", "all its texts are empty")
        where = f"items, item {item!r}" if item else "items"
        cure = "check the column and the folder that its files are in"
        raise InputError(
            where, column=one.column, value=text or None, cause=f"no item has a vector: {cause}", cure=cure
        )
    for item, text, cause in examples:
        logger.warning("no vector of item %r, column %r, %r: %s", item, one.column, text, cause)
    if len(faults) > SHOWN:
        logger.warning("no vector of %d further items, column %r", len(faults) - SHOWN, one.column)


def _loaded(encoding: Encoding) -> Encoder:
    """Return the encoder of an encoding; raises InputError where it is not on this machine, or is another."""
    if encoding.kind not in KINDS or encoding.kind == "vector":
        raise InputError("encoder", value=encoding.kind, cause="there is no such kind", cure="fit again")
    learnt = {name.removeprefix("encoder."): v for name, v in encoding.state.items() if name.startswith("encoder.")}
    encoder = encoder_of(encoding.kind, "") if encoding.kind == "tfidf" else _pretrained(encoding.kind, encoding.model)
    try:
        encoder.load_state(learnt)
        if "axes" in encoding.state:
            check(encoding.state, reduction.LAYOUT)
    except (ValueError, KeyError) as error:
        cause, cure = f"what it learnt does not fit: {error}", "copy the bundle again or fit again"
        raise InputError("encoder", value=encoding.kind, cause=cause, cure=cure) from error
    if encoder.fingerprint() != encoding.fingerprint:
        cause = "its model is not the one that encoded the catalogue"
        raise InputError("encoder", value=encoding.kind, cause=cause, cure="use that model, or fit again")
    return encoder


@lru_cache(maxsize=8)
def _pretrained(kind: str, model: str) -> Encoder:
    """Return an encoder without learnt arrays, opened once in a process."""
    return encoder_of(kind, model)


def _inside(names: Sequence[str], folder: Path | None) -> tuple[list[str], dict[int, str]]:
    """Return the paths of files inside a folder, and the cause by row of those that are not."""
    base = folder or (Path(os.environ["PASAND_MEDIA"]) if os.environ.get("PASAND_MEDIA") else None)
    paths, faults = [], {}
    for row, name in enumerate(names):
        path = (base / name).resolve() if base else None
        if base is None:
            faults[row] = "the folder of its files is not known: set PASAND_MEDIA"
        elif path is None or not path.is_relative_to(base.resolve()):
            faults[row] = f"it is not inside {base}"
        paths.append(str(path) if name.strip() else "")
    return paths, {row: cause for row, cause in faults.items() if names[row].strip()}
