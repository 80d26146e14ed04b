"""Vector indexes for maximum inner product search, one file for each kind."""
