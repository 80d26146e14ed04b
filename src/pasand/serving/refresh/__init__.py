"""Scheduled refresh: gathers new training data, refits, tests acceptance, publishes."""
