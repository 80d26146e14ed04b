"""What a recommender is put together from: retrievers, filters and stages."""
