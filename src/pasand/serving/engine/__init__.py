"""Turns requests into recommendations: batching, variants, home rows."""
