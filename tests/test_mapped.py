"""Memory-mapped files: the arrays equal those that safetensors reads, and writes stay in the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pasand import mapped
from pasand.types import Array

RNG = np.random.default_rng(0)
ARRAYS: dict[str, Array] = {
    **{np.dtype(kind).name: RNG.integers(0, 2, (3, 5)).astype(kind) for kind in mapped.DTYPES.values()},
    "odd": np.arange(7, dtype=np.uint8),
    "nothing": np.empty((0, 4), np.float32),
    "one": np.array(3, np.int64),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(ARRAYS, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_every_type_and_shape_is_restored(file: Path) -> None:
    found, known = mapped.arrays(file), load_file(file)
    assert set(found) == set(known) == set(ARRAYS)
    for name, values in known.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values)
        assert found[name].shape == values.shape
        assert found[name].flags.aligned
        assert found[name].flags.c_contiguous


def test_writes_do_not_reach_the_file(file: Path) -> None:
    before, found = file.read_bytes(), mapped.arrays(file)
    found["float32"][:] = 9
    assert file.read_bytes() == before
    assert np.array_equal(mapped.arrays(file)["float32"], ARRAYS["float32"])


def test_a_file_that_is_replaced_stays_as_it_was_to_who_read_it(file: Path) -> None:
    found = mapped.arrays(file)
    save_file({"float32": np.zeros(3, np.float32)}, file.with_name("b"))
    file.with_name("b").replace(file)
    assert np.array_equal(found["float32"], ARRAYS["float32"])


@pytest.mark.parametrize("content", [(1000).to_bytes(8, "little") + b"{}", b"\0" * 8])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=r"truncated|Expecting value"):
        mapped.arrays(tmp_path / "a")
