"""Adam for networks whose tables may be far larger than what a batch reads of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

LARGE = 2**23
"""Numbers in a table of embeddings from which only the rows that a batch read are stepped: 33 MB."""
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Optimiser:
    """Adam with decoupled decay of weights (Loshchilov and Hutter, ICLR 2019).

    A step over the whole of a table of a million rows takes twenty times as long as the batch, so rows of large tables
    are stepped, and decay, only when they were read: their moments stand still in between (lazy Adam).
    """

    def __init__(self, network: nn.Module, l2: float, device: torch.device) -> None:
        self._l2 = l2
        self._tables = [table for table in network.modules() if device.type != "mps" and _large(table)]
        for table in self._tables:
            table.sparse = True
        large = {id(table.weight) for table in self._tables}
        weights = list(network.parameters())
        self._whole = [weight for weight in weights if id(weight) not in large]
        self._rows = [weight for weight in weights if id(weight) in large]
        fused = device.type in ("cpu", "cuda")
        self._all: list[torch.optim.Optimizer] = []
        if self._whole:
            self._all.append(
                torch.optim.AdamW(self._whole, lr=1.0, weight_decay=l2, betas=BETAS, eps=EPSILON, fused=fused)
            )
        if self._rows:
            self._all.append(torch.optim.SparseAdam(self._rows, lr=1.0, betas=BETAS, eps=EPSILON))

    def zero(self) -> None:
        """Forget the gradients."""
        for optimiser in self._all:
            optimiser.zero_grad(set_to_none=True)

    def clip(self, largest: float) -> Tensor:
        """Shrink the gradients to a norm of at most `largest` and return what it was, a scalar."""
        for weight in self._rows:
            if weight.grad is not None:  # dense where the network reads the table in other ways than by look-up, too
                weight.grad = (weight.grad if weight.grad.is_sparse else weight.grad.to_sparse(1)).coalesce()
        gradients = [weight.grad for weight in self._whole if weight.grad is not None]
        gradients += [weight.grad.values() for weight in self._rows if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if gradients and (norm.device.type != "cpu" or not norm <= largest):  # a pass over all of them
            torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def step(self, rate: float) -> None:
        """Step all weights against their gradients."""
        with torch.no_grad():
            for weight in self._rows if self._l2 else []:
                if weight.grad is not None:
                    read = weight.grad.indices()[0]
                    weight[read] = weight[read] * (1 - rate * self._l2)
        for optimiser in self._all:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()

    def release(self) -> None:
        """Leave the network without gradients, and its tables as they were before."""
        self.zero()
        for table in self._tables:
            table.sparse = False

    def state(self) -> dict[str, Tensor]:
        """Return the moments and counts of steps, by names of their places."""
        return {
            f"{which}.{place}.{name}": torch.as_tensor(value)
            for which, optimiser in enumerate(self._all)
            for place, values in optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave, for an equal network."""
        for which, optimiser in enumerate(self._all):
            plain = optimiser.state_dict()
            for key, value in tensors.items():
                of, place, name = key.split(".")
                if int(of) == which:
                    counts = name == "step" and isinstance(optimiser, torch.optim.SparseAdam)
                    plain["state"].setdefault(int(place), {})[name] = int(value) if counts else value
            optimiser.load_state_dict(plain)


def _large(table: nn.Module) -> bool:
    return isinstance(table, nn.Embedding) and table.weight.numel() >= LARGE and not table.scale_grad_by_freq
