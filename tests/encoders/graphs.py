"""Tiny ONNX models for tests: of images, of spectrograms, and of sentences with a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pasand.encoders.conversion.graph import Graph


def mean_colour(path: Path, *, channels_first: bool = True) -> Path:
    """Write a model of images that returns the mean of each channel."""
    g = Graph()
    x = g.input("x", "FLOAT", ["n", 3, 8, 8] if channels_first else ["n", 8, 8, 3])
    y = g.node("ReduceMean", x, axes=[2, 3] if channels_first else [1, 2], keepdims=0)
    path.write_bytes(g.bytes({y: ["n", 3]}, {"mean": [0, 0, 0], "std": [1, 1, 1]}))
    return path


def mean_band(path: Path) -> Path:
    """Write a model of spectrograms of 10 frames and 16 bands that returns the mean of each band."""
    g = Graph()
    x = g.input("x", "FLOAT", ["n", 10, 16])
    about = {"rate": 8000, "window": 256, "hop": 128, "mels": 16, "frames": 10}
    path.write_bytes(g.bytes({g.node("ReduceMean", x, axes=[1], keepdims=0): ["n", 16]}, about))
    return path


WORDS = ["<s>", "<pad>", "</s>", "<unk>", "▁red", "▁blue", "▁green", "▁q"]
SYNONYMS = {"▁red": 0, "▁blue": 1, "▁green": 2}


def mean_word(folder: Path) -> Path:
    """Write a sentence model whose words are unit vectors and whose output is the vector of each token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir()
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in WORDS], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.zeros((len(WORDS), 3), np.float32)
    for word, axis in SYNONYMS.items():
        table[WORDS.index(word), axis] = 1
    g = Graph()
    ids = g.input("input_ids", "INT64", ["n", "l"])
    g.input("attention_mask", "INT64", ["n", "l"])
    output = g.node("Gather", g.weight(table), ids)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(g.bytes({output: ["n", "l", 3]}, {}))
    settings = {"prompts": {"query": "q "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder
