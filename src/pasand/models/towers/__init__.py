"""Deep retrieval models: scores are inner products of a query vector and an item vector."""
