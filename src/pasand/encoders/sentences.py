"""`SentenceOnnx`: a multilingual sentence encoder; multilingual-e5-small unless another model's folder is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pasand.encoders.native_script import NativeScript
from pasand.encoders.pretrained import OnnxModel, Pretrained, find, normalised
from pasand.errors import InputError
from pasand.types import Array, Vectors

MAX_TOKENS = 512
"""Tokens of a text that are read at most."""
BATCH_TOKENS = 2048
"""Tokens that are encoded at a time, padding included; this bounds the memory."""
GRAPHS = ("model.onnx", "onnx/model.onnx", "onnx/model_quantized.onnx")
"""Where the graph is in the folder of a model."""


@dataclass(kw_only=True)
class SentenceOnnx(Pretrained):
    """A sentence encoder in a folder with an ONNX graph and a `tokenizer.json`; the same meaning gives near vectors.

    The default reads 100 languages, among them those of India: multilingual-e5-small (Wang, Yang, Huang et al.,
    "Multilingual E5 text embeddings", 2024) with 8-bit weights. Texts of Indian languages in Latin letters are first
    written in their own script (`native_script`), where the tokenizer's vocabulary has frequencies. Any
    sentence-transformers model whose folder holds an ONNX graph is read, too, with its pooling (mean, or the first
    token) and default prompt.

    The 8-bit network quantises a batch as a whole, so a vector differs slightly with its neighbours (cosine about
    .995).
    """

    model: str = "e5"
    """"e5", which `pasand fetch e5` prepares, or the folder of a model."""
    names: ClassVar[Sequence[str]] = ("e5",)
    reads_files: ClassVar[bool] = False
    version: ClassVar[int] = 2
    _tokenizer: Any = field(default=None, init=False, repr=False, compare=False)
    _characters: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _native_script: NativeScript | None = field(default=None, init=False, repr=False, compare=False)

    def file(self) -> Path:
        """Return the ONNX graph; raises InputError where the folder has none."""
        folder = find(self.model, self.names)
        for name in GRAPHS:
            if (folder / name).is_file():
                return folder / name
        cause = f"the folder has no {GRAPHS[0]} or {GRAPHS[1]}"
        raise InputError(folder, cause=cause, cure="give the folder of a sentence model with an ONNX graph")

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of length 1, (n, D); zeros for an empty text."""
        network, tokenizer = self.network(), self.tokenizer()
        prompt = self._prompt(network)
        own_script = self.own_script()
        plain = [own_script(text.translate(self._characters).strip()) for text in texts]
        filled = [row for row, text in enumerate(plain) if text]
        tokens = [one.ids for one in tokenizer.encode_batch([prompt + plain[row] for row in filled])]
        order = sorted(range(len(filled)), key=lambda at: len(tokens[at]))
        out: Vectors | None = None
        for batch in _batches(order, [len(one) for one in tokens]):
            vectors = self._run(network, [tokens[at] for at in batch])
            if out is None:
                out = np.zeros((len(texts), vectors.shape[1]), np.float32)
            out[[filled[at] for at in batch]] = vectors
        if out is None:
            width = self._run(network, [tokenizer.encode(prompt + "a").ids]).shape[1]
            out = np.zeros((len(texts), width), np.float32)
        return out

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens that the network reads of each text, with its prompt and its ends."""
        tokenizer, prompt = self.tokenizer(), self._prompt(self.network())
        return [len(one.ids) for one in tokenizer.encode_batch([prompt + text for text in texts])]

    def _run(self, network: OnnxModel, tokens: Sequence[list[int]]) -> Vectors:
        """Return the vectors of a batch of tokens, which are padded to the longest."""
        longest = max(map(len, tokens))
        ids, mask = np.zeros((len(tokens), longest), np.int64), np.zeros((len(tokens), longest), np.int64)
        for row, one in enumerate(tokens):
            ids[row, : len(one)], mask[row, : len(one)] = one, 1
        inputs: dict[str, Array] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        output = network.run({name: inputs[name] for name in network.shapes if name in inputs})
        if output.ndim == 3:
            kept = mask[:, :, None] if not self._settings("1_Pooling/config.json").get("pooling_mode_cls_token") else 0
            output = output[:, 0] if isinstance(kept, int) else (output * kept).sum(axis=1) / kept.sum(axis=1)
        return normalised(output)

    def tokenizer(self) -> Any:
        """Return the tokenizer, read once; raises InputError where the package or its file is missing."""
        if self._tokenizer is None:
            try:
                from tokenizers import Tokenizer
            except ImportError as error:
                cure = "pip install 'pasand[text]'"
                raise InputError("encoders", cause="the package tokenizers is not installed", cure=cure) from error
            folder = find(self.model, self.names)
            try:
                self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            except Exception as error:  # the package raises nothing narrower
                cause = f"its tokenizer.json cannot be read: {error}"
                raise InputError(folder, cause=cause, cure="give the folder of a sentence model") from error
            self._tokenizer.enable_truncation(MAX_TOKENS)
            self._tokenizer.no_padding()
            self._characters = {ord(key): value for key, value in self._settings("characters.json").items()}
        return self._tokenizer

    def own_script(self) -> NativeScript:
        """Return the writer of texts in Latin letters; it changes none if the tokenizer's words have no probability."""
        if self._native_script is None:
            model = self._settings("tokenizer.json").get("model", {})
            vocabulary = model.get("vocab", []) if model.get("type") == "Unigram" else []
            self._native_script = NativeScript([(piece, score) for piece, score in vocabulary])
        return self._native_script

    def _prompt(self, network: OnnxModel) -> str:
        settings = self._settings("config_sentence_transformers.json")
        default = settings.get("prompts", {}).get(settings.get("default_prompt_name") or "", "")
        return str(network.about.get("prompt", default))

    def _settings(self, name: str) -> dict[str, Any]:
        """Return a file of JSON in the model's folder, {} where there is none."""
        try:
            found = json.loads((find(self.model, self.names) / name).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Return texts in batches of at most `BATCH_TOKENS` tokens with padding, given them by rising length."""
    batches: list[list[int]] = []
    for at in order:
        if batches and (len(batches[-1]) + 1) * lengths[at] <= BATCH_TOKENS:
            batches[-1].append(at)
        else:
            batches.append([at])
    return batches
