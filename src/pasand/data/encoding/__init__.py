"""Encodes logs of any source as datasets: column roles, cells, feature kinds, dropped rows, impressions."""
