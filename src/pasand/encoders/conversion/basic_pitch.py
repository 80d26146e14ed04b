"""basic-pitch (Bittner et al. 2022): the ONNX graph that the package ships, as it is."""

from __future__ import annotations

from pathlib import Path

PACKAGE, FILE = "basic_pitch", "saved_models/icassp_2022/nmp.onnx"


def files(source: Path) -> dict[str, bytes]:
    """Return the files of the prepared model by name."""
    return {"model.onnx": source.read_bytes()}
