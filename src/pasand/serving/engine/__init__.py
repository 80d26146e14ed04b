"""Engine: turns requests into recommendations, with batching, variants and home rows."""
