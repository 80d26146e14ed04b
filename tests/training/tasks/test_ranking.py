"""What a ranker's network is told of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.logs import tastes

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("strangers", [0.0, 0.3])
def test_some_users_and_some_items_are_not_told(id_dropout: float) -> None:
    from pasand.models.rankers.fm import FM

    data = tastes()
    model = FM(epochs=1, patience=0, id_dropout=id_dropout).fit(data, rng=np.random.default_rng(0))
    network = model._build()
    task = model._task(data, network, torch.device("cpu"))
    told: list[dict[str, Any]] = []
    rank = network.rank

    def listening(inputs: dict[str, Any]) -> Any:
        told.append(inputs)
        return rank(inputs)

    network.rank = listening
    batch = torch.arange(2000) % 400
    whole = task.inputs(batch)  # type: ignore[attr-defined]
    task.loss(batch, torch.Generator())
    for name, values in told[0].items():
        hidden = (values != whole[name]).any(dim=1)
        assert torch.equal(values[~hidden], whole[name][~hidden])
        assert not values[hidden].any()
        share = id_dropout if name in ("user", "item") else 0
        assert float(hidden.float().mean()) == pytest.approx(share, abs=0.04 if share else 0), name


def test_a_share_below_one_is_wanted() -> None:
    from pasand.models.rankers.fm import FM

    with pytest.raises(ValueError, match="strangers must be at least 0 and below 1, got 1"):
        FM(id_dropout=1)
