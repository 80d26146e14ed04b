"""Classical collaborative filtering and content models."""
