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
    """Graphs by name, ready to run; one thread each, safe to run from several threads at once."""

    def __init__(self, graphs: Mapping[str, bytes], weights: Arrays) -> None:
        """Take the graphs, and the weights by name, whose memory is used where it lies.

        Raises InputError where ONNX Runtime cannot run a graph, or a weight is missing or of another shape.
        """
        self._lent = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values))
            for name, values in weights.items()
            if any(marked(name).encode() in graph for graph in graphs.values())
        }
        self._sessions = {name: _session(graph, self._lent) for name, graph in graphs.items()}
        self.inputs = {name: [one.name for one in run.get_inputs()] for name, run in self._sessions.items()}
        """Names of what each graph reads."""

    def __contains__(self, name: str) -> bool:
        return name in self._sessions

    def run(self, name: str, inputs: Mapping[str, Array]) -> Vectors:
        """Return what a graph makes of its inputs, (B, ...) each: (B, D)."""
        wanted = {one: np.ascontiguousarray(inputs[one]) for one in self.inputs[name]}
        vectors: Vectors = self._sessions[name].run(None, wanted)[0]
        return vectors


def marked(name: str) -> str:
    """Return the name of a weight in a graph that takes it from the state; no such name is part of another."""
    return f"<{name}>"


def _session(graph: bytes, lent: Mapping[str, onnxruntime.OrtValue]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    values = {marked(name): value for name, value in lent.items() if marked(name).encode() in graph}
    options.add_external_initializers(list(values), list(values.values()))
    for name, value in values.items():  # without this they would be copied
        options.add_initializer(name, value)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        cause = f"cannot be run by onnxruntime {onnxruntime.__version__}: {error}"
        raise InputError("ONNX graph", cause=cause, cure="install a newer onnxruntime, or fit again") from error
