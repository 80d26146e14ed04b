"""A log becomes a `Dataset`: rows instead of ids, columns instead of objects."""
