"""Training weights in deep models: an example takes part in an epoch with the probability of its weight.

The expected gradient is that of a loss in which each example counts by its weight, whatever the loss.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pasand.types import Scores


def weight_tensor(weight: Scores | None, device: torch.device) -> Tensor | None:
    """Return the weights of examples, (E,), as a tensor; None where there are none, or where all are 1."""
    if weight is None or (weight >= 1).all():
        return None
    return torch.from_numpy(np.ascontiguousarray(weight, np.float32)).to(device)


def thinned(order: Tensor, size: int, weight: Tensor | None, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of at most `size` of the examples `order`, (n,): each example with the probability of its weight.

    `weight`, (E,), is that of all examples; None: all are kept, and nothing is drawn. Batches that lose all their
    examples are left out.
    """
    for chosen in order.split(size):
        if weight is not None:
            chosen = chosen[torch.rand(len(chosen), generator=generator).to(order.device) < weight[chosen]]
        if len(chosen):
            yield chosen
