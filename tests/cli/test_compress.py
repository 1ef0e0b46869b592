"""`consort compress`, as its user would call it."""

from __future__ import annotations

import io
import json
import sys

import pytest

TEXT = "Rain fell on the hills.\r\n\r\nThe key is under the stone. 👩‍👩‍👧\n\nWhere is the key?"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


def test_the_text_alone_goes_to_standard_output(consort, file):
    shown = consort("compress", file, "--compressor", "first", "--budget", "100%")
    assert shown.out == TEXT
    assert "words and marks" in shown.err
    shown = consort("compress", file, "--compressor", "bm25", "--prompt", "--budget", "12")
    assert shown.out.startswith("The key is under") and shown.out.endswith("Where is the key?")


def test_what_was_cut_is_shown(consort, file):
    out = consort("compress", file, "--compressor", "{extractive: {n: 1}}", "--prompt", "--show").out
    assert "[-Rain fell on the hills." in out and "The key is under the stone. -]" not in out


def test_json_and_a_scorer(consort, file):
    asked = "{selective: {scorer: 'lab:base', unit: word}}"
    found = json.loads(consort("compress", file, "--compressor", asked, "--tokens", "10", "--json").out)
    assert found["tokens_after"] <= 10 < found["tokens_before"]
    assert "".join(TEXT) != found["text"]


def test_a_plan_of_a_compressed_model(consort, file, tmp_path):
    plan = tmp_path / "plan.yml"
    plan.write_text("compressed: {model: lab:base, compressor: {first: {unit: sentence}}}\n")
    shown = consort("compress", file, "--compressor", plan, "--rate", "0.5")
    assert shown.code == 0 and "tokens" in shown.err and "words" not in shown.err


def test_standard_input(consort, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b c d\r\n")))
    assert consort("compress", "-", "--compressor", "last", "--tokens", "2").out == " c d\r\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--rate", "1.5"], "not a share"),
        (["--budget", "much"], "is no budget"),
        (["--tokens", "-1"], "cannot be kept"),
        (["--rate", "0.5", "--tokens", "3"], "--rate and --tokens"),
        (["--compressor", "frist"], "did you mean 'first'"),
        (["--compressor", "[1]"], "is no compressor"),
        (["--compressor", "{longllmlingua: {scorer: 'lab:base'}}"], "needs a question"),
        (["--compressor", "{first: {unit: line}}"], "unit"),
        (["--reader", "nowhere"], "does not exist"),
        (["--reader", ""], "is empty"),
        (["--compressor", "bm25", "--question", "  "], "needs a question"),
    ],
)
def test_wrong_inputs(refused, file, arguments, said):
    assert said in refused("compress", file, *arguments)


def test_wrong_files(refused, tmp_path):
    assert "no such file" in refused("compress", tmp_path / "none.txt")
    assert "is a folder" in refused("compress", tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "not UTF-8" in refused("compress", tmp_path / "latin.txt")


@pytest.mark.parametrize("budget", ["0", "0%"])
def test_a_budget_of_nothing_is_no_text(consort, file, budget):
    shown = consort("compress", file, "--budget", budget)
    assert (shown.code, shown.out) == (0, "")


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x00\x01\x1b" * 20, "", " \n"])
def test_odd_texts(consort, tmp_path, text):
    file = tmp_path / "odd.txt"
    file.write_text(text)
    shown = consort("compress", file, "--compressor", "first", "--budget", "50%", "--reader", "lab:base")
    assert shown.code == 0 and len(shown.out) <= max(len(text), 1)


@pytest.mark.parametrize("option", ["--reader", "--compressor"])
def test_a_text_in_the_place_of_a_plan_is_not_repeated_whole(refused, file, tmp_path, option):
    text = tmp_path / "long.txt"
    text.write_text("this is a text, no plan.\n" * 300)
    shown = refused("compress", file, option, text, "--budget", "50%")
    assert "this is a text" in shown and len(shown) < 1000
