"""Serving: a bundle as an HTTP service; each process responds on one thread, to batches of simultaneous requests."""
