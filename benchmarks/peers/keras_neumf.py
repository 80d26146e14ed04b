"""Prints the seconds of training epochs of NeuMF in Keras, the version and the number of threads, as JSON.

keras_neumf.py USERS ITEMS EXAMPLES BATCH_SIZE DIMENSIONS LAYERS TURNS

LAYERS are the widths of the dense layers, with commas between them; TURNS is the number of timed epochs.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

users, items, examples, batch, dimensions = map(int, sys.argv[1:6])
layers, turns = [int(width) for width in sys.argv[6].split(",")], int(sys.argv[7])
threads = os.cpu_count() or 1
rng = np.random.default_rng(0)
user, item = rng.integers(1, users + 1, examples), rng.integers(1, items + 1, examples)
label = (rng.random(examples) < 0.2).astype(np.float32)

u, i = tf.keras.Input((), dtype="int32"), tf.keras.Input((), dtype="int32")


def vectors(n: int, codes: object) -> object:
    """Return the embeddings of codes."""
    return tf.keras.layers.Embedding(n + 1, dimensions)(codes)


product = tf.keras.layers.Multiply()([vectors(users, u), vectors(items, i)])
dense = tf.keras.layers.Concatenate()([vectors(users, u), vectors(items, i)])
for width in layers:
    dense = tf.keras.layers.Dense(width, activation="relu")(dense)
output = tf.keras.layers.Dense(1)(tf.keras.layers.Concatenate()([product, dense]))
model = tf.keras.Model([u, i], output)
model.compile(tf.keras.optimizers.Adam(1e-3), tf.keras.losses.BinaryCrossentropy(from_logits=True))
batches = tf.data.Dataset.from_tensor_slices(((user.astype(np.int32), item.astype(np.int32)), label)).batch(batch)
batches = batches.cache().prefetch(tf.data.AUTOTUNE)
model.fit(batches, epochs=1, verbose=0)
seconds = []
for _ in range(turns):
    began = time.perf_counter()
    model.fit(batches, epochs=1, verbose=0)
    seconds.append(time.perf_counter() - began)
print(json.dumps({"seconds": seconds, "version": tf.__version__, "threads": threads}))
