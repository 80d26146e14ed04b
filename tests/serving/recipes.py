"""Recipes for the tests of serving, without torch: one scores items by features, one has onboarding, one an index."""

CONTENT = """
[content]
class = "pasand.models.classical.content:Content"

[popular]
class = "pasand.models.classical.popularity:Popularity"
half_life_days = {days}

[from_content]
class = "pasand.stages.retrieval:FromModel"
model = "@content"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_content", "@from_popular"]

[seen]
class = "pasand.stages.filtering:DropSeen"

[recommender]
class = "pasand.recommender:Recommender"
filters = ["@seen"]
retriever = "@fallback"
"""

ADAPTIVE = CONTENT.format(days=30).replace(
    "[seen]",
    """[onboarding]
class = "pasand.stages.onboarding:Onboarding"
retriever = "@fallback"
depth = 3
n_users = 200
n_candidates = 20
columns = ["language", "genres"]

[seen]""",
)

INDEXED = """
[ials]
class = "pasand.models.classical.ials:IALS"

[exact]
class = "pasand.index.exact:Exact"

[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_ials]
class = "pasand.stages.retrieval:FromIndex"
model = "@ials"
index = "@exact"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_ials", "@from_popular"]

[recommender]
class = "pasand.recommender:Recommender"
filters = []
retriever = "@fallback"
"""
