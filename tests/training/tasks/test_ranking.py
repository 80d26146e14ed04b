"""The ranking task with id dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.logs import tastes

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("id_dropout", [0.0, 0.3])
def test_a_share_of_the_users_and_of_the_items_is_dropped(id_dropout: float) -> None:
    from pasand.models.rankers.fm import FM

    data = tastes()
    model = FM(epochs=1, patience=0, id_dropout=id_dropout).fit(data, rng=np.random.default_rng(0))
    network = model._build()
    task = model._task(data, network, torch.device("cpu"))
    seen: list[dict[str, Any]] = []
    rank = network.rank

    def recording(inputs: dict[str, Any]) -> Any:
        seen.append(inputs)
        return rank(inputs)

    network.rank = recording
    batch = torch.arange(2000) % 400
    undropped = task.inputs(batch)  # type: ignore[attr-defined]
    task.loss(batch, torch.Generator())
    for name, values in seen[0].items():
        dropped = (values != undropped[name]).any(dim=1)
        assert torch.equal(values[~dropped], undropped[name][~dropped])
        assert not values[dropped].any()
        share = id_dropout if name in ("user", "item") else 0
        assert float(dropped.float().mean()) == pytest.approx(share, abs=0.04 if share else 0), name


def test_the_share_must_be_below_one() -> None:
    from pasand.models.rankers.fm import FM

    with pytest.raises(ValueError, match="id_dropout must be at least 0 and below 1, got 1"):
        FM(id_dropout=1)
