"""Counterfactual evaluation: what another policy would have earned, by a log with known probabilities."""
