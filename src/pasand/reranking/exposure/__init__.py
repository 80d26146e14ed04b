"""Exposure of groups and providers over many requests, and in expectation over draws."""
