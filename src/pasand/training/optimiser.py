"""The optimiser: Adam with weight decay, which updates only the rows of large embedding tables that a batch read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

LARGE = 2**23
"""Numbers in an embedding table from which only the rows that a batch read are updated: 33 MB."""
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Optimiser:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019), lazy on large embedding tables.

    Updating a whole table of a million rows takes twenty times as long as the batch. So rows of large tables are
    updated, and decayed, only when a batch read them; in between, Adam's averages of their gradients do not change.
    """

    def __init__(self, network: nn.Module, l2: float, device: torch.device) -> None:
        self._l2 = l2
        self._tables = [table for table in network.modules() if device.type != "mps" and _large(table)]
        for table in self._tables:
            table.sparse = True
        large = {id(table.weight) for table in self._tables}
        weights = list(network.parameters())
        self._dense = [weight for weight in weights if id(weight) not in large]
        self._sparse = [weight for weight in weights if id(weight) in large]
        fused = device.type in ("cpu", "cuda")
        self._optimisers: list[torch.optim.Optimizer] = []
        if self._dense:
            self._optimisers.append(
                torch.optim.AdamW(self._dense, lr=1.0, weight_decay=l2, betas=BETAS, eps=EPSILON, fused=fused)
            )
        if self._sparse:
            self._optimisers.append(torch.optim.SparseAdam(self._sparse, lr=1.0, betas=BETAS, eps=EPSILON))

    def zero(self) -> None:
        """Clear the gradients."""
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)

    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradients down to a norm of at most `max_norm` and return the norm before, a scalar."""
        for weight in self._sparse:
            if weight.grad is not None:  # dense where the network reads the table in other ways than by look-up, too
                weight.grad = (weight.grad if weight.grad.is_sparse else weight.grad.to_sparse(1)).coalesce()
        gradients = [weight.grad for weight in self._dense if weight.grad is not None]
        gradients += [weight.grad.values() for weight in self._sparse if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if gradients and (norm.device.type != "cpu" or not norm <= max_norm):  # saves a pass over all of them
            torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def step(self, learning_rate: float) -> None:
        """Update all weights by their gradients."""
        with torch.no_grad():
            for weight in self._sparse if self._l2 else []:
                if weight.grad is not None:
                    read = weight.grad.indices()[0]
                    weight[read] = weight[read] * (1 - learning_rate * self._l2)
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            optimiser.step()

    def release(self) -> None:
        """Clear the network's gradients and restore its tables' settings."""
        self.zero()
        for table in self._tables:
            table.sparse = False

    def state(self) -> dict[str, Tensor]:
        """Return Adam's averages and step counts, by "optimiser.parameter.name" with numbers of the first two."""
        return {
            f"{n}.{parameter}.{name}": torch.as_tensor(value)
            for n, optimiser in enumerate(self._optimisers)
            for parameter, values in optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a `state` of a network of the same form."""
        for n, optimiser in enumerate(self._optimisers):
            restored = optimiser.state_dict()
            for key, value in tensors.items():
                number, parameter, name = key.split(".")
                if int(number) == n:
                    is_count = name == "step" and isinstance(optimiser, torch.optim.SparseAdam)
                    restored["state"].setdefault(int(parameter), {})[name] = int(value) if is_count else value
            optimiser.load_state_dict(restored)


def _large(table: nn.Module) -> bool:
    return isinstance(table, nn.Embedding) and table.weight.numel() >= LARGE and not table.scale_grad_by_freq
