"""pasand, a recommender system library: from interaction logs to evaluated, explained and served recommendations."""

__version__ = "0.1.0"
