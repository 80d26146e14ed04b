"""Wording of a service: what its items are called and what users do with them, from the recipe or from the data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pasand.data.dataset import Dataset
from pasand.errors import InputError

VERBS = {
    "film": "watch",
    "show": "watch",
    "video": "watch",
    "song": "listen to",
    "artist": "listen to",
    "podcast": "listen to",
    "product": "buy",
    "book": "read",
    "article": "read",
    "game": "play",
    "recipe": "cook",
    "restaurant": "visit",
    "hotel": "visit",
    "course": "attend",
    "job": "open",
}
"""What users do with items, by noun; with others they `choose` them."""
PAST_TENSE = {
    "listen to": "listened to",
    "buy": "bought",
    "read": "read",
    "choose": "chose",
    "hear": "heard",
    "eat": "ate",
    "see": "saw",
    "get": "got",
    "rent": "rented",
}
DONE = {"listen to": "heard", "choose": "chosen", "eat": "eaten", "see": "seen"}
"""How an item is marked, where that is not the past tense."""
PLURALS = {"person": "people", "series": "series"}
SIGNS = {
    "film": "movie movielens ml film director cast imdb tmdb actor",
    "song": "song track album lyrics spotify",
    "artist": "artist lastfm",
    "book": "book isbn author goodreads pages publisher",
    "article": "article news headline mind abstract",
    "game": "game steam playtime",
    "recipe": "ingredient ingredients cuisine",
    "course": "course lesson",
    "job": "job salary vacancy",
    "hotel": "hotel",
    "restaurant": "restaurant",
    "video": "video kuairec youtube",
    "product": "product sku price brand asin retailrocket department colour color garment shop basket purchase",
}
"""Words in the names of the data, of columns and of features that show what the items are; the first noun wins."""


@dataclass(frozen=True)
class Wording:
    """Words for the items of a service and for what users do with them; those that are left out follow from the noun.

    A recipe sets them with a table of this class, such as `[page]` with `noun = "song"`.
    """

    noun: str = "item"
    """One item: song, product, book."""
    verb: str = ""
    """What users do with an item: listen to, buy, read."""
    past: str = ""
    """What a user did, after "you": listened to, bought, read."""
    plural: str = ""
    done: str = ""
    """How an item is marked, after "as": heard, bought, read."""

    def __post_init__(self) -> None:
        for name in ("noun", "verb", "past", "plural", "done"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > 30 or not re.fullmatch(r"[\w' -]*", value):
                raise ValueError(f"{name} must be a word of 30 characters at most, got {value!r}")
        if not self.noun.strip():
            raise ValueError("noun must not be empty")
        verb = self.verb or VERBS.get(self.noun, "choose")
        past = self.past or PAST_TENSE.get(verb) or _past(verb)
        rest = {"verb": verb, "past": past, "plural": self.plural or _plural(self.noun)}
        for name, value in {**rest, "done": self.done or DONE.get(verb, past)}.items():
            object.__setattr__(self, name, value)

    def as_json(self) -> dict[str, str]:
        """Return the words by name."""
        return {name: getattr(self, name) for name in ("noun", "plural", "verb", "past", "done")}


def parsed(text: str) -> Wording:
    """Return the wording of an option: a noun, or noun and verb with a slash between; raises InputError.

    >>> parsed("song").past, parsed("plant/water").past
    ('listened to', 'watered')
    """
    noun, _, verb = text.partition("/")
    try:
        return Wording(noun.strip(), verb.strip())
    except ValueError as error:
        raise InputError("--noun", value=text, cause=str(error), cure="write NOUN or NOUN/VERB, as song/play") from None


def of_bundle(components: Iterable[object], data: Dataset) -> Wording:
    """Return the wording among the components of a recipe, or else that of the data."""
    return next((part for part in components if isinstance(part, Wording)), None) or of_data(data)


def of_data(data: Dataset) -> Wording:
    """Return the wording that the data's names show: of columns as the notes give them, of features, of the log.

    Items of an unknown kind are called items, which users choose.
    """
    columns = re.findall(r"^(?!user)[a-z]+: .*column '([^']+)'", "\n".join(data.notes), re.MULTILINE)
    sources = [columns, [*data.item_features, *data.columns], [data.name]]
    for source in sources:
        words = {word for name in source for word in re.findall(r"[a-z]+", _spaced(name).lower())}
        words |= {word.removesuffix("s") for word in words}
        for noun, signs in SIGNS.items():
            if words & set(signs.split()):
                return Wording(noun)
    return Wording()


def _spaced(name: str) -> str:
    """Return a name with spaces between the words of camel case."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _past(verb: str) -> str:
    """Return the past tense of a regular verb; a recipe can give that of others."""
    if verb.endswith("e"):
        return f"{verb}d"
    return f"{verb[:-1]}ied" if re.search(r"[^aeiou]y$", verb) else f"{verb}ed"


def _plural(noun: str) -> str:
    if noun.endswith(tuple(PLURALS)):
        return next(noun.removesuffix(one) + many for one, many in PLURALS.items() if noun.endswith(one))
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if re.search(r"(s|x|z|ch|sh)$", noun) else f"{noun}s"
