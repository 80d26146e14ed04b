"""Evaluation metrics, one file for each family."""
