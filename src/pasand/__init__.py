"""pasand: from an interaction log to a recommender that is honestly evaluated, fair by policy and fast."""

__version__ = "0.1.0"
