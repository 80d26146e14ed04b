"""Benchmarks of pasand, one file each: figures against stated limits, and against peers measured in the same run."""
