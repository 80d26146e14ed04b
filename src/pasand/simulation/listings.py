"""Titles and descriptions of the products of the simulated marketplace, by templates in five languages."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

LANGUAGES = ("Bengali", "English", "Hindi", "Tamil", "Telugu")
"""Languages of the listings, in order of code."""
DESCRIPTIONS = {
    "Bengali": "{town} থেকে {material} {product}। রং: {colour}। {finish}।",
    "English": "{material} {product} from {town}. Colour: {colour}. {finish}.",
    "Hindi": "{town} से {material} {product}। रंग: {colour}। {finish}।",
    "Tamil": "{town} {material} {product}. நிறம்: {colour}. {finish}.",
    "Telugu": "{town} {material} {product}. రంగు: {colour}. {finish}.",
}


@cache
def words() -> dict[str, dict[str, str]]:
    """Return the words of the listings by language and English key.

    >>> words()["Hindi"]["brass"]
    'पीतल'
    """
    text = files("pasand.simulation").joinpath("market_words.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return {language: {row["key"]: row[language] for row in rows} for language in LANGUAGES}


def title(language: str, *, town: str, material: str, product: str) -> str:
    """Return the title of a product, such as "Moradabad brass lamp", in a language.

    >>> title("Bengali", town="Moradabad", material="brass", product="lamp")
    'মোরাদাবাদ পিতল প্রদীপ'
    """
    of = words()[language]
    return f"{of[town]} {of[material]} {of[product]}"


def description(language: str, **keys: str) -> str:
    """Return the description of a product in a language; the keys are those of `DESCRIPTIONS`, in English.

    >>> description("English", town="Jaipur", material="silver", product="bangles", colour="red", finish="plain")
    'Silver bangles from Jaipur. Colour: red. Simple and light.'
    """
    of = words()[language]
    text = DESCRIPTIONS[language].format(**{name: of[key] for name, key in keys.items()})
    return ". ".join(part[:1].upper() + part[1:] for part in text.split(". "))
