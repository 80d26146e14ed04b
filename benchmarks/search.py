"""Search of 200,000 titles in three scripts with casts, languages and years: CPU time of the index and of texts.

Words are random syllables with a long tail; a fifth of the titles are in Devanagari or Tamil. The texts are titles,
words, beginnings, names, slips, words of other scripts, single letters, and texts that find nothing. Time is that of
the process, least of three, so that other work on the machine does not count.
"""

from __future__ import annotations

import random
import time
import tracemalloc

import numpy as np

from benchmarks.rows import Row
from pasand.data.features import Feature
from pasand.data.search import CatalogueSearch

MEASURES = ("data/search.py", "data/search_words.py", "data/spellings.py", "data/scripts.py")
N_TITLES, N_WORDS, N_NAMES = 200_000, 60_000, 20_000
CONSONANTS = "b bh c ch d dh g gh h j k kh l m n p ph r s sh t th v y z".split()  # noqa: SIM905
VOWELS = "a aa e ee i o oo u ai au".split()  # noqa: SIM905
NATIVE = (("कखगघचछजझटठडढतथदधनपफबभमयरलवशषसह", "ािीुूेैोौ"), ("கசடதபமயரலவழளறன", "ாிீுூெேைொோ"))
LANGUAGES = ("Hindi", "Tamil", "Telugu", "Bengali", "Kannada", "Marathi", "Punjabi", "Odia", "Gujarati", "Malayalam")


def catalogue() -> tuple[list[str], dict[str, Feature], list[str]]:
    """Return titles, features, and texts to be found."""
    rng, numbers = random.Random(0), np.random.default_rng(0)

    def latin() -> str:
        return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.choice([1, 2, 2, 3, 3])))

    def native(letters: str, signs: str) -> str:
        return "".join(rng.choice(letters) + rng.choice([*signs, ""]) for _ in range(rng.choice([2, 3, 3, 4])))

    words = [latin() for _ in range(N_WORDS)]
    others = [native(*script) for script in NATIVE for _ in range(N_WORDS // 4)]

    def drawn(own: list[str]) -> str:
        frequent = rng.random() < 0.6
        return own[min(int(rng.paretovariate(0.35)) - 1, len(own) - 1) if frequent else rng.randrange(len(own))]

    titles = []
    for _ in range(N_TITLES):
        own = others if rng.random() < 0.2 else words
        titles.append(" ".join(drawn(own) for _ in range(rng.choice([1, 2, 2, 3, 3, 4, 5]))))
    names = tuple(f"{rng.choice(words)} {rng.choice(words)}" for _ in range(N_NAMES))
    features = {
        "cast": Feature(kind="bag", values=numbers.integers(0, N_NAMES, (N_TITLES, 3)).astype(np.int32), names=names),
        "language": Feature(
            kind="categorical", values=numbers.integers(0, 10, N_TITLES).astype(np.int32), names=LANGUAGES
        ),
        "year": Feature(kind="number", values=numbers.integers(1950, 2026, N_TITLES).astype(np.float32)),
    }
    texts = [titles[5], titles[9], words[100], words[200][:3], names[5], "hindi 1990", f"{words[7]} {words[8]}"]
    texts += [words[300] + "q", words[400][:-1], others[5], others[-5], "sholay", "zzzzqq", "the end of it", "a", "s"]
    return titles, features, texts


def run() -> list[Row]:
    """Measure the index and the slowest text."""
    titles, features, texts = catalogue()
    began = time.process_time()
    search = CatalogueSearch(titles, features)
    built = time.process_time() - began
    began = time.process_time()
    search.find("zzzzqq")  # needs other spellings, which are made once
    search.find(texts[9])
    first = time.process_time() - began
    slowest = {}
    for text in texts:
        times = []
        for _ in range(3):
            began = time.process_time()
            search.find(text)
            times.append(time.process_time() - began)
        slowest[text] = 1000 * min(times)
    text = max(slowest, key=lambda one: slowest[one])
    del search
    tracemalloc.start()
    kept = CatalogueSearch(titles, features)
    kept.find("zzzzqq")
    kept.find(texts[9])
    python_mb = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    return [
        Row(
            target=f"search of {N_TITLES:,} titles: slowest of {len(texts)} texts, CPU milliseconds",
            value=slowest[text],
            limit=20.0,
            better="lower",
            comparable=True,
            detail=f"the text {text!r}; median {np.median(list(slowest.values())):.1f}",
            synthetic=True,
        ),
        Row(
            target=f"search of {N_TITLES:,} titles: CPU seconds until the first text is found",
            value=built + first,
            limit=None,
            better="lower",
            detail=f"index {built:.1f}, other spellings {first:.1f}; both are made once",
            synthetic=True,
        ),
        Row(
            target=f"search of {N_TITLES:,} titles: megabytes of the index in Python and NumPy",
            value=python_mb,
            limit=None,
            better="lower",
            detail="without the folded titles of polars",
            synthetic=True,
        ),
    ]
