"""What was cut from a prompt stands struck through beside the answer, and is text whatever it says."""

from __future__ import annotations

from consort.report.views.compression import compression

FOUND = {"compressor": "first", "roles": "lines", "tokens_before": 9, "tokens_after": 4}


def test_cut_text_is_struck_through_and_escaped():
    shown = compression(None, {**FOUND, "shown": [["kept ", True], ["<img src=x onerror=1>", False]]})
    assert "first: 4 of 9 tokens (lines)" in shown
    assert "<del" in shown and "&lt;img src=x onerror=1&gt;" in shown and "<img" not in shown
    assert shown.index("kept ") < shown.index("<del")


def test_prompts_with_nothing_to_shorten():
    assert "nothing to shorten (no context)" in compression(None, {"compressor": "first", "roles": "no context"})


def test_long_prompts_are_cut():
    shown = compression(None, {**FOUND, "shown": [["x" * 3000, True], ["y" * 10, False]]})
    assert shown.count("x") < 2100 and "y" * 10 not in shown
