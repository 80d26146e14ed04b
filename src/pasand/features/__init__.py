"""Features of queries and items as arrays that towers and rankers read; needs no torch."""
