"""Slow tests, by file and name: `make test` runs them; CI, which has fifteen minutes on two cores, leaves them out."""

from __future__ import annotations

SLOW = (
    "audit/test_audit.py::",
    "cli/test_commands.py::test_ctrl_c_",
    "data/encoding/test_catalogue.py::test_the_catalogue_is_all",
    "data/encoding/test_encode.py::test_batches_of_any_size_agree_with_plain_python",
    "evaluation/test_all_compare.py::",
    "evaluation/test_failures.py::test_a_crash_of_the_process_costs_one_row",
    "evaluation/test_hybrid_parts.py::test_o",
    "examples/test_from_scratch.py::",
    "index/test_inverted_lists.py::test_product_codes_are_smaller",
    "metrics/test_accuracy.py::test_equal_to_ranx",
    "models/rankers/test_contextual.py::test_graphs_score_as_torch_does",
    "models/rankers/test_ranker.py::test_a_graph_scores_as_torch_does",
    "models/rankers/test_ranker.py::test_ratings_are_predicted",
    "models/test_contract.py::test_one_seed_gives_one_model",
    "models/test_contract.py::test_personal_models_beat_popularity",
    "models/test_foreign_state.py::",
    "reranking/test_exposure_over_requests.py::",
    "reranking/test_fair_topk.py::test_a_rule_with_a_significance",
    "test_export.py::test_graphs_embed_queries_as_torch_does",
    "test_foreign_bundle.py::test_saves_at_the_same_time_leave_the_bundle_whole",
    "test_without_torch.py::test_every_ranker",
)
"""Beginnings of the names of slow tests, below this folder."""
