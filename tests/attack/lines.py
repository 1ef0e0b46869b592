"""Every line of the specification of robustness (threats, bad inputs) and every attack from the field: what tests it.

An entry names test functions as pytest does, or, after `case:`, inputs of `test_bad_inputs.CASES`. Run as a program it
prints the tests that `make attack` runs beside its own folders.
"""

from __future__ import annotations

from collections.abc import Mapping

BAD, THREATS = "tests/attack/test_bad_inputs.py", "tests/attack/test_threats.py"
SERVER, OPENAI, CHAIN = "tests/server/test_robustness.py", "tests/server/test_openai.py", "tests/server/test_chain.py"
FIELDS = f"{OPENAI}::test_wrong_fields_are_named"

BAD_INPUTS: Mapping[int, tuple[str, ...]] = {
    # the command line and plans
    1: ("case:no_such_config",),
    2: ("case:empty_config",),
    3: ("case:yaml_syntax",),
    4: ("case:python_tag",),
    5: ("case:duplicate_key",),
    6: ("case:unknown_key",),
    7: ("case:unknown_method",),
    8: ("case:density_of_one_and_a_half",),
    9: ("case:weights_that_sum_to_nothing",),
    10: ("case:one_model_for_slerp", "case:three_models_for_slerp"),
    11: ("case:no_base",),
    12: ("case:output_is_an_input",),
    13: ("case:output_exists",),
    14: (f"{BAD}::test_a_full_disk_is_told_and_leaves_nothing",),
    15: (
        f"{BAD}::test_an_interrupt_is_clean",
        "tests/e2e/test_merge.py::test_killed_and_started_again_it_gives_the_same_bytes",
    ),
    # checkpoints
    16: ("case:no_folder",),
    17: ("case:no_config", "case:config_is_no_json", "case:unknown_model_type"),
    18: ("case:truncated",),
    19: ("case:no_bytes",),
    20: ("case:header_longer_than_the_file", "case:header_of_two_to_the_63"),
    21: ("case:bytes_that_are_not_the_shape",),
    22: ("case:negative_shape", "case:shape_that_overflows"),
    23: (
        *("case:map_that_leads_out", "case:map_with_an_absolute_path", "case:map_with_a_link_that_leads_out"),
        *("case:map_to_a_file_of_the_system", "case:map_to_a_drive", "case:map_with_a_nul"),
    ),
    24: ("case:pickles_alone", "case:a_pickle_that_runs_code"),
    25: ("case:weights_that_are_no_numbers",),
    26: ("case:tensors_of_another_shape",),
    27: ("case:another_architecture", "case:another_vocabulary", "case:another_tokenizer"),
    28: ("case:adapter_of_another_base", "case:adapter_of_another_rank", "case:adapter_without_a_base"),
    29: ("case:remote_code",),
    30: (f"{BAD}::test_a_path_of_any_letters_works", f"{BAD}::test_bytes_that_are_no_text_work_as_a_path"),
    # the server
    31: (f"{SERVER}::test_31_what_is_no_json_object", f"{SERVER}::test_31_another_content_type"),
    32: (f"{SERVER}::test_32_a_body_that_is_too_long_is_refused_before_it_comes",),
    33: (f"{SERVER}::test_33_34_are_in_test_openai",),
    34: (FIELDS, f"{SERVER}::test_33_34_are_in_test_openai"),
    35: (
        f"{OPENAI}::test_beyond_the_window",
        f"{SERVER}::test_35_a_prompt_that_no_member_can_read_is_the_requests_fault",
    ),
    36: (FIELDS, f"{SERVER}::test_36_48_the_least_there_is"),
    37: (FIELDS,),
    38: (FIELDS, f"{SERVER}::test_huge_numbers_are_400_by_name", f"{SERVER}::test_31_what_is_no_json_object"),
    39: (FIELDS,),
    40: (FIELDS,),
    41: (FIELDS, f"{SERVER}::test_41_strange_texts"),
    42: (f"{SERVER}::test_42_strange_heads",),
    43: (f"{SERVER}::test_43_a_client_that_leaves",),
    44: (f"{SERVER}::test_44_a_slow_client",),
    45: (f"{SERVER}::test_45_more_requests_than_the_queue_holds",),
    46: (f"{SERVER}::test_46_every_route_but_health_wants_the_key",),
    47: (f"{SERVER}::test_47_wrong_methods_and_paths",),
    48: (f"{SERVER}::test_36_48_the_least_there_is",),
    49: (
        f"{SERVER}::test_49_a_member_that_is_down_is_dropped_and_named",
        f"{SERVER}::test_49_a_member_that_hangs_is_dropped_at_its_time_and_named",
        f"{SERVER}::test_49_one_model_that_hangs_is_a_504_within_the_deadline",
        f"{CHAIN}::test_49_an_endpoint_that_misbehaves",
        f"{CHAIN}::test_49_a_stream_that_says_done_twice",
        "tests/models/remote/test_faults.py::test_a_misbehaving_endpoint",
    ),
    50: (f"{SERVER}::test_50_all_members_down",),
    51: ("case:a_port_in_use", f"{SERVER}::test_51_a_port_in_use"),
    # data, evaluation, runs
    52: ("case:empty_task",),
    53: ("case:one_bad_line",),
    54: ("case:no_prompt_column",),
    55: ("tests/cli/test_wrong_inputs.py::test_warnings_follow_a_run_and_never_a_refusal",),
    56: ("tests/report/test_page.py::test_no_text_breaks_out",),
    57: (
        *("case:damaged_journal", "case:results_of_an_older_schema"),
        "tests/core/test_journal.py::test_F19_a_second_process_is_refused_by_name",
    ),
    58: ("tests/knowledge/test_tables.py::test_attacks_are_refused",),
}

