"""Features of queries and items as arrays for towers and rankers; needs no torch."""
