"""Special cases of Milvus: connections, passwords in messages, and masks as filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.index import milvus
from pasand.index.milvus import Milvus
from tests import resources

VECTORS = np.random.default_rng(0).standard_normal((40, 4), dtype=np.float32)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with resources.milvus(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


def test_an_unreachable_server_is_named_without_its_password() -> None:
    index = Milvus(uri="http://root:secret@localhost:1")
    with pytest.raises(InputError, match=r"http://localhost:1: Milvus reports: .*Cure: check the server") as error:
        index.build(VECTORS, rng=np.random.default_rng(0))
    assert "secret" not in str(error.value)


def test_a_missing_collection_raises_an_error(uri: str, tmp_path: Path) -> None:
    index = Milvus(uri=uri, collection="gone").build(VECTORS, rng=np.random.default_rng(0))
    index.save(tmp_path / "file")
    assert Milvus(uri=uri).load(tmp_path / "file").search(VECTORS[:1], 1).items.tolist()
    index._call("drop_collection")
    with pytest.raises(InputError, match="no collection 'gone', which file names"):
        Milvus(uri=uri).load(tmp_path / "file")
    with pytest.raises(InputError, match="Milvus reports"):
        index.search(VECTORS[:1], 1)


def test_more_than_milvus_returns_raises_an_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Milvus(uri=uri, collection="most").build(VECTORS, rng=np.random.default_rng(0))
    monkeypatch.setattr(milvus, "MAX_RESULTS", 30)
    with pytest.raises(InputError, match=r"40 items for a query.*at most 30"):
        index.search(VECTORS[:1], 50)


def test_large_masks_go_in_parts(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Milvus(uri=uri, collection="parts").build(VECTORS, rng=np.random.default_rng(0))
    monkeypatch.setattr(milvus, "BATCH", 7)
    allowed = np.arange(40) % 2 == 0
    assert len(list(milvus._conditions(allowed))) == 3
    found = index.search(VECTORS[:3], 25, allowed=allowed[None])
    scores = np.where(allowed, VECTORS[:3] @ VECTORS.T, -np.inf)
    np.testing.assert_array_equal(found.items[:, :20], np.argsort(-scores, axis=1)[:, :20])
    assert (found.items[:, 20:] == -1).all()
