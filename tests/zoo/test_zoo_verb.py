"""`consort zoo`: its two verbs, its page, and what it refuses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from consort.cli.app import app
from consort.cli.border import run
from consort.report.zoo import dendrogram, joinings, similarity_map

MODELS = ["lab:base", "lab:mirror", "lab:lora-order", "lab:b-base"]


def test_similarity_takes_adapters_and_other_families(tmp_path):
    page = tmp_path / "zoo.html"
    shown = CliRunner().invoke(app, ["zoo", "similarity", *MODELS, "--base", "lab:base", "--json", "--out", str(page)])
    found = json.loads(shown.output)
    assert found["models"] == ["base", "mirror", "lora-order", "b-base"]
    assert found["weights"][0][1] > 0.999
    assert found["weights"][0][3] is None
    assert found["norms"][0] == 0
    text = page.read_text("utf-8")
    assert text.count("<svg") == 3
    assert "script src" not in text


def test_cluster_with_scores():
    shown = CliRunner().invoke(app, ["zoo", "cluster", *MODELS, "--json"])
    found = json.loads(shown.output)
    assert [one["members"] for one in found["clusters"]] == [["b-base"], ["base", "lora-order", "mirror"]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["zoo", "cluster", "lab:base", "--threshold", "2"], "threshold"),
        (["zoo", "cluster", "lab:base", "--method", "kmeans"], "method"),
        (["zoo", "cluster", "lab:base", "--on", "both"], "--on"),
        (["zoo", "cluster", "lab:base", "--task", "lab:tasks/nope"], "nope"),
        (["zoo", "similarity", "lab:bas"], "bas"),
        (["zoo", "similarity", "lab:base", "--base", "lab:b-base"], "architecture"),
        (["zoo", "similarity", "lab:base", "--parts", "norms"], "parts"),
        (["zoo", "similarity", "lab:base", "--out", "."], "--out"),
        (["zoo", "similarity", "lab:base", "--out", "nowhere/x.html"], "nowhere"),
        (["zoo", "similarity", "no-such-folder"], "no-such-folder"),
    ],
)
def test_wrong_inputs_are_refused_by_name(arguments, says, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    error, hint, *more = capfd.readouterr().err.strip().splitlines()
    assert error.startswith("error: ") and hint.startswith("hint: ") and not more
    assert says in error
    assert not list(tmp_path.iterdir())


def test_pictures_escape_names_and_keep_apart_what_cannot_be_joined():
    table = [[1, 0.9, None], [0.9, 1, None], [None, None, 1]]
    names = ["<b>", "b", "c"]
    assert "<b>" not in similarity_map(names, table, title="t") + dendrogram(names, table, threshold=0.95, title="t")
    steps, order = joinings(table)
    assert steps == [((0,), (1,), 0.9)]
    assert order == [0, 1, 2]
