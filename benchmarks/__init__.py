"""Benchmarks: pasand beside its peers, in one run, against a stated limit; one file each."""
