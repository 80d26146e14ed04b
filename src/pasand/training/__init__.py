"""Training of deep models: one loop, with tasks (batches and loss), losses and negative samplers as separate modules.

Most modules import torch at the top, so models import them where they train. Without torch work `calibration`,
`checkpoints`, `onnx_graphs`, `ranking_examples` and `validation`.
"""
