"""Runs the ONNX graphs of a network on ONNX Runtime; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from pasand.errors import InputError
from pasand.training.onnx_external import external_tensors
from pasand.types import Array, Arrays, Vectors

MIN_BYTES = 1024
"""Size from which a weight is not stored in the graph but taken from the model's state."""

onnxruntime.disable_telemetry_events()


class Graphs:
    """Runs graphs by name, on one thread each; safe to call from several threads at once.

    A graph's session is created at its first use, since that temporarily copies its tables, and a server uses few.
    """

    def __init__(self, graphs: Mapping[str, bytes], weights: Arrays) -> None:
        """Take the graphs, and the weights by name, which are used without a copy.

        Raises InputError for a graph that reads its data from a file.
        """
        for name, graph in graphs.items():
            _check_external(name, graph, weights)
        self._graphs, self._weights = dict(graphs), weights
        self._sessions: dict[str, tuple[onnxruntime.InferenceSession, list[str]]] = {}
        self._shared: dict[str, onnxruntime.OrtValue] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._graphs

    def inputs(self, name: str) -> list[str]:
        """Return the names of a graph's inputs; raises InputError as `run`."""
        return self._session(name)[1]

    def run(self, name: str, inputs: Mapping[str, Array]) -> Vectors:
        """Return the output of a graph for its inputs, (B, ...) each: (B, D).

        Raises InputError where ONNX Runtime cannot run it, or a weight is missing or of another shape.
        """
        session, names = self._session(name)
        vectors: Vectors = session.run(None, {key: np.ascontiguousarray(inputs[key]) for key in names})[0]
        return vectors

    def _session(self, name: str) -> tuple[onnxruntime.InferenceSession, list[str]]:
        if name not in self._sessions:
            graph, external = self._graphs[name], dict[str, onnxruntime.OrtValue]()
            for key, values in self._weights.items():
                if external_name(key).encode() in graph:
                    if key not in self._shared:
                        self._shared[key] = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values))
                    external[external_name(key)] = self._shared[key]
            session = _new_session(graph, external)
            self._sessions[name] = session, [argument.name for argument in session.get_inputs()]
        return self._sessions[name]


def external_name(name: str) -> str:
    """Return the name in a graph of a weight that is taken from the state; no such name is part of another."""
    return f"<{name}>"


def _check_external(name: str, graph: bytes, weights: Arrays) -> None:
    """Raise InputError unless all data outside a graph are weights that are given."""
    try:
        outside = external_tensors(graph) - {external_name(key) for key in weights}
        cause = f"it reads {', '.join(map(repr, sorted(outside)[:3]))} from a file" if outside else ""
    except ValueError as error:
        cause = f"not an ONNX graph: {error}"
    if cause:
        raise InputError(f"ONNX graph {name!r}", cause=cause, cure="train again")


def _new_session(graph: bytes, values: Mapping[str, onnxruntime.OrtValue]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_external_initializers(list(values), list(values.values()))
    for name, value in values.items():  # avoids a copy of the weights
        options.add_initializer(name, value)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        cause = f"cannot be run by onnxruntime {onnxruntime.__version__}: {error}"
        raise InputError("ONNX graph", cause=cause, cure="install a newer onnxruntime, or train again") from error
