"""Closed loops: what recipes do to a simulated market when they learn from what they have shown."""
