"""Networks as ONNX graphs, which `graphs.Graphs` runs without torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pasand.training.onnx_graphs import LEAST, marked
from pasand.types import Array


class _Tower(nn.Module):
    """One method of a network as a network of its own."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        vectors: Tensor = getattr(self.network, self.name)(inputs)
        return vectors


def graph(network: nn.Module, tower: str, inputs: Mapping[str, Array]) -> bytes:
    """Return a tower of a network ("query", "item") as an ONNX graph, for any batch size and length of history.

    `inputs` are examples, of batch size and lengths above 1; where some have batch size 1, that is so always, and the
    others' is free, but no length. The graph holds the computation alone: weights of
    `graphs.LEAST` bytes or more stay in the model's state, so that they are neither stored nor held twice, and a
    table may be larger than the 2 GiB that one graph can be. Needs onnx and onnxscript; takes seconds.
    """
    import onnx_ir

    # a mutable array is asked for by torch, and mapped ones are read-only
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in inputs.items()}
    free = torch.export.Dim.AUTO
    shapes = {name: dict.fromkeys(range(t.dim()), free) for name, t in tensors.items()}
    if any(len(t) == 1 for t in tensors.values()):  # what is asked of one request, with any number of items
        rows = torch.export.Dim("rows")
        shapes = {name: {0: rows} if len(t) > 1 else {} for name, t in tensors.items()}
    with _silence():
        program = torch.onnx.export(
            _Tower(network, tower).eval(),
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
        if own in learnt and learnt[own].dtype == torch.float32 and tensor.nbytes >= LEAST:
            value.const_value = onnx_ir.ExternalTensor(
                "state", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=marked(own)
            )
            value.name = marked(own)
    for node in program.model.graph.all_nodes():  # where each came from in the code, with paths of this machine
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
    """Keep the exporter's hints, meant for its own authors, off the terminal."""
    chatty = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(chatty, before, strict=True):
            logger.setLevel(level)
