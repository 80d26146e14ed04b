"""Conversion of weights that packages ship into ONNX graphs, one model per file; `pasand fetch` runs them once."""