BY_THREAT: Mapping[str, tuple[str, ...]] = {
    "pickle checkpoints": ("case:pickles_alone", "case:a_pickle_that_runs_code"),
    "remote code": ("case:remote_code", "tests/cli/test_wrong_inputs.py::test_code_that_a_task_names_needs_consent"),
    "path traversal": (
        *BAD_INPUTS[23],
        "case:tokenizer_linked_from_outside",
        "tests/weights/disk/test_folder.py::test_a_snapshot_of_the_hubs_cache_links_into_its_own_blobs",
    ),
    "header bombs": (
        *("case:header_of_99_megabytes", "case:header_of_a_million_tensors", "case:header_of_two_to_the_63"),
        f"{THREATS}::test_a_header_bomb_takes_neither_time_nor_memory",
        "tests/weights/disk/test_header.py::test_a_header_bomb_is_refused_in_little_memory",
    ),
    "NaN/Inf poisoning": (
        f"{THREATS}::test_a_member_whose_logits_are_no_numbers_is_named_and_no_nan_is_written",
        "tests/ensemble/test_broken_members.py::test_a_broken_member_is_left_out_with_a_note",
        "tests/core/test_files.py::test_nan_is_not_json",
    ),
    "archives": ("case:an_archive_is_no_model", "case:an_archive_is_no_task"),
    "YAML": ("case:python_tag", "case:duplicate_key", "case:a_plan_of_two_megabytes"),
    "SSRF": (
        *("case:an_endpoint_of_the_clouds_own", "case:an_endpoint_that_is_a_file"),
        FIELDS,
        "tests/models/remote/test_remote.py::test_urls_that_are_no_endpoints",
        f"{CHAIN}::test_49_an_endpoint_that_misbehaves",
    ),
    "secrets": (
        f"{THREATS}::test_a_key_is_in_no_file_and_no_output",
        f"{SERVER}::test_46_every_route_but_health_wants_the_key",
        "tests/field/test_endpoints.py::test_E8_the_key_is_hidden_before_a_text_is_cut",
    ),
    "prompt injection": (
        "tests/cooperate/retrieve/test_injection.py::test_a_planted_document_stays_inside_its_block",
        "tests/models/tokens/test_tokenizer.py::test_control_tokens_come_from_the_template_alone",
    ),
    "template injection": (
        *("case:a_template_that_reaches_out", "case:a_template_of_a_thousand_million_steps"),
        "case:a_template_without_end",
    ),
    "SQL injection": (
        "tests/knowledge/test_tables.py::test_attacks_are_refused",
        "tests/knowledge/test_tables.py::test_the_clock_stops_what_takes_too_long",
        "tests/knowledge/test_tables.py::test_duckdb_reads_and_reaches_nothing_else",
    ),
    "XSS": (
        "tests/report/test_page.py::test_no_text_breaks_out",
        "tests/server/test_page.py::test_files_have_a_policy_and_no_inline_code",
    ),
    "denial of service": (
        f"{SERVER}::test_45_more_requests_than_the_queue_holds",
        f"{SERVER}::test_32_a_body_that_is_too_long_is_refused_before_it_comes",
        f"{SERVER}::test_a_bad_request_changes_nothing_of_good_ones",
    ),
    "open bind": (
        "case:a_host_that_all_reach",
        f"{SERVER}::test_46_a_host_that_others_reach_needs_a_key",
        f"{SERVER}::test_foreign_hosts_and_origins",
    ),
    "byzantine clients": (
        "tests/federate/test_aggregators.py::test_two_liars_of_nine",
        "tests/federate/test_aggregators.py::test_robust_rules_equal_brute_force",
    ),
    "generated code": (
        "tests/evaluate/test_code.py::test_hostile_programs_are_contained",
        "tests/evaluate/test_code.py::test_time_is_bounded",
        "tests/evaluate/test_code.py::test_the_environment_is_empty_and_the_folder_its_own",
    ),
    "tampered models": (
        "case:an_index_that_was_changed",
        "tests/weights/disk/test_store.py::test_a_changed_input_starts_anew",
    ),
    "cache poisoning": (
        "tests/models/hf/test_products.py::test_a_damaged_table_is_measured_anew",
        "tests/field/test_bytes.py::test_B10_tables_are_kept_on_disk",
        "tests/field/test_search.py::test_F20_changed_digits_in_the_journal_are_computed_again",
    ),
    "temp races": (
        "case:output_is_a_link",
        "tests/weights/disk/test_store.py::test_a_planted_link_is_not_followed",
        "tests/server/test_operations.py::test_keys_of_a_file",
    ),
    "side services": (
        f"{THREATS}::test_a_server_listens_on_loopback_only",
        "tests/search/test_ray.py::test_a_cluster_of_its_own_is_on_the_loopback_address",
    ),
}
"""In the order of the specification, by the first words of each line."""

