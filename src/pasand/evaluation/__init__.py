"""Evaluation: protocols, metrics with confidence intervals, comparison, tuning and the HTML report."""
