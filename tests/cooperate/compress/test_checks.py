"""Where each acceptance check of prompt compression is tested: a test that goes, or is renamed, is missed here."""

from __future__ import annotations

from pathlib import Path

import pytest

from consort.testing import compressor_laws

HERE = Path(__file__).parent
CHECKS = {
    1: ["rate_one_is_the_text_itself", "rate_zero_leaves_what_is_not_context"],
    2: ["the_budget_is_met", "test_the_budget_is_met_to_a_token", "test_the_budget_of_long_texts"],
    3: ["test_a_planted_surprise_survives", "test_the_trap_catches_a_filter_that_is_off_by_one"],
    4: ["test_by_hand"],
    5: ["test_segments_read_after_what_is_kept_of_the_text"],
    6: ["test_a_batch_of_texts_is_each_text_alone", "test_windowed_scores_are_the_whole_ones_within_a_window"],
    7: ["kept_spans_are_the_text", "graphemes_stay_whole", "test_spans_make_the_text"],
    8: [
        "test_the_document_with_the_answer_ranks_first",
        "test_budgets_of_documents_are_the_whole",
        "test_a_scorer_that_does_not_hear_the_question_finds_no_contrast",
        "test_original_phrases_come_back",
        "test_what_does_not_match_is_left_alone",
    ],
    9: [
        "test_words_are_merged_as_a_loop_would",
        "test_merging_is_twenty_times_a_loop",
        "test_forced_words_and_digits_stay",
        "test_weighted_percentile_is_numpys_on_expanded_data",
    ],
    10: ["test_bm25_scores_are_those_of_retrieval", "test_an_empty_summary_leaves_nothing_behind"],
    11: ["test_contiguous_groups_are_the_best_there_are", "test_communities_are_seeded"],
    12: ["test_the_prompt_is_reached_through_the_gists_alone", "test_a_cached_gist_is_the_masked_whole"],
    13: [
        "test_summaries_add_up_and_gradients_reach_two_segments",
        "test_the_encoder_without_lora_is_the_reader",
        "test_learning_leaves_the_reader_and_saves_what_was_added",
    ],
    14: ["test_a_soft_prompt_is_for_one_reader", "test_a_killed_training_comes_to_the_same_weights"],
    15: ["test_what_follows_is_likelier_after_selection_than_after_chance"],
}


@pytest.mark.parametrize("number", range(1, 16))
def test_every_check_has_its_tests(number):
    laws = {law.__name__ for law in compressor_laws.LAWS}
    texts = "".join(file.read_text("utf-8") for file in HERE.glob("test_*.py") if file.name != Path(__file__).name)
    missing = [name for name in CHECKS[number] if name not in laws and f"def {name}(" not in texts]
    assert not missing
