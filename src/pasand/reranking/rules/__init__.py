"""Rules on lists: item groups, bounds, and the exact methods that keep them, one per file."""
