"""Interactions, features, impressions and vocabularies: a log as a `Dataset` of integer rows and columns."""
