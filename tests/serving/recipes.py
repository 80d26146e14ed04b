"""A recipe for the tests of what is served: it knows new items by their features, and needs no torch."""

CONTENT = """
[content]
class = "pasand.models.content:Content"

[popular]
class = "pasand.models.popularity:Popularity"
half_life_days = {days}

[from_content]
class = "pasand.stages.retrieval:FromModel"
model = "@content"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[ladder]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_content", "@from_popular"]

[seen]
class = "pasand.stages.filtering:DropSeen"

[recommender]
class = "pasand.recommender:Recommender"
filters = ["@seen"]
retriever = "@ladder"
"""
