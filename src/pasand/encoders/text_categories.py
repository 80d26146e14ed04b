"""Languages and scripts of texts as a categorical feature of items: `--encode title=language,plot=script`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pasand.data.features import Feature
from pasand.data.scripts import script
from pasand.encoders.languages import languages
from pasand.errors import InputError

ENGLISH = {
    "as": "Assamese",
    "bn": "Bengali",
    "gu": "Gujarati",
    "hi": "Hindi",
    "ja": "Japanese",
    "kn": "Kannada",
    "ko": "Korean",
    "ml": "Malayalam",
    "mr": "Marathi",
    "ne": "Nepali",
    "or": "Odia",
    "pa": "Punjabi",
    "ru": "Russian",
    "si": "Sinhala",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "ur": "Urdu",
    "zh": "Chinese",
}
"""English names by code: where the items' own column has such a name, it is used for the language of a text."""


def _scripts(texts: Sequence[str]) -> list[str]:
    return [script(text) for text in texts]


FOUND: dict[str, Callable[[Sequence[str]], list[str]]] = {"language": languages, "script": _scripts}
"""What finds the category of each text, "" where there is none, by the name of the feature."""


def added(
    features: Mapping[str, Feature], column: str, kind: str, where: str, names: Sequence[str] = ()
) -> tuple[dict[str, Feature], str]:
    """Return the features with the language or script of a column of texts, and a note on how many were found.

    A feature of that name which the items have keeps its values: only missing ones are filled. The language of a text
    is a code of two letters, such as "ta", or a name such as "Tamil" if `names`, or the names of that feature, have it;
    a text in Latin letters has none (`pasand.encoders.languages`). Raises InputError where the feature is there and
    not of categories, and where a language identifier is needed and not installed.
    """
    texts = [str(text) for text in features[column].values.tolist()]
    old = features.get(kind)
    if old is None:
        old = Feature(kind="categorical", values=np.full(len(texts), -1, np.int32))
    if old.kind not in ("categorical", "bag"):
        cure = f"rename the column {kind} of the items, or leave {column}={kind} out of --encode"
        raise InputError(where, column=kind, cause=f"items have it already, as {old.kind}", cure=cure)
    rows = np.flatnonzero(old.is_missing())
    known = list(dict.fromkeys([*old.names, *names]))
    spelt = {name.casefold(): name for name in known}
    found = [_spelling(one, spelt) for one in FOUND[kind]([texts[row] for row in rows.tolist()])]
    known += sorted(set(found) - {"", *known})
    filled = {row: known.index(name) for row, name in zip(rows.tolist(), found, strict=True) if name}
    new = {}
    for row, code in filled.items():
        values = np.array([[code]] if old.kind == "bag" else [code], np.int32)
        new[row] = Feature(kind=old.kind, values=values, names=tuple(known))
    feature = Feature(kind=old.kind, values=old.values, names=tuple(known)).replaced(new)
    kept = f", {len(texts) - len(rows):,} had one" if len(rows) < len(texts) else ""
    note = f"items: {kind} of {len(new):,} of {len(texts):,} is that of the script of their {column}{kept}"
    return {**features, kind: feature}, note


def _spelling(found: str, spelt: Mapping[str, str]) -> str:
    """Return a category in the spelling of the names that are known."""
    return spelt.get(found) or spelt.get(ENGLISH.get(found, "").casefold()) or spelt.get(found.casefold()) or found
