"""Where each acceptance check of federation is tested: a test that goes, or is renamed, is missed here."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CHECKS = {
    1: ["test_one_step_of_equal_shards_is_a_centralised_step", "test_switched_off_they_are_fedavg_to_the_bit"],
    2: ["test_scaffold_and_feddyn_find_the_common_minimum_and_fedavg_does_not"],
    3: ["test_adaptive_rules_equal_numpy", "test_values_by_hand"],
    4: ["test_folder_workers_and_order_change_nothing", "test_one_client_with_all_the_weight_is_taken_to_the_bit"],
    5: ["test_robust_rules_equal_brute_force", "test_two_liars_of_nine"],
    6: [
        "test_products_stay_exact_over_rounds",
        "test_svd_is_the_best_product_of_its_rank",
        "test_averaged_factors_are_wrong_and_one_fixed_factor_makes_them_right",
        "test_clients_of_other_ranks_and_scales",
    ],
    7: [
        "test_the_masked_sum_is_the_plain_sum_whoever_leaves",
        "test_one_masked_change_is_uniform",
        "test_weights_cannot_overflow",
        "test_a_party_shows_one_secret_of_each_and_only_once",
    ],
    8: ["test_ten_full_rounds_of_noise_one", "test_noise_has_the_spread_it_says_it_has", "test_published_values"],
    9: ["test_killed_at_twenty_moments", "test_killed_at_twenty_moments_over_http"],
    10: [
        "test_of_each_text_the_party_of_the_lowest_loss_teaches",
        "test_one_tokenizer_is_aligned_with_itself_and_all_tokens_give_the_dense_row",
        "test_a_token_called_total_maps_to_itself",
        "test_a_hundred_thousand_tokens_align_at_once",
        "test_rounds_resume_and_a_party_alone_learns_from_itself",
    ],
    11: ["test_prompts_are_averaged_and_the_base_stays", "test_a_prompt_of_sixteen_vectors_is_128_kibibytes"],
    12: [
        "test_ten_thousand_round_trips",
        "test_a_thousand_planted_secrets_in_all_their_spellings",
        "test_a_gate_that_fails_sends_nothing",
        "test_one_thing_has_one_number_over_twenty_turns",
        "test_every_split_of_a_placeholder_over_two_chunks",
    ],
    13: ["test_alpha_goes_from_one_label_to_an_even_mixture"],
}


@pytest.mark.parametrize("number", range(1, 14))
def test_every_check_has_its_tests(number: int) -> None:
    files = [*(TESTS / "federate").rglob("test_*.py"), *(TESTS / "cooperate" / "private").glob("test_*.py")]
    texts = "".join(file.read_text("utf-8") for file in files if file.name != Path(__file__).name)
    assert not [name for name in CHECKS[number] if f"def {name}" not in texts]
