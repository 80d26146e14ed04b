"""Components of a recommender: retrievers, filters, and stages that rank or combine."""
