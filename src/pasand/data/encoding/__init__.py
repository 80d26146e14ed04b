"""Turns logs as sources give them into datasets: column roles, cells, feature kinds, dropped rows."""
