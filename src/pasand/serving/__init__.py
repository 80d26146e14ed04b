"""Serving: a bundle as an HTTP service; one process answers on one thread, in groups of what arrives together."""
