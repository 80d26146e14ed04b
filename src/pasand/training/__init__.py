"""Training of deep models: one loop, and losses, negatives and batches as separate parts.

`tower.py` is what a model file inherits and needs no torch; everything else here imports it at the top, so it is
imported where a model is trained.
"""
