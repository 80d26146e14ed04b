"""Simulated platforms with known truth: users, items, and how users choose what they watch."""
