"""Evaluation protocols: what is train, what is asked, what is true. A file is a protocol, found by its name."""
