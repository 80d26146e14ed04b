"""`Graph`: builds an ONNX graph node by node, with 8-bit weights where they are wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pasand.errors import InputError
from pasand.types import Array

OPSET = 17
MICROSOFT = "com.microsoft"
"""Domain of the operators of ONNX Runtime itself."""


class Graph:
    """An ONNX graph under construction; methods add nodes and return the names of their outputs."""

    def __init__(self) -> None:
        """Start an empty graph; raises InputError where the package onnx is not installed."""
        try:
            import onnx
        except ImportError as error:
            cure = "pip install onnx"
            raise InputError("converting a model", cause="the package onnx is not installed", cure=cure) from error
        self._onnx: Any = onnx
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._inputs: list[Any] = []
        self._n = 0

    def input(self, name: str, kind: str, shape: Sequence[int | str]) -> str:
        """Add an input of a kind such as "FLOAT" or "INT64"; sizes that vary have names."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        self._inputs.append(helper.make_tensor_value_info(name, getattr(types, kind), list(shape)))
        return name

    def weight(self, values: Array) -> str:
        """Add an array and return its name."""
        name = self._name("w")
        self._weights.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node; return the name of its output, or the names of several."""
        names = [self._name("x") for _ in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, x: str, weights: Array, bias: Array) -> str:
        """Add x W' + b with 8-bit weights, a scale for each output; x is quantised at run time; W (out, in)."""
        scale = np.maximum(np.abs(weights).max(axis=1), 1e-12) / 127
        rounded = np.rint(weights / scale[:, None]).astype(np.int8)
        quantised, step, zero = self.node("DynamicQuantizeLinear", x, outputs=3)
        product = self.node("MatMulInteger", quantised, self.weight(rounded.T), zero)
        scales = self.node("Mul", step, self.weight(scale.astype(np.float32)))
        real = self.node("Mul", self.node("Cast", product, to=self._onnx.TensorProto.FLOAT), scales)
        return str(self.node("Add", real, self.weight(bias.astype(np.float32))))

    def dense(self, x: str, weights: Array, bias: Array) -> str:
        """Add x W' + b with the weights as they are; W (out, in)."""
        product = self.node("MatMul", x, self.weight(weights.T.astype(np.float32)))
        return str(self.node("Add", product, self.weight(bias.astype(np.float32))))

    def convolution(self, x: str, weights: Array, bias: Array, **attributes: Any) -> str:
        """Add a convolution; W (out, in / groups, height, width)."""
        stored = (self.weight(weights.astype(np.float32)), self.weight(bias.astype(np.float32)))
        return str(self.node("Conv", x, *stored, **attributes))

    def bytes(self, outputs: Mapping[str, Sequence[int | str]], about: Mapping[str, object]) -> bytes:
        """Return the graph with outputs named after their nodes, checked; `about` becomes its metadata, as JSON."""
        onnx = self._onnx
        results = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(s)) for name, s in outputs.items()
        ]
        graph = onnx.helper.make_graph(self._nodes, "pasand", self._inputs, results, self._weights)
        opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(MICROSOFT, 1)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
        for key, value in about.items():
            model.metadata_props.add(key=key, value=json.dumps(value))
        content: bytes = model.SerializeToString()
        return content

    def _name(self, letter: str) -> str:
        self._n += 1
        return f"{letter}{self._n}"
