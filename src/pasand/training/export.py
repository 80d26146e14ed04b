"""Exports methods of a network as ONNX graphs, which `onnx_graphs.Graphs` runs without torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pasand.training.onnx_graphs import MIN_BYTES, external_name
from pasand.types import Array


class _Method(nn.Module):
    """Wraps one method of a network as the forward pass of a module."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        vectors: Tensor = getattr(self.network, self.name)(inputs)
        return vectors


def export_method(network: nn.Module, method: str, inputs: Mapping[str, Array]) -> bytes:
    """Return a method of a network ("query", "item", ...) as an ONNX graph, for any batch size and history length.

    `inputs` are examples, with batch size and lengths above 1. Where some have batch size 1, these always have it; then
    the others' batch size is free, but no length is. The graph holds the computation alone: weights of
    `onnx_graphs.MIN_BYTES` bytes or more stay in the model's state, so that they are neither stored nor held twice, and
    a table may exceed the 2 GiB limit of a graph. Needs onnx and onnxscript; takes seconds.
    """
    import onnx_ir

    # torch requires writable arrays, and memory-mapped ones are read-only
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in inputs.items()}
    free = torch.export.Dim.AUTO
    shapes = {name: dict.fromkeys(range(t.dim()), free) for name, t in tensors.items()}
    if any(len(t) == 1 for t in tensors.values()):  # one query, with any number of items
        rows = torch.export.Dim("rows")
        shapes = {name: {0: rows} if len(t) > 1 else {} for name, t in tensors.items()}
    with _silence():
        program = torch.onnx.export(
            _Method(network, method).eval(),
            (),
            kwargs={"inputs": tensors},
            dynamo=True,
            dynamic_shapes={"inputs": shapes},
            input_names=list(inputs),
            output_names=["vectors"],
            verbose=False,
        )
    assert program is not None
    learnt = network.state_dict()
    initializers = program.model.graph.initializers
    for name in list(initializers):
        value, own = initializers[name], name.removeprefix("network.")
        tensor = value.const_value
        if own in learnt and learnt[own].dtype == torch.float32 and tensor.nbytes >= MIN_BYTES:
            value.const_value = onnx_ir.ExternalTensor(
                "state", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=external_name(own)
            )
            value.name = external_name(own)
    for node in program.model.graph.all_nodes():  # the metadata name source files by paths of this machine
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*program.model.graph.inputs, *initializers.values()]:
        value.metadata_props.clear()
    program.model.metadata_props.clear()
    program.model.graph.metadata_props.clear()
    content: bytes = onnx_ir.to_proto(program.model).SerializeToString()
    return content


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress the exporter's warnings, which are meant for its developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
