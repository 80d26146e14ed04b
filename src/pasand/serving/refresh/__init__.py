"""Scheduled refresh: gathers training data, trains again, tests acceptance, publishes."""
