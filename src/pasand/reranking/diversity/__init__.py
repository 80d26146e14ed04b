"""Diversity: stages that choose items one by one, each less what it repeats."""
