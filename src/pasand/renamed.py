"""Earlier names of classes, options and option values in recipes; an old name is refused with the new one.

Names as of version 0.1.0 are on the right.
"""

from __future__ import annotations

RENAMED_CLASSES = {
    f"pasand.models.{name}": f"pasand.models.{folder}.{name}"
    for folder, names in {
        "classical": (
            "content:Content",
            "ease:EASE",
            "ials:IALS",
            "item_knn:ItemKNN",
            "popularity:Popularity",
            "random:Random",
            "slit:SLIT",
            "user_knn:UserKNN",
        ),
        "rankers": (
            "dcn:DCN",
            "deepfm:DeepFM",
            "fm:FM",
            "gmf:GMF",
            "mlp:MLP",
            "neumf:NeuMF",
            "wide_deep:WideDeep",
            "youtube_ranking:YouTubeRanking",
        ),
        "ratings": ("bayesian_fm:BayesianFM", "bayesian_mf:BayesianMF", "biased_mf:BiasedMF"),
        "towers": (
            "bert4rec:BERT4Rec",
            "bpr_mf:BPRMF",
            "sasrec:SASRec",
            "two_tower:TwoTower",
            "youtube:YouTube",
        ),
    }.items()
    for name in names
}
"""New class path by old class path."""

RANKERS = ("DCN", "DeepFM", "FM", "WideDeep", "YouTubeRanking")
"""Classes of `pasand.models.rankers` that are a `ContextualRanker`."""
NCF = ("GMF", "MLP", "NeuMF")
"""Classes of `pasand.models.rankers` that are a `NeuralCF`."""

RENAMED_KEYS: dict[str, dict[str, str]] = {
    **{name: {"positions": "position_bias", "strangers": "id_dropout"} for name in RANKERS},
    "BERT4Rec": {"hidden": "mask_share", "last": "mask_last_share", "max_length": "history_length"},
    "BayesianFM": {"bands": "bins", "noise": "degrees_of_freedom"},
    "BiasedMF": {"validation": "validation_share"},
    "Boosted": {
        "candidates": "n_candidates",
        "drawn": "negatives",
        "questions": "examples",
        "share": "holdout_share",
        "smallest": "min_leaf_examples",
    },
    "Content": {"half_life": "half_life_days"},
    "DCN": {"crosses": "cross_layers", "positions": "position_bias", "strangers": "id_dropout"},
    "HNSW": {"build_effort": "ef_construction", "recall_wanted": "target_recall"},
    "IALS": {"init_scale": "init_norm", "unobserved": "unobserved_weight"},
    "IVF": {"recall_wanted": "target_recall"},
    "ItemKNN": {"decay": "history_decay"},
    "Merge": {"constant": "rank_constant"},
    "Recommender": {"width": "n_candidates"},
    "SASRec": {"ahead": "horizon", "fading": "horizon_decay", "max_length": "history_length"},
    "SLIT": {"ahead": "horizon_decay_length", "before": "history_decay_length"},
    "Switch": {"known": "warm", "least": "min_history", "new": "cold"},
    "TwoTower": {"bands": "bins", "draw": "negative_sampling"},
    "YouTube": {"bands": "bins", "others": "use_other_events"},
}
"""New option by old option, of each class by name."""

RENAMED_VALUES: dict[str, dict[str, dict[object, object]]] = {
    **{name: {"objective": {"taken": "clicked"}} for name in RANKERS},
    **{name: {"objective": {"likings": "positives"}} for name in NCF},
}
"""New value by old value, of each option of each class by name."""
