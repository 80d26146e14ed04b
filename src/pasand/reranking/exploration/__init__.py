"""Exploration: the distributions that random slots draw from, one per file, and their exact probabilities."""
