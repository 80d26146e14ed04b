"""Indexes of item vectors, one file each."""
