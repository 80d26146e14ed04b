"""Runs the ONNX graphs of a network on ONNX Runtime; knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from pasand.errors import InputError
from pasand.types import Array, Arrays, Vectors

LEAST = 1024
"""Bytes from which on a weight is not in the graph but taken from the model's state."""

onnxruntime.disable_telemetry_events()


class Graphs:
    """Graphs by name; one thread each, safe to run from several threads at once.

    Each is made ready when it is first asked for, since that copies its tables for a moment, and a server asks for few.
    """

    def __init__(self, graphs: Mapping[str, bytes], weights: Arrays) -> None:
        """Take the graphs, and the weights by name, whose memory is used where it lies."""
        self._graphs, self._weights = dict(graphs), weights
        self._ready: dict[str, tuple[onnxruntime.InferenceSession, list[str]]] = {}
        self._lent: dict[str, onnxruntime.OrtValue] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._graphs

    def inputs(self, name: str) -> list[str]:
        """Return the names of what a graph reads; raises InputError as `run`."""
        return self._session(name)[1]

    def run(self, name: str, inputs: Mapping[str, Array]) -> Vectors:
        """Return what a graph makes of its inputs, (B, ...) each: (B, D).

        Raises InputError where ONNX Runtime cannot run it, or a weight is missing or of another shape.
        """
        session, names = self._session(name)
        vectors: Vectors = session.run(None, {one: np.ascontiguousarray(inputs[one]) for one in names})[0]
        return vectors

    def _session(self, name: str) -> tuple[onnxruntime.InferenceSession, list[str]]:
        if name not in self._ready:
            graph, mine = self._graphs[name], dict[str, onnxruntime.OrtValue]()
            for key, values in self._weights.items():
                if marked(key).encode() in graph:
                    if key not in self._lent:
                        self._lent[key] = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values))
                    mine[marked(key)] = self._lent[key]
            session = _made(graph, mine)
            self._ready[name] = session, [one.name for one in session.get_inputs()]
        return self._ready[name]


def marked(name: str) -> str:
    """Return the name of a weight in a graph that takes it from the state; no such name is part of another."""
    return f"<{name}>"


def _made(graph: bytes, values: Mapping[str, onnxruntime.OrtValue]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_external_initializers(list(values), list(values.values()))
    for name, value in values.items():  # without this they would be copied
        options.add_initializer(name, value)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        cause = f"cannot be run by onnxruntime {onnxruntime.__version__}: {error}"
        raise InputError("ONNX graph", cause=cause, cure="install a newer onnxruntime, or fit again") from error