NEWCOMERS, SANDBOX, WEIGHTS = (f"tests/field/test_{name}.py" for name in ("newcomers", "sandbox", "weights"))
FROM_THE_FIELD: Mapping[str, tuple[str, ...]] = {
    "F1": (f"{NEWCOMERS}::test_F1_names_that_double_are_read_once_and_refused_where_they_grow_without_end",),
    "F2": (f"{NEWCOMERS}::test_F2_a_chain_of_5000_names_is_the_users_mistake",),
    "F3": (f"{NEWCOMERS}::test_F3_more_inputs_than_were_meant_are_refused_at_once",),
    "F4": (
        "tests/field/test_terminal.py::test_F4_errors_show_what_is_strange",
        "tests/field/test_terminal.py::test_F4_tables_notes_labels_and_documents",
        f"{WEIGHTS}::test_F4_control_characters_in_names_are_visible_in_the_card",
    ),
    "F5": (
        "tests/field/test_evaluate.py::test_F5_whatever_a_users_metric_raises_is_named",
        "tests/field/test_evaluate.py::test_F5_on_the_command_line",
    ),
    "F6": (f"{WEIGHTS}::test_F6_types_of_the_configuration",),
    "F7": ("tests/runs/test_status.py::test_F7_costs_are_under_their_own_models_and_a_resumed_run_is_the_same",),
    "F8": ("tests/field/test_terminal.py::test_F8_what_paths_and_headers_show_is_refused_before_torch",),
    "F10": ("tests/field/test_search.py::test_F10_a_length_for_each_coordinate_finds_the_minimum_of_branin",),
    "F11": (f"{SANDBOX}::test_F11_to_F14_no_program_gets_out",),
    "F12": (f"{SANDBOX}::test_F12_nothing_is_sent_to_a_socket_outside",),
    "F13": (
        f"{SANDBOX}::test_F13_any_folder_is_measured_and_removed",
        f"{SANDBOX}::test_F13_an_error_while_measuring_counts_as_full",
    ),
    "F14": (f"{SANDBOX}::test_F14_paths_outside_do_not_exist_where_there_are_namespaces",),
    "F15": (f"{WEIGHTS}::test_F15_adapters_with_impossible_values", f"{WEIGHTS}::test_F15_patterns_that_are_none"),
    "F16": (f"{WEIGHTS}::test_F16_code_of_a_stranger_is_left_out_and_told",),
    "F17": (
        "tests/field/test_evaluate.py::test_F17_a_huge_sparse_file_is_refused_in_the_first_read",
        "tests/field/test_tables.py::test_F17_a_sparse_or_huge_table_is_refused_in_the_first_read",
    ),
    "F18": (f"{WEIGHTS}::test_F18_weights_that_overflow",),
    "F19": (
        "tests/core/test_journal.py::test_F19_a_second_process_is_refused_by_name",
        "tests/runs/test_status.py::test_F19_a_running_one_is_running_and_a_second_is_refused",
    ),
    "F20": (
        "tests/core/test_journal.py::test_F20_a_changed_line_is_not_believed",
        "tests/field/test_search.py::test_F20_changed_digits_in_the_journal_are_computed_again",
    ),
}

LINES: Mapping[str, tuple[str, ...]] = {
    **{f"threat: {name}": tests for name, tests in BY_THREAT.items()},
    **{f"bad input {number}": tests for number, tests in BAD_INPUTS.items()},
    **FROM_THE_FIELD,
}
RUN_WHOLE = ("tests/attack/", "tests/field/", "tests/models/remote/", SERVER)
"""What `make attack` runs whole; other tests it runs by their names."""


def elsewhere() -> list[str]:
    """The tests of lines that lie outside what is run whole."""
    named = {test for tests in LINES.values() for test in tests if not test.startswith("case:")}
    return sorted(test for test in named if not test.startswith(RUN_WHOLE))


if __name__ == "__main__":
    print(*elsewhere())
